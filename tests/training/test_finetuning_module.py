import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from families import family_config, of_each_kind
from helpers import tiny_config, unmeasured
from pytorch_lightning.callbacks import LearningRateFinder
from torch import nn

from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.training import AudioDataModule, EmotionModule, EpochSeed, load_checkpoint

CLASSES = ["angry", "happy", "sad"]
QUIET: dict[str, Any] = {
    "logger": False, "accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "limit_val_batches": 0,
}  # fmt: skip
DROPOUT = {"wavlm": "hidden_dropout", "whisper": "dropout"}
LORA = {"lora_rank": 4, "lora_dropout": 0.2, "lora_targets": ["q_proj", "out_proj"]}

Fit = Callable[..., EmotionModule]


@pytest.fixture
def fit(planted_root: Path, family: str) -> Fit:
    """Train on the planted corpus; dropout is at work in what is trained."""

    def run(
        epochs: int, ckpt_path: Path | None = None, callbacks: Any = (), trainer: Any = None, **options: Any
    ) -> EmotionModule:
        pl.seed_everything(0)
        data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8)
        module = EmotionModule(data.classes, backbone_config=family_config(family, **{DROPOUT[family]: 0.2}), **options)
        made = pl.Trainer(max_epochs=epochs, callbacks=[EpochSeed(), *callbacks], **QUIET, **(trainer or {}))
        made.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        return module

    return run


class SaveAfter(pl.Callback):
    """Save a checkpoint at the end of an epoch, or after a batch of it."""

    def __init__(self, path: Path, epoch: int = 0, batch: int | None = None) -> None:
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        if (trainer.current_epoch, number) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self.batch is None and trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


class Watch(pl.Callback):
    """Note what the backbone is like at the start of each epoch, and its mode and the rates at that of each step."""

    def __init__(self) -> None:
        self.backbones: list[dict[str, torch.Tensor]] = []
        self.modes: list[bool] = []
        self.rates: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, number: int) -> None:
        groups = trainer.optimizers[0].param_groups
        self.rates.append({group.get("name", "all"): group["lr"] for group in groups})
        self.modes.append(module.backbone.training)
        if number == 0:
            self.backbones.append({name: value.clone() for name, value in module.backbone.state_dict().items()})


def trained_layers(module: EmotionModule) -> set[int]:
    return {depth for parameter, depth in module.backbone.depths.items() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"freeze": "none"}, {0, 1, 2, 3}),
        ({"freeze": "stem"}, {0, 1, 2, 3}),
        ({"freeze": "stem", "trained_layers": 1}, {3}),
        ({"freeze": "stem", "trained_layers": 2}, {2, 3}),
        ({"freeze": "stem", "trained_layers": 1, "hidden_layer": 2}, {2}),
        ({"freeze": "stem", "hidden_layer": 1}, {0, 1}),
        ({"freeze": "none", "hidden_layer": 0}, {0}),
        ({"freeze": "backbone"}, set()),
        ({"lora_rank": 2}, {1, 2, 3}),
        ({"lora_rank": 2, "trained_layers": 1}, {3}),
        ({"lora_rank": 2, "trained_layers": 1, "hidden_layer": 2}, {2}),
    ],
)
def test_layers_that_are_trained(options: Any, layers: set[int]) -> None:
    """What comes after the layer that the head hears is never trained: it would have no gradient."""
    module = EmotionModule(CLASSES, backbone_config=tiny_config(num_hidden_layers=3), **options)
    assert trained_layers(module) == layers
    assert module.trains_head_only is not bool(layers)
    assert all(parameter.requires_grad for parameter in module.classifier.head.parameters())


def test_a_backbone_of_which_nothing_is_left_to_train_is_frozen() -> None:
    """Whisper's positions are fixed: its features would change by dropout alone."""
    module = EmotionModule(CLASSES, backbone_config=family_config("whisper"), freeze="stem", hidden_layer=0)
    assert module.trains_head_only
    assert not module.train().backbone.training


