"""SpecAugment of the padding-exact backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, family_config, make_model, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperModel

from speechshap.errors import UserError
from speechshap.models import build_backbone
from speechshap.models.spec_augment import set_spec_augment
from speechshap.training import EmotionModule

CLASSES = ["angry", "calm"]
LENGTHS = torch.tensor([16000, 4000])


def config_of(family: str, **fields: Any) -> dict[str, Any]:
    """Of a backbone that draws nothing but masks."""
    dropout = {"dropout": 0.0} if family == "whisper" else {"hidden_dropout": 0.0, "feat_proj_dropout": 0.0}
    return family_config(family, **dropout, **fields)


def waveforms() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return pad_sequence([torch.randn(int(length), generator=generator) for length in LENGTHS], batch_first=True)


def first_state(backbone: Any) -> Tensor:
    state: Tensor = backbone(waveforms(), LENGTHS, [0])[0][0].detach()
    return state


@pytest.mark.parametrize("options", [{"time": 0.3, "time_length": 5}, {"features": 0.3, "feature_length": 4}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_masked_in_training_and_never_in_evaluation(family: str, options: Any) -> None:
    backbone = build_backbone(config_of(family))  # whose own probability of masks is 0
    plain = first_state(backbone.eval())
    set_spec_augment(backbone, options)
    torch.manual_seed(0)
    one, other = (first_state(backbone.train()) for _ in range(2))
    assert not torch.equal(one, other)
    assert torch.equal(first_state(backbone.eval()), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_can_be_switched_off(family: str) -> None:
    fields = {"apply_spec_augment": True} if family == "whisper" else {}  # which is the default of the others
    backbone = build_backbone(config_of(family, mask_time_prob=0.5, mask_time_length=2, **fields)).train()
    assert not torch.equal(first_state(backbone), first_state(backbone))
    set_spec_augment(backbone, {"time": 0.0})
    assert torch.equal(first_state(backbone), first_state(backbone))
    assert torch.equal(first_state(backbone), first_state(backbone.eval()))


@pytest.mark.parametrize("family", FAMILIES)
def test_frames_of_utterances_are_masked_and_not_their_padding(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_backbone(config_of(family)).train()
    set_spec_augment(backbone, {"time": 0.4, "time_length": 5})
    seen: list[Tensor] = []  # which frames a call of transformers' own function changes

    def watched(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Tensor:
            features = next(argument for argument in arguments if isinstance(argument, Tensor))
            before = features.clone()
            masked: Tensor = function(*arguments, **options)
            seen.append((masked != before).any(1 if family == "whisper" else 2))
            return masked

        return call

    if family == "whisper":
        monkeypatch.setattr(WhisperModel, "_mask_input_features", watched(WhisperModel._mask_input_features))
        hop = 160
    else:
        monkeypatch.setattr(backbone.model, "_mask_hidden_states", watched(backbone.model._mask_hidden_states))
        hop = 320
    torch.manual_seed(0)
    for _ in range(100):
        first_state(backbone)
    share = torch.stack(seen).float().mean(0)  # (batch, frames)
    for row, length in enumerate(LENGTHS.tolist()):
        frames = length // hop
        # In a row without masks transformers marks the last frame of the batch, which is padding.
        assert float(share[row, frames:-1].sum()) == 0
        # About 0.4 of them, less what overlaps.
        counts = torch.stack(seen)[:, row].sum(1)
        assert int(counts.max()) <= 0.4 * frames + 5  # by its own length, up to one mask more
        assert 0.25 < float(share[row, : frames - 1].mean()) < 0.42


@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_a_pretrained_backbone_takes_masks_that_its_checkpoint_remembers(family: str, tmp_path: Path) -> None:
    folder = save(make_model(family), tmp_path)
    options: Any = {"time": 0.3, "time_length": 5}
    module = EmotionModule(CLASSES, backbone=folder, freeze="none", spec_augment=options)
    torch.manual_seed(0)
    assert not torch.equal(first_state(module.backbone), first_state(module.backbone))
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams),
                "pytorch-lightning_version": "2.6.0"}, tmp_path / "a.ckpt")  # fmt: skip
    loaded = EmotionModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.backbone.model.config.mask_time_prob == 0.3
    assert torch.equal(first_state(loaded.backbone.eval()), first_state(module.backbone.eval()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0.1}, "`spec_augment` has no frames; expected time, time_length, features, feature_length"),
        ({"time": 1.0}, "`spec_augment`: time is 1.0; expected a share from 0 to less than 1"),
        ({"time": 0.1, "time_length": 0}, "`spec_augment`: time_length is 0; expected a whole number, 1 at least"),
        ({"features": 0.1, "feature_length": 32}, "feature_length is 32; expected less than the 32 channels"),
    ],
)
def test_mistakes_are_told(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        set_spec_augment(build_backbone(family_config("wavlm")), options)


@pytest.mark.parametrize("options", [{}, {"freeze": "stem", "trained_layers": 1}, {"lora_rank": 2}])
def test_masks_of_a_backbone_with_frozen_layers_are_refused(options: Any) -> None:
    with pytest.raises(UserError, match="`spec_augment` masks what a backbone hears that is trained, but layers of it"):
        EmotionModule(CLASSES, backbone_config=family_config("wavlm"), spec_augment={"time": 0.1}, **options)
