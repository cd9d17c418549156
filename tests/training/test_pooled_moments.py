import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from families import family_config, of_each_kind
from helpers import tiny_config, unmeasured
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset

from speechshap.data import Batch
from speechshap.explaining.explained_model import ExplainedModel
from speechshap.explaining.loading import load_model
from speechshap.explaining.options import Arithmetic
from speechshap.models import Features
from speechshap.models.standardization import Standardization
from speechshap.training import AudioDataModule, EmotionModule, EpochSeed

QUIET: dict[str, Any] = {
    "logger": False, "accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "limit_val_batches": 0, "max_epochs": 1,
}  # fmt: skip


class Watching(EmotionModule):
    """Notes whose features are asked for before the first training step, and what the training goes on with."""

    def on_train_start(self) -> None:
        self.seen: list[int] = []
        features_of = self.features_of

        def note(batch: Any) -> Features:
            self.seen.append(len(batch.ids))
            assert not any(module.training for module in self.classifier.modules())
            return features_of(batch)

        self.features_of = note  # type: ignore[method-assign]
        modes = [module.training for module in self.modules()]
        trained = [parameter.requires_grad for parameter in self.parameters()]
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        super().on_train_start()
        after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        assert (before[1] == after[1]).all()
        assert before[2] == after[2]
        assert modes == [module.training for module in self.modules()]
        assert trained == [parameter.requires_grad for parameter in self.parameters()]
        self.features_of = features_of  # type: ignore[method-assign]


def module_and_data(root: Path, family: str = "wavlm", **options: Any) -> tuple[Watching, AudioDataModule]:
    pl.seed_everything(0)
    data = AudioDataModule(root=str(root), corpus="planted", batch_size=7)
    dropout = {"dropout": 0.3} if family == "whisper" else {"hidden_dropout": 0.3, "do_normalize": True}
    backbone = family_config(family, apply_spec_augment=True, mask_time_prob=0.3, **dropout)
    return Watching(data.classes, backbone_config=backbone, **{"standardize": True, **options}), data


def standardization(module: EmotionModule) -> Standardization:
    assert module.classifier.standardization is not None
    return module.classifier.standardization