@of_each_kind
def test_every_parameter_that_is_trained_has_a_gradient(family: str) -> None:
    """Else processes would wait for it."""
    waveforms = torch.randn(2, 2000, generator=torch.Generator().manual_seed(0))
    batch = Batch(waveforms, torch.tensor([2000, 1500]), torch.tensor([0, 1]), ["a", "b"], ["a", "b"], ["a", "b"])
    for options in ({"freeze": "stem", "trained_layers": 1}, {"hidden_layer": 1, "freeze": "stem"}, LORA):
        module = EmotionModule(CLASSES, backbone_config=family_config(family), **options)  # type: ignore[arg-type]
        module.log = lambda *args, **kwargs: None  # type: ignore[method-assign, assignment]
        module.training_step(batch, 0).backward()
        lacking = [name for name, one in module.named_parameters() if one.requires_grad and one.grad is None]
        assert lacking == []


def test_frozen_layers_are_in_eval_mode_and_those_above_are_not() -> None:
    config = tiny_config(num_hidden_layers=3, apply_spec_augment=True, layerdrop=0.5, hidden_dropout=0.1)
    module = EmotionModule(CLASSES, backbone_config=config, freeze="stem", trained_layers=1)
    modes = [{part.training for part in layer.modules()} for layer in module.backbone.transformer]
    assert modes == [{False}, {False}, {True}]
    assert module.backbone.model.config.layerdrop == 0
    assert module.backbone.model.config.apply_spec_augment is False
    assert not module.eval().backbone.training
    assert not any(part.training for part in module.modules())


FINETUNING = [
    {"freeze": "stem", "unfreeze_at_epoch": 1, "backbone_learning_rate": 1e-4, "layer_decay": 0.7},
    {"freeze": "stem", "trained_layers": 1, "layer_decay": 0.5},
    {**LORA, "backbone_learning_rate": 3e-3, "unfreeze_at_epoch": 1},
]


