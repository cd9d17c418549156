"""The card that a training leaves beside its checkpoints."""

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
import pytorch_lightning as pl
import torch
from families import family_config
from sklearn.metrics import balanced_accuracy_score

from speechshap.training import (
    AudioDataModule,
    EmotionModule,
    RunCheckpoint,
    SaveModelCard,
    SavePredictions,
    load_checkpoint,
    read_checkpoint,
)
from speechshap.training.metrics import RECALL
from speechshap.training.predictions import read_predictions, write_predictions
from speechshap.training.report_trial import ReportTrial
from speechshap.training.save_card import describe_checkpoint, write_card
from speechshap.training.training_record import TrainingRecord

pytestmark = pytest.mark.slow

PRUNES_ALL = optuna.pruners.ThresholdPruner(lower=2.0)


class Stop(pl.Callback):
    """Ends a training as Ctrl-C does, or a failure."""

    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self.epoch, self.error = epoch, error

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise self.error


def make_trainer(folder: Path | None, *callbacks: pl.Callback, epochs: int = 2, **options: Any) -> pl.Trainer:
    best = {"filename": "best", "monitor": "val/uar", "mode": "max"}
    kept = {
        "dirpath": folder and folder / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    checkpoints = [RunCheckpoint(**kept, **best), RunCheckpoint(**kept, filename="last")] if folder else []
    own = [SavePredictions(), SaveModelCard(["speechshap", "train", "fit", "--data.root", "/home/anna/corpus"])]
    return pl.Trainer(
        **{
            "max_epochs": epochs, "logger": False, "default_root_dir": folder, "accelerator": "cpu",
            "callbacks": [*own, *checkpoints, *callbacks], "enable_progress_bar": False, "enable_model_summary": False,
            "enable_checkpointing": bool(folder), **options,
        }
    )  # fmt: skip


def make(root: Path, **options: Any) -> tuple[EmotionModule, AudioDataModule]:
    pl.seed_everything(0)
    data = AudioDataModule(**{"root": str(root), "corpus": "planted", "batch_size": 8, **options})
    return EmotionModule(data.classes, backbone_config=family_config("wavlm"), learning_rate=0.02), data


def card(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text()


def test_a_finished_training_has_a_card_of_its_best_checkpoint(planted_root: Path, tmp_path: Path) -> None:
    module, data = make(planted_root)
    make_trainer(tmp_path, epochs=3).fit(module, data)
    text, path = card(tmp_path), tmp_path / "checkpoints" / "best.ckpt"
    best = load_checkpoint(path).eval()
    true, predicted = [], []
    with torch.no_grad():
        for batch in data.val_dataloader():
            true += batch.labels.tolist()
            predicted += best(batch.waveforms, batch.lengths).argmax(1).tolist()
    uar = balanced_accuracy_score(true, predicted)
    assert f"| {uar:.3f} |" in next(line for line in text.splitlines() if line.startswith("| UAR"))
    assert f"epoch {read_checkpoint(path)['epoch'] + 1}, `best.ckpt`" in text
    assert "- split: by speaker, seed 0" in text
    assert "wavlm 2 x 32, from random weights" in text
    assert "speechshap train fit --data.root .../corpus" in text
    assert "| learning_rate           | 0.02" in text
    assert "It has not been tested." in text
    assert not re.search(r"(?i)\b(tmp|home|anna)\b", text)


@pytest.mark.parametrize(("pruner", "is_pruned"), [(optuna.pruners.NopPruner(), False), (PRUNES_ALL, True)])
def test_the_card_of_a_trial_says_what_validation_chose_and_one_ended_early_has_none(
    planted_root: Path, tmp_path: Path, pruner: optuna.pruners.BasePruner, is_pruned: bool
) -> None:
    trial = optuna.create_study(direction="maximize", pruner=pruner).ask()
    module, data = make(planted_root)
    make_trainer(tmp_path, ReportTrial(trial, RECALL)).fit(module, data)
    assert (tmp_path / "MODEL_CARD.md").exists() != is_pruned
    if not is_pruned:
        assert "These utterances chose the epoch and, in a sweep, the options, so that" in card(tmp_path)


def test_a_test_is_added_and_that_of_other_weights_is_not(planted_root: Path, tmp_path: Path) -> None:
    module, data = make(planted_root)
    make_trainer(tmp_path, epochs=2).fit(module, data)
    best = str(tmp_path / "checkpoints" / "best.ckpt")
    make_trainer(tmp_path).test(module, data, best, verbose=False)
    assert "### Test (speaker-independent)" in card(tmp_path)
    tested = read_predictions(tmp_path / "test_predictions.parquet")
    other_weights = tested.about._replace(step=read_checkpoint(best)["global_step"] + 1)
    write_predictions(tmp_path / "test_predictions.parquet", tested._replace(about=other_weights))
    write_card(tmp_path)
    assert "It has not been tested." in card(tmp_path)


def test_a_split_by_utterance_is_called_speaker_dependent_at_each_figure(planted_root: Path, tmp_path: Path) -> None:
    module, data = make(planted_root, split_by="utterance", split_seed=1)
    make_trainer(tmp_path, epochs=1).fit(module, data)
    make_trainer(tmp_path).test(module, data, str(tmp_path / "checkpoints" / "best.ckpt"), verbose=False)
    figures = re.findall(r"^### .*", card(tmp_path), re.MULTILINE)
    assert figures == ["### Validation (speaker-dependent)", "### Test (speaker-dependent)"]
    assert "UAR (speaker-dependent" in card(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_training_has_no_card_until_it_has_ended(
    planted_root: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    module, data = make(planted_root)
    with pytest.raises((SystemExit, error)):
        make_trainer(tmp_path, Stop(1, error), epochs=3).fit(module, data)
    best, last = (str(tmp_path / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    make_trainer(tmp_path).test(module, data, best, verbose=False)
    assert not (tmp_path / "MODEL_CARD.md").exists()
    module, data = make(planted_root)
    make_trainer(tmp_path, epochs=3).fit(module, data, ckpt_path=last)
    assert "- split: by speaker, seed 0" in card(tmp_path)
    assert card(tmp_path).count("speechshap train fit") == 1


def test_a_training_that_goes_on_takes_the_old_card_away(planted_root: Path, tmp_path: Path) -> None:
    module, data = make(planted_root)
    make_trainer(tmp_path, epochs=1).fit(module, data)
    assert (tmp_path / "MODEL_CARD.md").is_file()
    module, data = make(planted_root)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        make_trainer(tmp_path, Stop(1, KeyboardInterrupt), epochs=3).fit(
            module, data, ckpt_path=str(tmp_path / "checkpoints" / "last.ckpt")
        )
    assert not (tmp_path / "MODEL_CARD.md").exists()


def test_a_run_killed_at_its_very_end_gets_its_card_with_the_test(planted_root: Path, tmp_path: Path) -> None:
    module, data = make(planted_root)
    make_trainer(tmp_path, epochs=2).fit(module, data)
    (tmp_path / "MODEL_CARD.md").unlink()
    make_trainer(tmp_path).test(module, data, str(tmp_path / "checkpoints" / "best.ckpt"), verbose=False)
    assert "### Test" in card(tmp_path)


def test_of_several_processes_the_first_writes_a_card_of_all_utterances(planted_root: Path, tmp_path: Path) -> None:
    """An uneven number of utterances: one of the processes hears some once more."""
    texts = []
    for name, devices in (("one", 1), ("two", 2)):
        module, data = make(planted_root, batch_size=2)
        strategy = "auto" if devices == 1 else "ddp_fork"
        make_trainer(tmp_path / name, epochs=1, devices=devices, strategy=strategy).fit(module, data)
        texts.append(card(tmp_path / name))
    told = [re.search(r"Of \d+ utterances of .*?, in epoch 1", text) for text in texts]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0][0] == told[1][0]


def test_without_a_folder_nothing_is_written(
    planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module, data = make(planted_root)
    make_trainer(None, epochs=1).fit(module, data)
    assert not list(tmp_path.rglob("*.md"))


def test_an_earlier_checkpoint_tells_what_it_knows(tiny_checkpoint: Path) -> None:
    told = describe_checkpoint(tiny_checkpoint, read_checkpoint(tiny_checkpoint), "tiny", "usage", None)
    assert told.record == TrainingRecord()
    assert told.validation is None
    assert told.architecture == "wavlm 2 x 32"