@of_each_kind
@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_moments_are_those_of_each_training_utterance_alone(planted_root: Path, family: str, freeze: str) -> None:
    module, data = module_and_data(planted_root, family, freeze=freeze, learning_rate=1e-12)
    pl.Trainer(**QUIET).fit(module, data)
    assert data.splits is not None
    assert sum(module.seen) == int(standardization(module).num_utterances) == len(data.splits.train)
    features = []
    for batch in data.train_dataloader():
        rows = zip(batch.waveforms, batch.lengths, strict=True)
        with torch.no_grad():
            features += [module.eval().classifier.features(row[None, :length], length[None]) for row, length in rows]
    for state, values in enumerate(torch.cat([each.values[:, :, 0] for each in features], 1)):
        scaler = StandardScaler().fit(values.double().numpy())
        np.testing.assert_allclose(standardization(module).mean[state], scaler.mean_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(standardization(module).deviation[state], scaler.scale_, rtol=1e-4, atol=1e-6)


@of_each_kind
@pytest.mark.parametrize("options", [{"pooling": "attentive"}, {"convolutions": 1}])
def test_moments_of_frames_are_those_of_all_without_padding(planted_root: Path, family: str, options: Any) -> None:
    module, data = module_and_data(planted_root, family, freeze="none", learning_rate=1e-12, **options)
    pl.Trainer(**QUIET).fit(module, data)
    features = []
    for batch in data.train_dataloader():
        with torch.no_grad():
            states, frames = module.eval().backbone(batch.waveforms, batch.lengths)
        features += [torch.stack(states)[:, row, :count] for row, count in enumerate(frames)]
    together = torch.cat(features, 1)
    assert int(standardization(module).num_utterances) == together.shape[1] > 20 * len(features)
    for state, values in enumerate(together):
        scaler = StandardScaler().fit(values.double().numpy())
        np.testing.assert_allclose(standardization(module).mean[state], scaler.mean_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(standardization(module).deviation[state], scaler.scale_, rtol=1e-4, atol=1e-6)


def test_moments_are_in_the_precision_of_the_training(planted_root: Path) -> None:
    module, data = module_and_data(planted_root)
    pl.Trainer(**QUIET, precision="bf16-mixed").fit(module, data)
    for enabled in (True, False):
        batches = data.train_dataloader()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = [module.eval().features_of(batch).values[:, :, 0] for batch in batches]
        mean = torch.cat(features, 1).double().mean(1).float()
        assert torch.allclose(standardization(module).mean, mean, rtol=1e-5, atol=1e-7) is enabled


@pytest.mark.parametrize(("limits", "batches"), [({"fast_dev_run": True}, 1), ({"limit_train_batches": 2}, 2)])
def test_no_more_batches_are_looked_at_than_are_trained_on(planted_root: Path, limits: Any, batches: int) -> None:
    module, data = module_and_data(planted_root)
    pl.Trainer(**{**QUIET, **limits}).fit(module, data)
    assert len(module.seen) == batches


def test_a_second_training_keeps_the_moments_of_the_first(planted_root: Path) -> None:
    module, data = module_and_data(planted_root)
    pl.Trainer(**QUIET, limit_train_batches=1).fit(module, data)
    before = {name: value.clone() for name, value in standardization(module).state_dict().items()}
    pl.Trainer(**QUIET).fit(module, data)
    assert module.seen == []
    for name, value in standardization(module).state_dict().items():
        assert torch.equal(value, before[name])


def test_a_training_without_standardisation_makes_no_pass(planted_root: Path) -> None:
    module, data = module_and_data(planted_root, standardize=False)
    pl.Trainer(**QUIET, limit_train_batches=1).fit(module, data)
    assert module.seen == []
    assert not any("standardization" in name for name in module.state_dict())


@of_each_kind
def test_a_resumed_training_equals_an_undisturbed_one(planted_root: Path, tmp_path: Path, family: str) -> None:
    def train(epochs: int, checkpoint: Path | None = None) -> Watching:
        module, data = module_and_data(planted_root, family, freeze="none", dropout=0.5, label_smoothing=0.1)
        trainer = pl.Trainer(**{**QUIET, "max_epochs": epochs}, callbacks=[EpochSeed()])
        # The schedule goes by the number of epochs.
        module.configure_optimizers = lambda: torch.optim.AdamW(module.parameters(), 1e-3)  # type: ignore[assignment, method-assign]
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    whole = train(2).state_dict()
    train(1)
    resumed = train(2, tmp_path / "1.ckpt")
    assert resumed.seen == []
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole[name])


@of_each_kind
def test_a_checkpoint_is_explained_with_its_moments(planted_root: Path, tmp_path: Path, family: str) -> None:
    module, data = module_and_data(planted_root, family, dropout=0.4)
    trainer = pl.Trainer(**QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = load_model(str(tmp_path / "last.ckpt"))
    assert isinstance(loaded, EmotionModule)
    assert loaded.classifier.head[2].p == 0.4  # type: ignore[index]
    again = EmotionModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    waveforms, lengths = torch.randn(2, 1200), torch.tensor([1200, 1000])
    expected = module.eval()(waveforms, lengths)
    fingerprints = {ExplainedModel(one, Arithmetic()).fingerprint for one in (module, loaded, again)}
    assert len(fingerprints) == 1
    for one in (loaded.eval(), again.eval()):
        assert torch.equal(one(waveforms, lengths), expected)
    standardization(again).mean[0, 0] += 1
    assert ExplainedModel(again, Arithmetic()).fingerprint not in fingerprints
    assert not torch.equal(again(waveforms, lengths), expected)


class Noise(Dataset[Batch]):
    """Batches of noise."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Batch:
        waveforms = torch.randn(2, 1200, generator=torch.Generator().manual_seed(number))
        return Batch(waveforms, torch.tensor([1200, 1200]), torch.tensor([0, 1]), ["a", "b"], ["a", "b"], ["", ""])


@pytest.mark.slow
def test_persistent_workers_of_an_own_loader_give_the_first_epoch_all_its_batches() -> None:
    module = Watching(["calm", "angry"], backbone_config=tiny_config(), standardize=True)
    trainer = pl.Trainer(**QUIET)
    trainer.fit(module, DataLoader(Noise(), batch_size=None, num_workers=1, persistent_workers=True))
    assert module.seen == [2, 2, 2]
    assert trainer.global_step == 3


TWO_PROCESSES = """
import json, sys
import pytorch_lightning as pl, torch
from speechshap.training import AudioDataModule, EmotionModule
root, folder, devices, backbone = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])

class Watching(EmotionModule):
    def on_train_start(self):
        super().on_train_start()  # later, DDP gives all processes the buffers of the first
        torch.save(self.classifier.standardization.state_dict(), f"{folder}/{devices}_{self.global_rank}.pt")

pl.seed_everything(0)
data = AudioDataModule(root=root, corpus="planted", batch_size=7)
module = Watching(data.classes, backbone_config=backbone, standardize=True)
trainer = pl.Trainer(
    max_epochs=1, limit_val_batches=0, logger=False, accelerator="cpu", devices=devices, enable_checkpointing=False,
    strategy="ddp" if devices > 1 else "auto", enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(module, data)
"""


@pytest.mark.slow
@of_each_kind
def test_two_processes_have_the_moments_of_one(planted_root: Path, tmp_path: Path, family: str) -> None:
    (tmp_path / "fit.py").write_text(TWO_PROCESSES)
    for devices in ("1", "2"):
        backbone = json.dumps(family_config(family))
        command = [sys.executable, "fit.py", str(planted_root), str(tmp_path), devices, backbone]
        result = subprocess.run(
            command, cwd=tmp_path, env=unmeasured(), check=False, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1"))
    assert int(one["num_utterances"]) == 30
    for name, value in first.items():
        assert torch.equal(value, second[name])
        torch.testing.assert_close(value, one[name], rtol=1e-4, atol=1e-5)