@of_each_kind
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("options", FINETUNING)
def test_a_resumed_training_is_an_uninterrupted_one(fit: Fit, options: Any, epoch: int, tmp_path: Path) -> None:
    whole = fit(3, callbacks=[SaveAfter(tmp_path / "middle.ckpt", epoch)], **options)
    resumed = fit(3, tmp_path / "middle.ckpt", **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_training_that_is_resumed_within_an_epoch_trains_what_this_epoch_does(
    fit: Fit, epoch: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"freeze": "stem", "unfreeze_at_epoch": 1}
    fit(2, callbacks=[SaveAfter(tmp_path / "middle.ckpt", epoch, batch=1)], **options)
    watch = Watch()
    fit(2, tmp_path / "middle.ckpt", callbacks=[watch], **options)
    assert watch.modes[0] is (epoch == 1)


@of_each_kind
def test_the_head_is_trained_alone_before_the_backbone_joins(fit: Fit) -> None:
    watch = Watch()
    options: dict[str, Any] = {"freeze": "stem", "backbone_learning_rate": 1e-4, "unfreeze_at_epoch": 2}
    module = fit(4, callbacks=[watch], warmup_fraction=0.25, **options)
    first, second, third, fourth = watch.backbones
    assert watch.modes == [False] * 8 + [True] * 8  # four steps an epoch
    for name, value in first.items():
        assert torch.equal(second[name], value)
        assert torch.equal(third[name], value)
    moved = {name for name, value in first.items() if not torch.equal(fourth[name], value)}
    assert any("layers.0" in name for name in moved)
    assert not any("feature_extractor" in name or "conv1" in name for name in moved)
    rates = [rates["backbone"] for rates in watch.rates]
    assert rates[:8] == [0] * 8
    assert rates[8:12] == pytest.approx([1e-4 * min(step / 4, (16 - 7 - step) / 12) for step in (1, 2, 3, 4)])
    assert {1, 2} <= trained_layers(module)


def test_the_head_that_is_trained_alone_is_that_of_a_frozen_backbone(fit: Fit) -> None:
    """Bit for bit, as long as it is alone."""
    watch, frozen = Watch(), Watch()
    heads: list[list[torch.Tensor]] = []

    class Heads(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
            if trainer.current_epoch == 0:
                heads.append([parameter.detach().clone() for parameter in module.classifier.head.parameters()])

    fit(2, callbacks=[watch, Heads()], freeze="stem", unfreeze_at_epoch=1)
    fit(2, callbacks=[frozen, Heads()], freeze="backbone", trainer={"limit_train_batches": 4})  # no cached features
    for one, other in zip(*heads, strict=True):
        assert torch.equal(one, other)


@of_each_kind
def test_a_checkpoint_has_the_adapters(fit: Fit, tmp_path: Path) -> None:
    module = fit(1, callbacks=[SaveAfter(tmp_path / "lora.ckpt")], **LORA, lora_alpha=6.0).eval()
    content = torch.load(tmp_path / "lora.ckpt", weights_only=True)
    assert content["hyper_parameters"]["lora_targets"] == LORA["lora_targets"]
    again = EmotionModule.load_from_checkpoint(tmp_path / "lora.ckpt", weights_only=True).eval()
    assert again.identity == module.identity
    assert again.identity["adapters"]["scale"] == 1.5
    waveforms, lengths = torch.randn(2, 2000), torch.tensor([2000, 1500])
    expected = module(waveforms, lengths)
    assert torch.equal(again(waveforms, lengths), expected)
    assert not again.trains_head_only
    with torch.no_grad():
        for name, parameter in again.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    assert not torch.allclose(again(waveforms, lengths), expected)


@of_each_kind
def test_a_checkpoint_that_is_loaded_to_be_explained_has_merged_weights(fit: Fit, tmp_path: Path) -> None:
    path = tmp_path / "lora.ckpt"
    module = fit(1, callbacks=[SaveAfter(path)], **LORA, trained_layers=1, backbone_learning_rate=1e-2).eval()
    merged = load_checkpoint(path).eval()
    assert merged.backbone.adapters is None
    assert "adapters" not in merged.identity
    assert not any("lora" in name for name in merged.state_dict())
    waveforms, lengths = torch.randn(2, 2000), torch.tensor([2000, 1500])
    torch.testing.assert_close(merged(waveforms, lengths), module(waveforms, lengths))
    assert merged.trains_head_only
    without = EmotionModule(**{name: value for name, value in merged.hparams.items() if name != "_instantiator"})
    without.load_state_dict(merged.state_dict())  # it can be saved as it is
    torch.testing.assert_close(without.eval()(waveforms, lengths), merged(waveforms, lengths))


@of_each_kind
@pytest.mark.parametrize("options", [{"freeze": "stem", "trained_layers": 1}, LORA])
def test_half_precision_and_accumulated_batches_train_what_single_ones_do(fit: Fit, options: Any) -> None:
    """Two steps of two batches in each epoch; bfloat16 has eight bits."""
    plain = Watch()
    accumulated = {"accumulate_grad_batches": 2}
    one = fit(2, callbacks=[plain], trainer=accumulated, **options)
    other = fit(2, trainer={**accumulated, "precision": "bf16-mixed"}, **options)
    assert one.trainer.global_step == other.trainer.global_step == 4
    start, steps = plain.backbones[0], []
    for module in (one, other):
        trained = {name: value for name, value in module.backbone.named_parameters() if value.requires_grad}
        assert {value.dtype for value in trained.values()} == {torch.float32}
        steps.append(torch.cat([(value.detach() - start[name]).flatten() for name, value in trained.items()]))
    assert float(nn.functional.cosine_similarity(*steps, dim=0)) > 0.7


@pytest.mark.parametrize(
    "options", [{"freeze": "stem", "backbone_learning_rate": 1e-4, "unfreeze_at_epoch": 7}, {"lora_rank": 2}]
)
def test_a_learning_rate_that_was_found_is_trained_with(fit: Fit, options: Any) -> None:
    """Lightning sets the rate of the optimiser for one step alone, since the schedule knows the former one."""
    finder, watch = LearningRateFinder(min_lr=1e-4, max_lr=1e-1, num_training_steps=30), Watch()
    module = fit(8, callbacks=[finder, watch], **options)
    found = finder.optimal_lr.suggestion()  # type: ignore[union-attr]
    assert found is not None
    assert module.learning_rate == module.hparams["learning_rate"] == found != 1e-3
    name = "all" if "lora_rank" in options else "head"
    peak = max(rates[name] for rates in watch.rates)
    assert peak == pytest.approx(found)
    assert watch.rates[0][name] == pytest.approx(found / 3)  # a tenth of 32 steps is the warm-up
    if name == "head":
        assert max(rates["backbone"] for rates in watch.rates) == pytest.approx(1e-4 * 4 / 29)  # of the last epoch
        assert trained_layers(module) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "all"}, "`freeze` is 'all'; expected backbone, stem, none"),
        ({"trained_layers": 0, "freeze": "stem"}, "`trained_layers` is 0; expected 1 at least"),
        ({"trained_layers": 3, "freeze": "stem"}, "`trained_layers` is 3; the head hears 2 layers"),
        ({"trained_layers": 2, "freeze": "stem", "hidden_layer": 1}, "`trained_layers` is 2; the head hears 1 layers"),
        ({"trained_layers": 1, "freeze": "none"}, "`trained_layers` is 1, and all below them stays frozen; set `free"),
        ({"trained_layers": 1}, "`trained_layers` is 1, but nothing of the backbone is trained; set `freeze` to stem,"),
        ({"backbone_learning_rate": 1e-4}, "`backbone_learning_rate` is 0.0001, but nothing of the backbone is"),
        ({"backbone_learning_rate": 0.0, "freeze": "stem"}, "`backbone_learning_rate` is 0.0; expected a number"),
        ({"layer_decay": 0.5}, "`layer_decay` is 0.5, but nothing of the backbone is trained"),
        ({"layer_decay": 0.0, "freeze": "stem"}, "`layer_decay` is 0.0; expected a factor above 0, 1 at most"),
        ({"layer_decay": 1.5, "freeze": "stem"}, "`layer_decay` is 1.5; expected a factor above 0, 1 at most"),
        ({"unfreeze_at_epoch": 1}, "`unfreeze_at_epoch` is 1, but nothing of the backbone is trained"),
        ({"unfreeze_at_epoch": -1, "freeze": "stem"}, "`unfreeze_at_epoch` is -1; expected 0 at least"),
        ({"lora_rank": 0}, "`lora_rank` is 0; expected 1 at least"),
        ({"lora_rank": 2, "lora_alpha": float("nan")}, "`lora_alpha` is nan; expected a number above 0"),
        ({"lora_rank": 2, "lora_dropout": 1.0}, "`lora_dropout` is 1.0; expected a share from 0 to less than 1"),
        ({"lora_rank": 2, "lora_targets": []}, "`lora_targets` is empty; name linear maps"),
        ({"lora_rank": 2, "lora_targets": ["fc1"]}, "`lora_targets`: the layers of this backbone have no fc1; exp"),
        ({"lora_rank": 2, "freeze": "stem"}, "`freeze` is stem, but with `lora_rank` the adapters alone are trained"),
        ({"lora_rank": 2, "hidden_layer": 0}, "`lora_rank` is 2, but the head hears no layer; take another `hidden_la"),
        ({"lora_alpha": 2.0}, "`lora_alpha` is 2.0, but there are no adapters; set `lora_rank`"),
        ({"lora_dropout": 0.1}, "`lora_dropout` is 0.1, but there are no adapters; set `lora_rank`"),
        ({"lora_targets": ["q_proj"]}, r"`lora_targets` is \['q_proj'\], but there are no adapters; set `lora_rank`"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmotionModule(CLASSES, backbone_config=tiny_config(), **options)


TWO_PROCESSES = """
import json, sys
import pytorch_lightning as pl, torch
from speechshap.training import AudioDataModule, EmotionModule
root, folder, backbone, options, strategy = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])

pl.seed_everything(0)
data = AudioDataModule(root=root, corpus="planted", batch_size=4)
module = EmotionModule(data.classes, backbone_config=backbone, **options)
trainer = pl.Trainer(
    max_epochs=2, limit_val_batches=0, logger=False, accelerator="cpu", devices=2, enable_checkpointing=False,
    strategy=strategy, enable_progress_bar=False, enable_model_summary=False,
)
before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
trainer.fit(module, data)
after = module.backbone.state_dict()
moved = [name for name, value in before.items() if not torch.equal(after[name], value)]
torch.save({"state": module.state_dict(), "moved": moved}, f"{folder}/{trainer.global_rank}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "strategy"),
    [(LORA, "ddp"), ({"freeze": "stem", "unfreeze_at_epoch": 1}, "ddp_find_unused_parameters_true")],
)
def test_two_processes_train_the_same_weights(planted_root: Path, tmp_path: Path, options: Any, strategy: str) -> None:
    (tmp_path / "fit.py").write_text(TWO_PROCESSES)
    told = [json.dumps(value) for value in (family_config("wavlm"), options, strategy)]
    result = subprocess.run(
        [sys.executable, "fit.py", str(planted_root), str(tmp_path), *told],
        cwd=tmp_path, env=unmeasured(), check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in one["state"].items():
        assert torch.equal(other["state"][name], value), name
    expected = "lora_" if "lora_rank" in options else "layers.1."
    assert any(expected in name for name in one["moved"])
    if "lora_rank" in options:
        assert all("lora_" in name for name in one["moved"])
