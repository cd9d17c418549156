import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from families import FAMILIES, family_config, make_model, of_each_kind, save
from helpers import WHISPER_GRID, tiny_config
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoConfig, AutoModel

from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models import SpeechClassifier, masked_mean
from speechshap.training import AudioDataModule, EmotionModule
from speechshap.training.feature_batches import FeatureBatch

CLASSES = ["angry", "happy", "sad"]


def make_batch(labels: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(800, 2000, (len(labels),), generator=generator)
    waveforms = torch.randn(len(labels), int(lengths.max()), generator=generator)
    waveforms *= torch.arange(waveforms.shape[1]) < lengths[:, None]
    names = [f"{index}.wav" for index in range(len(labels))]
    return Batch(waveforms, lengths, torch.tensor(labels), names, names, names)


def trainable(module: EmotionModule) -> set[str]:
    return {name.split(".")[1] for name, parameter in module.named_parameters() if parameter.requires_grad}


@of_each_kind
def test_the_head_takes_a_softmax_weighted_sum_of_all_hidden_states(tiny_module: EmotionModule) -> None:
    classifier, batch = tiny_module.classifier, make_batch([0, 1])
    classifier.layer_weights.data = torch.tensor([0.3, -1.0, 2.0])
    states, frames = tiny_module.backbone(batch.waveforms, batch.lengths)
    weights = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    for row, count in enumerate(frames.tolist()):
        expected = sum(weight * state[row, :count].mean(0) for weight, state in zip(weights, states, strict=True))
        torch.testing.assert_close(classifier.embed(batch.waveforms, batch.lengths)[row], expected.float())


@of_each_kind
def test_a_chosen_layer_and_a_given_head(family: str) -> None:
    head = torch.nn.Linear(32, 3)
    module = EmotionModule(CLASSES, backbone_config=family_config(family), hidden_layer=1, head=head).eval()
    batch = make_batch([0])
    states, frames = module.backbone(batch.waveforms, batch.lengths)
    expected = head(masked_mean(states[1], frames))
    torch.testing.assert_close(module(batch.waveforms, batch.lengths), expected)
    with pytest.raises(UserError, match=r"`hidden_layer` is 3; this backbone has 0 to 2"):
        EmotionModule(CLASSES, backbone_config=family_config(family), hidden_layer=3)


@pytest.mark.parametrize(
    ("freeze", "backbone_trains", "stem_trains"),
    [("backbone", False, False), ("stem", True, False), ("none", True, True)],
)
def test_what_is_frozen(freeze: str, backbone_trains: bool, stem_trains: bool) -> None:
    config = tiny_config(apply_spec_augment=True, mask_time_prob=0.5, layerdrop=0.5)
    module = EmotionModule(CLASSES, backbone_config=config, freeze=freeze).train()  # type: ignore[arg-type]
    model = module.backbone.model
    assert any(p.requires_grad for p in model.encoder.parameters()) is backbone_trains
    assert any(p.requires_grad for p in model.feature_extractor.parameters()) is stem_trains
    assert all(p.requires_grad for p in module.classifier.head.parameters())
    assert module.classifier.layer_weights.requires_grad
    assert model.training is backbone_trains
    assert module.classifier.head.training
    assert (model.config.layerdrop == 0.5) is backbone_trains
    assert model.config.apply_spec_augment is backbone_trains


@of_each_kind
def test_a_frozen_backbone_gives_the_same_features_each_time_and_needs_no_graph(family: str) -> None:
    dropout = {"dropout" if family == "whisper" else "hidden_dropout": 0.5}
    module = EmotionModule(CLASSES, backbone_config=family_config(family, **dropout)).train()
    batch = make_batch([0, 1])
    one, two = (module.backbone(batch.waveforms, batch.lengths)[0][-1] for _ in range(2))
    assert torch.equal(one, two)
    assert not one.requires_grad


def test_metrics_are_those_of_scikit_learn(tiny_module: EmotionModule) -> None:
    module, batch = tiny_module, make_batch([0, 0, 0, 0, 1, 1, 2, 2, 2])
    predicted = module(batch.waveforms, batch.lengths).argmax(1)
    logged = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.trainer = pl.Trainer(logger=False, accelerator="cpu")
        module.log = lambda *args, **options: None  # type: ignore[method-assign, assignment]
        module.log_dict = lambda metrics, **options: logged.update(metrics)  # type: ignore[method-assign, assignment]
        module.validation_step(batch, 0)
    values = {name: float(metric.compute()) for name, metric in logged.items()}
    truth = batch.labels.numpy()
    assert values["val/uar"] == pytest.approx(balanced_accuracy_score(truth, predicted), abs=1e-6)
    assert values["val/wa"] == pytest.approx((truth == predicted.numpy()).mean())
    assert values["val/f1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0), abs=1e-6)
    assert int(module.confusion_matrix("val").compute().sum()) == 9


def test_a_checkpoint_is_whole_and_plain(tiny_checkpoint: Path, planted_root: Path) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    assert content["hyper_parameters"]["classes"] == ["neutral", "angry", "fearful", "happy", "sad"]
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True)
    assert module.trained_steps == 2
    assert module.backbone.normalize
    assert module.backbone.hidden_size == 32
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, content["state_dict"][name])


