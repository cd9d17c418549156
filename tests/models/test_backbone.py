import json
from pathlib import Path

import pytest
import torch
from helpers import tiny_config
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

from speechshap.errors import UserError
from speechshap.models import build_backbone, load_backbone
from speechshap.models.backbone import Backbone, MaskedGroupNorm

FAMILIES = ["wavlm", "wav2vec2", "hubert"]
LENGTHS = torch.tensor([4000, 2500, 400, 3210])


def save_checkpoint(folder: Path, family: str, norm: str, do_normalize: bool = False) -> torch.nn.Module:
    """Write a tiny checkpoint as the hub has them and return the model."""
    torch.manual_seed(0)
    fields = tiny_config(family, norm)
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    with torch.no_grad():  # the first norm as it is after training, and not as it is at the start
        norm_layer = model.feature_extractor.conv_layers[0].layer_norm
        norm_layer.weight.uniform_(0.5, 1.5)
        norm_layer.bias.uniform_(-0.5, 0.5)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return model


def random_waveforms() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(int(length), generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_utterance_is_what_hugging_face_makes_of_it(tmp_path: Path, family: str, norm: str) -> None:
    model = save_checkpoint(tmp_path, family, norm)
    backbone = load_backbone(str(tmp_path)).eval()
    waveform = random_waveforms()[0][None]
    expected = model(waveform, output_hidden_states=True).hidden_states
    states, frames = backbone(waveform, LENGTHS[:1])
    assert frames.tolist() == [12]
    assert len(states) == len(expected) == backbone.num_layers + 1
    for state, reference in zip(states, expected, strict=True):
        torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_neither_states_nor_gradients(family: str, norm: str, do_normalize: bool) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(tiny_config(family, norm, do_normalize=do_normalize)).eval()
    waveforms = random_waveforms()
    padded = pad_sequence(waveforms, batch_first=True).requires_grad_()
    states, frames = backbone(padded, LENGTHS)
    weights = torch.randn(states[0].shape[1:], generator=torch.Generator().manual_seed(2))
    loss = sum((states[-1][i, :n] * weights[:n]).sum() for i, n in enumerate(frames.tolist()))
    (gradient,) = torch.autograd.grad(loss, padded)
    for index, waveform in enumerate(waveforms):
        alone = waveform[None].clone().requires_grad_()
        length = LENGTHS[index : index + 1]
        states_alone, (num_frames,) = backbone(alone, length)
        (gradient_alone,) = torch.autograd.grad((states_alone[-1][0] * weights[:num_frames]).sum(), alone)
        assert num_frames == frames[index]
        for state, state_alone in zip(states, states_alone, strict=True):
            torch.testing.assert_close(state[index, :num_frames], state_alone[0], atol=2e-5, rtol=1e-4)
        scale = float(gradient_alone.abs().max())
        torch.testing.assert_close(gradient[index, : length[0]], gradient_alone[0], atol=2e-5 * scale, rtol=1e-3)
        assert gradient[index, length[0] :].abs().sum() == 0


def test_masked_group_norm_of_a_full_batch_is_group_norm() -> None:
    torch.manual_seed(0)
    masked, plain = MaskedGroupNorm(4, 8), torch.nn.GroupNorm(4, 8)
    inputs = torch.randn(3, 8, 20)
    masked.frame_lengths = torch.tensor([20, 20, 20])
    torch.testing.assert_close(masked(inputs), plain(inputs))


@pytest.mark.parametrize("do_normalize", [True, False])
def test_the_checkpoint_decides_on_normalisation(tmp_path: Path, do_normalize: bool) -> None:
    model = save_checkpoint(tmp_path, "wavlm", "layer", do_normalize)
    waveform = 3 * random_waveforms()[0] + 1
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    values = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    assert torch.allclose(values[0], waveform) is not do_normalize
    states, _ = load_backbone(str(tmp_path)).eval()(waveform[None], LENGTHS[:1])
    torch.testing.assert_close(states[-1], model(values).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_an_exported_configuration_builds_the_same_architecture(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "wavlm", "group", do_normalize=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "freeze_feat_extract_train": True}))  # as on the hub
    loaded = load_backbone(str(tmp_path))
    rebuilt = build_backbone(loaded.export_config())
    rebuilt.load_state_dict(loaded.state_dict())
    waveform = random_waveforms()[0][None]
    torch.testing.assert_close(
        rebuilt.eval()(waveform, LENGTHS[:1])[0][-1], loaded.eval()(waveform, LENGTHS[:1])[0][-1]
    )


def test_the_full_size_model_builds_and_answers() -> None:
    backbone = build_backbone({"model_type": "wavlm"}).eval()
    assert sum(parameter.numel() for parameter in backbone.parameters()) == pytest.approx(94.4e6, rel=0.01)
    with torch.no_grad():
        states, _ = backbone(torch.randn(1, 8000), torch.tensor([8000]))
    assert len(states) == 13
    assert states[-1].shape == (1, 24, 768)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no folder ./nowhere"),
        ("/no/such/folder", "no folder /no/such/folder"),
    ],
)
def test_a_folder_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(name)


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    with pytest.raises(UserError, match=r"not a whole checkpoint .*preprocessor_config.json"):
        load_backbone(str(tmp_path))


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(UserError, match=r"microsoft/no-such-model cannot be had .*Name or service.*give the folder"):
        load_backbone("microsoft/no-such-model")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; expected one of wavlm"),
        ({}, "model_type is None"),
        (tiny_config(hiden_size=3), "a wavlm configuration has no field hiden_size"),
        (tiny_config(hidden_size=33), "--model.backbone_config: .*divisible"),
    ],
)
def test_a_configuration_that_cannot_be(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(config)


def test_another_family_is_refused() -> None:
    class Other(torch.nn.Module):
        config = AutoConfig.for_model("bert")

    with pytest.raises(UserError, match="a bert model; expected one of wavlm, wav2vec2, hubert"):
        Backbone(Other(), normalize=False)
