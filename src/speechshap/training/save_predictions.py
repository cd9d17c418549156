"""The predictions and the scores of a test, in the folder of the run that is tested."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
from torch import Tensor, distributed

from speechshap.data.choosing import ChosenSplit
from speechshap.files import whole_file
from speechshap.training.checkpoints import read_checkpoint, run_of
from speechshap.training.datamodule import AudioDataModule
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.predictions import AboutTest, Predictions, read_predictions, write_predictions
from speechshap.training.run_folder import run_folder
from speechshap.training.scores_text import scores_markdown, short_text

logger = logging.getLogger(__name__)

PREDICTIONS = "test_predictions.parquet"
"""Predictions of a test, in the folder of a run; what is written last of a test."""

SCORES = "test_scores.md"
"""Their scores."""

PredictionRow = tuple[str, str, int, list[float]]
"""Path, speaker, class and probabilities of an utterance."""


class SavePredictions(pl.Callback):
    """Write what an :class:`speechshap.training.EmotionModule` predicts of the utterances of a test, and its scores.

    ``test_predictions.parquet`` and ``test_scores.md`` are in the folder of the run, if it has one; those of a test of
    other recordings are beside them, as ``test_predictions-2.parquet`` and ``test_scores-2.md``. Several processes
    bring theirs together; an utterance that two of them tested, so that all have as many batches, is there once.
    """

    def __init__(self) -> None:
        self._rows: dict[str, PredictionRow] = {}

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier test."""
        self._rows = {}

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the probabilities of a batch."""
        self._rows.update(rows_of(outputs, batch))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write them, and tell the score."""
        # Both are asked of all processes.
        rows, folder = gathered(self._rows), run_folder(trainer)
        if not trainer.is_global_zero or not rows:
            return
        predictions = _predictions(rows, cast(EmotionModule, pl_module).classes, about_test(trainer))
        logger.info("test: %s", short_text(predictions.counts, predictions.about))
        if folder is not None:
            number = _number(folder, predictions)
            with whole_file(_numbered(folder / SCORES, number)) as partial:
                partial.write_text(scores_markdown(predictions), encoding="utf-8")
            write_predictions(_numbered(folder / PREDICTIONS, number), predictions)


def _number(folder: Path, predictions: Predictions) -> int:
    """Number of a test: that of an earlier one of the same recordings, which it replaces, or a new one."""
    number = 1
    while (path := _numbered(folder / PREDICTIONS, number)).is_file():
        former = read_predictions(path)
        if (former.utterances, former.about.corpus) == (predictions.utterances, predictions.about.corpus):
            break
        number += 1
    return number


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


def gathered(own: dict[str, PredictionRow]) -> dict[str, PredictionRow]:
    """Rows of all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return own
    parts = [own] * distributed.get_world_size()
    distributed.all_gather_object(parts, own)
    return {name: row for part in parts for name, row in part.items()}


def about_test(trainer: pl.Trainer) -> AboutTest:
    """What a trainer tests."""
    checkpoint = Path(trainer.ckpt_path) if trainer.ckpt_path else None
    step = getattr(trainer.lightning_module, "trained_steps", None)
    run = None if checkpoint is None else run_of(checkpoint)
    name = "" if checkpoint is None else checkpoint.name if run is None else f"{run.name}/{checkpoint.name}"
    data: Any = getattr(trainer, "datamodule", None)
    if not isinstance(data, AudioDataModule):
        return AboutTest(checkpoint=name, step=step)
    catalogue, chosen = data.catalogue, data.catalogue.chosen
    overlap = data.speaker_overlap
    options: Mapping[str, Any] = data.hparams
    if chosen is not None and chosen.source == "checkpoint" and checkpoint is not None:
        options = read_checkpoint(checkpoint).get("datamodule_hyper_parameters", {})
    listing = catalogue.listing
    return AboutTest(
        corpus=f"{listing.name} ({catalogue.root})" if catalogue.root else listing.name,
        split="" if chosen is None else split_text(chosen, options),
        fold=options.get("fold"),
        overlap="" if overlap is None else str(overlap),
        is_independent=None if overlap is None else overlap.is_independent,
        num_skipped=len(data.skipped),
        checkpoint=name,
        step=step,
    )


def split_text(chosen: ChosenSplit, options: Mapping[str, Any]) -> str:
    """How splits were made, in words that follow "split".

    Args:
        chosen: The splits.
        options: That they were drawn with.

    Example:
        >>> from speechshap.data.splits import Splits
        >>> chosen = ChosenSplit(Splits([], [], []), "checkpoint", "as the checkpoint was trained with")
        >>> split_text(chosen, {"split_by": "speaker", "split_seed": 0})
        'by speaker, seed 0'
        >>> split_text(chosen, {"split_by": "utterance", "split_seed": 0, "folds": 5, "fold": 2})
        'into 5 folds by utterance, seed 0'
    """
    folds = options.get("folds")
    drawn = f"by {options.get('split_by')}, seed {options.get('split_seed')}"
    if isinstance(folds, int):
        return f"into {folds} folds {drawn}"
    if folds is not None:
        return "into the folds of the manifest" if folds == "emobox" else f"into a fold for each {folds}"
    return drawn if chosen.source == "checkpoint" and "split_by" in options else chosen.origin


def rows_of(logits: Tensor, batch: Any) -> dict[str, PredictionRow]:
    """Path, speaker, class and probabilities of each utterance of a batch, by its id."""
    probabilities = logits.detach().float().softmax(-1).cpu().tolist()
    rows = zip(batch.paths, batch.speakers, batch.labels.tolist(), probabilities, strict=True)
    return dict(zip(batch.ids, rows, strict=True))


def _predictions(rows: dict[str, PredictionRow], classes: list[str], about: AboutTest) -> Predictions:
    names = sorted(rows)  # whatever the order of the batches, or of the processes
    paths, speakers, true, probabilities = zip(*(rows[name] for name in names), strict=True)
    return Predictions(
        tuple(classes), tuple(names), paths, speakers, np.array(true), np.array(probabilities, np.float32), about
    )