def test_a_state_dict_has_the_keys_of_transformers_after_fixed_prefixes(tiny_module: EmotionModule) -> None:
    """Checkpoints of earlier versions have these keys."""
    fields = tiny_config()
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields))
    expected = {f"classifier.backbone.model.{name}" for name in model.state_dict()} | {"classifier.layer_weights"}
    expected |= {f"classifier.head.{layer}.{kind}" for layer in (0, 3) for kind in ("weight", "bias")}
    assert set(tiny_module.state_dict()) == expected


@of_each_kind
def test_a_module_is_a_speech_classifier(tiny_module: EmotionModule, family: str) -> None:
    module, classifier, batch = tiny_module, tiny_module.classifier, make_batch([0, 1])
    assert isinstance(module, SpeechClassifier)
    assert isinstance(classifier, SpeechClassifier)
    assert module.classes == CLASSES
    assert classifier.classes == tuple(CLASSES)
    assert list(module.layers) == ["layer_1", "layer_2"]
    shortest, grid = (201, WHISPER_GRID) if family == "whisper" else (400, FrameGrid())
    assert (module.window, module.shortest, module.grid) == (320_000, shortest, grid)
    assert not module.is_regression
    assert not module.one_by_one
    features = module.embed(batch.waveforms, batch.lengths)
    torch.testing.assert_close(classifier.head(features), module(batch.waveforms, batch.lengths))


@of_each_kind
def test_the_identity_of_a_module_is_that_of_its_checkpoint(tiny_checkpoint: Path) -> None:
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True)
    again = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True, gradient_checkpointing=True)
    assert again.identity == module.identity == module.classifier.identity
    again.classes = again.classes[::-1]
    assert again.identity != module.identity


@of_each_kind
def test_gradient_checkpointing_is_that_of_the_backbone(tiny_module: EmotionModule) -> None:
    assert tiny_module.gradient_checkpointing is False
    tiny_module.gradient_checkpointing = True
    assert tiny_module.backbone.gradient_checkpointing is True


@pytest.mark.parametrize("family", FAMILIES)
def test_a_module_of_every_family_is_trained(family: str) -> None:
    module = EmotionModule(CLASSES, backbone_config=family_config(family), freeze="none")
    module.log = lambda *args, **options: None  # type: ignore[method-assign, assignment]
    module.training_step(make_batch([0, 1]), 0).backward()
    free = [parameter for parameter in module.parameters() if parameter.requires_grad]  # not Whisper's positions
    trained = [parameter for parameter in free if parameter.grad is not None]
    assert sum(parameter.numel() for parameter in trained) > 0.9 * sum(parameter.numel() for parameter in free)


@pytest.mark.parametrize(
    ("family", "stage", "precision", "is_refused"),
    [
        ("wavlm", "test", "16-mixed", True),
        ("hubert", "fit", "16-mixed", False),
        ("hubert", "fit", "16-true", True),
        ("hubert", "test", "16-true", False),
    ],
)
def test_half_precision_is_refused_where_numbers_overflow(
    family: str, stage: str, precision: str, is_refused: bool
) -> None:
    module = EmotionModule(CLASSES, backbone_config=family_config(family))
    module.trainer = SimpleNamespace(precision=precision)  # type: ignore[assignment]
    with pytest.raises(UserError, match=f"`precision` is {precision}") if is_refused else nullcontext():
        module.setup(stage)


