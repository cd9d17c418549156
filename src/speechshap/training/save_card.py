"""The model card of a run, beside its checkpoints."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from speechshap.files import whole_file
from speechshap.training.checkpoints import CHECKPOINTS, has_ended, last_checkpoint, read_checkpoint, run_of
from speechshap.training.classification_scores import SpeakerCounts, count_by_speaker
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.hyperparameters import comparable
from speechshap.training.model_card import ModelCard, card_text
from speechshap.training.predictions import Predictions, read_predictions
from speechshap.training.report_trial import ReportTrial
from speechshap.training.run_folder import run_folder
from speechshap.training.save_predictions import PREDICTIONS, PredictionRow, gathered, rows_of
from speechshap.training.training_record import TrainingRecord, record_training, without_folders

CARD = "MODEL_CARD.md"
"""The card in the folder of a run; it is there when the training has ended by itself."""


class SaveModelCard(pl.Callback):
    """Write ``MODEL_CARD.md`` into the folder of a run, about its best checkpoint (or its last, where that is all).

    A checkpoint keeps what the card tells, so that a card can be made of it alone. A training that is interrupted, or
    a trial that is ended early, has no card, and one that goes on has none until its end. A test of a finished run
    writes the card again, with its scores.

    Args:
        command: That was given, word by word.
    """

    def __init__(self, command: Sequence[str] = ()) -> None:
        self._command = list(command)
        self._record: TrainingRecord | None = None
        self._validation: dict[str, Any] | None = None
        self._rows: dict[str, PredictionRow] = {}

    def state_dict(self) -> dict[str, Any]:
        """What is known of the training, and the counts of the latest validation."""
        return {"record": self._record and self._record.state(), "validation": self._validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was known when the training began."""
        record, self._validation = state_dict["record"], state_dict["validation"]
        self._record = None if record is None else TrainingRecord.from_state(record)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note of what is trained; a card that is there is of an earlier end."""
        folder = run_folder(trainer)  # asked for by all processes
        if folder is not None and trainer.is_global_zero:
            (folder / CARD).unlink(missing_ok=True)
        if isinstance(pl_module, EmotionModule):
            now = record_training(trainer, pl_module, self._command)
            self._record = now if self._record is None else now.going_on_from(self._record)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last one."""
        self._rows = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what was predicted."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and isinstance(pl_module, EmotionModule):
            self._rows.update(rows_of(outputs, batch))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count it, for the checkpoint of this epoch."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(pl_module, EmotionModule):
            return
        rows = list(gathered(self._rows).values())  # asked of all processes
        if rows:
            _, speakers, true, probabilities = zip(*rows, strict=True)
            counts = count_by_speaker(true, np.argmax(probabilities, 1).tolist(), speakers, len(pl_module.classes))
            self._validation = {"speakers": list(counts.speakers), "counts": counts.counts.tolist()}

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the card; Lightning does not call this for a training that was interrupted or failed."""
        folder = run_folder(trainer)  # asked for by all processes
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        is_pruned = any(isinstance(each, ReportTrial) and each.is_pruned for each in callbacks)
        if folder is not None and trainer.is_global_zero and not is_pruned:
            write_card(folder)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the card again, with the scores, where the tested run is finished."""
        folder = run_folder(trainer)  # asked for by all processes
        if folder is not None and trainer.is_global_zero and is_finished(folder):
            write_card(folder)


def write_card(run: Path) -> None:
    """Write the card of a finished run; nothing, where no checkpoint is kept there that tells of its training."""
    path = next((path for name in ("best", "last") if (path := run / CHECKPOINTS / f"{name}.ckpt").is_file()), None)
    if path is None:
        return
    checkpoint = read_checkpoint(path)
    if _state_of(checkpoint).get("record") is None:
        return
    card = describe_checkpoint(path, checkpoint, f"{run.absolute().parent.name}/{run.name}", usage_of_run(run), True)
    with whole_file(run / CARD) as partial:
        partial.write_text(card_text(card), encoding="utf-8")


def usage_of_run(run: Path) -> str:
    """Commands that explain what a run has trained, here and elsewhere."""
    place = shlex.quote(without_folders(str(run)))
    exported = shlex.quote(f"{run.absolute().parent.name}-model")
    return (
        f"speechshap explain --ckpt_path {place} --data.files recordings/\n"
        "# elsewhere, from a folder that needs no run:\n"
        f"speechshap export {place} {exported}\n"
        f"speechshap explain --model {exported} --data.files recordings/"
    )


def describe_checkpoint(
    path: Path, checkpoint: Mapping[str, Any], name: str, usage: str, finished: bool | None
) -> ModelCard:
    """What a card tells of a checkpoint, and of the tests of it in its run.

    Args:
        path: Of the checkpoint.
        checkpoint: What :func:`speechshap.training.read_checkpoint` read there.
        name: Of the model.
        usage: Commands that explain its predictions.
        finished: Whether the training ended by itself; None where that is not known.
    """
    state, run, model = _state_of(checkpoint), run_of(path), checkpoint["hyper_parameters"]
    record, validation = state.get("record"), state.get("validation")
    return ModelCard(
        name=name,
        classes=list(model["classes"]),
        checkpoint=path.name,
        architecture=str(comparable(model, {}, {}).get("architecture", "")),
        epoch=int(checkpoint["epoch"]) + 1,
        is_finished=finished,
        model=model,
        record=TrainingRecord() if record is None else TrainingRecord.from_state(record),
        validation=validation
        and SpeakerCounts(tuple(validation["speakers"]), np.array(validation["counts"], dtype=np.int64)),
        is_trial=ReportTrial.__qualname__ in checkpoint.get("callbacks", {}),
        tests=[] if run is None else _tests(run, int(checkpoint["global_step"])),
        usage=usage,
    )


def is_finished(run: Path) -> bool:
    """Whether the training of a run ended by itself: its card tells, or, for one killed at its very end, its epochs."""
    if (run / CARD).is_file():
        return True
    last = last_checkpoint(run)
    if last is None:
        return False
    checkpoint = read_checkpoint(last)
    record = TrainingRecord.from_state(_state_of(checkpoint).get("record") or {})
    return has_ended(checkpoint, record.max_epochs, record.min_epochs)


def _tests(run: Path, step: int) -> list[Predictions]:
    """Tests of the weights of a step, in their order."""
    paths = [*run.glob(f"{Path(PREDICTIONS).stem}.parquet"), *sorted(run.glob(f"{Path(PREDICTIONS).stem}-*.parquet"))]
    return [test for test in map(read_predictions, paths) if test.about.step == step]


def _state_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    state: Mapping[str, Any] = checkpoint.get("callbacks", {}).get(SaveModelCard.__qualname__, {})
    return state