def test_learning_rate_rises_and_falls() -> None:
    module = EmotionModule(CLASSES, backbone_config=tiny_config(), learning_rate=1.0, warmup_fraction=0.2)
    module.trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()  # type: ignore[assignment]
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]  # type: ignore[index, typeddict-item]
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates, [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_classes_of_model_data_and_checkpoint_have_to_agree(tiny_checkpoint: Path, planted_root: Path) -> None:
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    data = AudioDataModule(root=str(planted_root))
    module = EmotionModule(CLASSES, backbone_config=tiny_config())
    with pytest.raises(UserError, match="made for the classes angry, happy, sad, but the data have angry, fearful"):
        pl.Trainer(**options).test(module, data)  # type: ignore[arg-type]
    shuffled = ["sad", "fearful", "happy", "angry", "neutral"]
    data = AudioDataModule(root=str(planted_root), classes=shuffled)
    module = EmotionModule(shuffled, backbone_config=tiny_config(do_normalize=True))
    with pytest.raises(
        UserError, match="the checkpoint was made for the classes neutral, angry, fearful, happy, sad, not for sad"
    ):
        pl.Trainer(**options).test(module, data, ckpt_path=tiny_checkpoint, weights_only=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["happy"]}, "two classes or more"),
        ({"learning_rate": -1.0}, "`learning_rate` is -1.0; expected a number above 0"),
        ({"learning_rate": float("inf")}, "`learning_rate` is inf; expected a number above 0"),
        ({"weight_decay": -1.0}, "`weight_decay` is -1.0; expected 0 at least"),
        ({"warmup_fraction": 3.0}, "`warmup_fraction` is 3.0; expected a share from 0 to 1"),
        ({"dropout": 1.0}, "`dropout` is 1.0; expected a share from 0 to less than 1"),
        ({"dropout": float("nan")}, "`dropout` is nan; expected a share from 0 to less than 1"),
        ({"label_smoothing": -0.1}, "`label_smoothing` is -0.1; expected a share from 0 to less than 1"),
        ({"dropout": 0.3, "head": torch.nn.Linear(32, 3)}, "`dropout` is 0.3, but only the default head takes it"),
        ({"dropout": 0.3, "hidden_units": 0}, "`dropout` is 0.3, but a linear head drops nothing; leave it out, or"),
        ({"hidden_units": 8, "head": torch.nn.Linear(32, 3)}, "`hidden_units` is 8, but only the default head takes"),
        ({"hidden_units": -1}, "`hidden_units` is -1; expected 0 at least"),
        ({"pooling": "max"}, "`pooling` is 'max'; expected mean, mean_std, attentive"),
        ({"num_queries": 2}, "`num_queries` is 2, but mean has no queries; take `pooling` attentive"),
        ({"convolutions": 1.5}, "`convolutions` is 1.5; expected an integer, 0 at least"),
        ({"class_weights": "inverse"}, "`class_weights` is 'inverse'; expected none, balanced"),
        ({"focal_gamma": -1.0}, "`focal_gamma` is -1.0; expected 0 at least"),
        ({"focal_gamma": float("nan")}, "`focal_gamma` is nan; expected 0 at least"),
        (
            {"pooling": "mean_std", "head": torch.nn.Linear(32, 3)},
            r"`head` does not take what the pooling gives, \(batch, 64\)",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmotionModule(**{"classes": CLASSES, "backbone_config": tiny_config(), **options})


@of_each_kind
def test_labels_are_smoothed_in_training_alone(family: str) -> None:
    module = EmotionModule(CLASSES, backbone_config=family_config(family), label_smoothing=0.3).eval()
    batch, logged = make_batch([0, 1, 2, 2]), {}
    module.log = lambda name, value, **options: logged.update({name: value})  # type: ignore[method-assign, assignment]
    module.log_dict = lambda *args, **options: None  # type: ignore[method-assign, assignment]
    logs = module(batch.waveforms, batch.lengths).log_softmax(1)
    plain, uniform = -logs[range(4), batch.labels].mean(), -logs.mean()
    torch.testing.assert_close(module.training_step(batch, 0), 0.7 * plain + 0.3 * uniform)
    module.trainer = pl.Trainer(logger=False, accelerator="cpu")
    module.validation_step(batch, 0)
    torch.testing.assert_close(logged["val/loss"].compute(), plain)


@of_each_kind
def test_a_checkpoint_from_before_standardisation_loads_as_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    for name in ("standardize", "dropout", "label_smoothing"):
        del content["hyper_parameters"][name]
    torch.save(content, tmp_path / "former.ckpt")
    former = EmotionModule.load_from_checkpoint(tmp_path / "former.ckpt", weights_only=True).eval()
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True).eval()
    batch = make_batch([0, 1])
    assert torch.equal(former(batch.waveforms, batch.lengths), module(batch.waveforms, batch.lengths))
    assert former.identity == module.identity


@of_each_kind
def test_a_checkpoint_from_before_the_poolings_loads_as_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    for name in ("pooling", "num_queries", "convolutions", "hidden_units", "class_weights", "focal_gamma"):
        del content["hyper_parameters"][name]
    content["hyper_parameters"]["standardize"] = True
    shape = (3, 32)
    moments = {"num_utterances": torch.tensor(9), "mean": torch.randn(shape), "deviation": torch.rand(shape) + 0.5}
    content["state_dict"] |= {f"classifier.standardization.{name}": value for name, value in moments.items()}
    torch.save(content, tmp_path / "former.ckpt")
    module = EmotionModule.load_from_checkpoint(tmp_path / "former.ckpt", weights_only=True).eval()
    batch = make_batch([0, 1])
    states, frames = module.backbone(batch.waveforms, batch.lengths)
    pooled = [(masked_mean(state, frames) - mean) / deviation for state, mean, deviation in zip(
        states, moments["mean"], moments["deviation"], strict=True
    )]  # fmt: skip
    weights = content["state_dict"]["classifier.layer_weights"].softmax(0)
    expected = sum(weight * values for weight, values in zip(weights, pooled, strict=True))
    torch.testing.assert_close(module.embed(batch.waveforms, batch.lengths), expected)


POOLINGS = [
    {"pooling": "mean_std", "hidden_units": 0},
    {"pooling": "attentive", "num_queries": 2, "convolutions": 1, "dropout": 0.3, "hidden_units": 8},
    {"head": torch.nn.Linear(64, 3), "pooling": "attentive"},
    {"head": torch.nn.Linear(256, 3), "convolutions": 1, "dropout": 0.0},
]


@of_each_kind
@pytest.mark.parametrize("options", POOLINGS)
def test_features_of_a_batch_are_trained_on_and_tested_as_its_waveforms_are(options: Any, family: str) -> None:
    module = EmotionModule(CLASSES, backbone_config=family_config(family), **options).eval()
    batch, logged = make_batch([0, 1, 2, 2]), {}
    assert module.trains_head_only
    with torch.no_grad():
        features = FeatureBatch(module.features_of(batch), *batch[2:6])
    module.log = lambda name, value, **options: logged.update({name: value})  # type: ignore[method-assign, assignment]
    module.log_dict = lambda *args, **options: None  # type: ignore[method-assign, assignment]
    assert module.features_of(features) is features.features
    torch.testing.assert_close(module.logits(features), module(batch.waveforms, batch.lengths))
    losses, gradients = zip(*(_loss_and_gradients(module, one) for one in (batch, features)), strict=True)
    torch.testing.assert_close(losses[1], losses[0])
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(found, expected)
    module.trainer = pl.Trainer(logger=False, accelerator="cpu")
    for one in (batch, features):
        module.test_step(one, 0)
        torch.testing.assert_close(logged["test/loss"].compute(), losses[0])
        logged["test/loss"].reset()


def _loss_and_gradients(module: EmotionModule, batch: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    loss = module.training_step(batch, 0)
    return loss, torch.autograd.grad(loss, [each for each in module.parameters() if each.requires_grad])


@pytest.mark.parametrize("freeze", ["stem", "none"])
def test_a_backbone_that_is_trained_changes_the_features(freeze: Any) -> None:
    assert not EmotionModule(CLASSES, backbone_config=tiny_config(), freeze=freeze).trains_head_only


@pytest.mark.parametrize("options", POOLINGS[:2])
def test_a_checkpoint_has_the_pooling_and_the_losses(options: Any, planted_root: Path, tmp_path: Path) -> None:
    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8)
    module = EmotionModule(
        data.classes, backbone_config=tiny_config(), standardize=True, class_weights="balanced", focal_gamma=2.0,
        label_smoothing=0.1, **options,
    )  # fmt: skip
    trainer = pl.Trainer(
        max_steps=2, limit_val_batches=0, logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = EmotionModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True).eval()
    assert again.hparams["focal_gamma"] == 2.0
    assert again.identity == module.identity
    batch = make_batch([0, 1])
    expected = module.eval()(batch.waveforms, batch.lengths)
    assert torch.equal(again(batch.waveforms, batch.lengths), expected)


def test_classes_are_weighted_by_the_utterances_that_are_trained_on(planted_root: Path, tmp_path: Path) -> None:
    losses: list[tuple[torch.Tensor, torch.Tensor, list[int]]] = []

    class Watching(EmotionModule):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            logits = self(batch.waveforms, batch.lengths)
            losses.append((loss.detach(), logits.detach().log_softmax(1), batch.labels.tolist()))
            return loss

    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=3, max_utterances=13)
    module = Watching(data.classes, backbone_config=tiny_config(), class_weights="balanced", hidden_units=0)
    trainer = pl.Trainer(
        max_epochs=1, limit_val_batches=0, logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, data)
    labels = [label for _, _, batch in losses for label in batch]
    assert len(labels) == 13
    assert len(set(np.bincount(labels))) > 1
    present = np.unique(labels)
    weights = dict(zip(present, compute_class_weight("balanced", classes=present, y=labels), strict=True))
    for loss, logs, batch in losses:
        total = -sum(weights[label] * float(row[label]) for row, label in zip(logs, batch, strict=True))
        assert float(loss) == pytest.approx(total / sum(weights[label] for label in batch), rel=1e-5)


def test_balanced_classes_need_data_whose_labels_are_known(tmp_path: Path) -> None:
    module = EmotionModule(CLASSES, backbone_config=tiny_config(), class_weights="balanced")
    trainer = pl.Trainer(
        max_steps=1, logger=False, accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path
    )
    loader = torch.utils.data.DataLoader([make_batch([0, 1])], batch_size=None)
    with pytest.raises(UserError, match="`class_weights` is balanced, which counts the training utterances of an Au"):
        trainer.fit(module, loader)


@of_each_kind
def test_what_is_logged_is_known_before(family: str, planted_root: Path, tmp_path: Path) -> None:
    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8, max_utterances=4)
    module = EmotionModule(data.classes, backbone_config=family_config(family))
    trainer = pl.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, data)
    assert {*module.logged["train"], *module.logged["val"]} == set(trainer.callback_metrics)


@of_each_kind
def test_each_epoch_has_batches_of_its_own(family: str, planted_root: Path, tmp_path: Path) -> None:
    """Lightning tells the sampler which epoch it is."""
    seen: dict[int, list[tuple[str, ...]]] = {}

    class Watching(EmotionModule):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            seen.setdefault(self.current_epoch, []).append(tuple(batch.ids))
            return super().training_step(batch, batch_idx)

    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8)
    module = Watching(data.classes, backbone_config=family_config(family))
    trainer = pl.Trainer(
        max_epochs=2, limit_val_batches=0, logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, data)
    assert sorted(name for batch in seen[0] for name in batch) == sorted(name for batch in seen[1] for name in batch)
    assert seen[0] != seen[1]


def test_a_loss_that_is_not_a_number_ends_the_training(planted_root: Path, tmp_path: Path) -> None:
    data = AudioDataModule(root=str(planted_root))
    module = EmotionModule(data.classes, backbone_config=tiny_config())
    with torch.no_grad():
        module.classifier.layer_weights.fill_(float("nan"))
    trainer = pl.Trainer(
        logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"the loss is nan in step 0 \(epoch 0\); take a smaller `learning_rate`"):
        trainer.fit(module, data)
    with pytest.raises(UserError, match="the weights are no longer finite after step 0"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize(("freeze", "trains"), [("none", True), ("stem", True), ("backbone", False)])
def test_a_pretrained_backbone_that_is_trained_is_in_training_mode(tmp_path: Path, freeze: Any, trains: bool) -> None:
    name = save(make_model("wavlm"), tmp_path)
    module = EmotionModule(["calm", "angry"], backbone=name, freeze=freeze)
    assert {part.training for part in module.backbone.modules()} == {trains}


def test_recordings_that_are_too_long_are_named_before_the_training(planted_root: Path, tmp_path: Path) -> None:
    config = family_config("whisper", max_source_positions=25)  # half a second
    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8)
    trainer = pl.Trainer(max_steps=1, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    module = EmotionModule(data.classes, backbone_config=config, padding="published", standardize=True)
    with pytest.raises(UserError, match=r"\.wav lasts 0\.6 s, and the model hears 0\.5 s at most .* take masked"):
        trainer.fit(module, data)
