"""The confusion matrix of each validation and test run, as a figure of the loggers or as a table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechshap.data.wording import counted
from speechshap.files import whole_file
from speechshap.training.run_folder import run_folder

if TYPE_CHECKING:
    from speechshap.training import EmotionModule


class ConfusionMatrixCallback(pl.Callback):
    """Log the confusion matrix of an :class:`speechshap.training.EmotionModule` at the end of an evaluation epoch.

    Every logger that takes figures or images (TensorBoard, W&B) gets a figure. Where there is none, the latest matrix
    is in ``val_confusion_matrix.csv`` or ``test_confusion_matrix.csv`` in the folder of the run.
    """

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the validation matrix, but not that of the sanity check."""
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")  # type: ignore[arg-type]

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the test matrix."""
        self._log(trainer, pl_module, "test")  # type: ignore[arg-type]

    def _log(self, trainer: pl.Trainer, module: "EmotionModule", stage: str) -> None:
        # Both are asked of all ranks.
        counts, folder = module.confusion_matrix(stage).compute().cpu().numpy(), run_folder(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        overlap = getattr(getattr(trainer, "datamodule", None), "speaker_overlap", None)
        is_dependent = overlap is not None and overlap.is_independent is False
        figure = confusion_matrix_figure(counts, module.classes, "speaker-dependent" if is_dependent else "")
        step = max(0, trainer.global_step - 1)  # that of the epoch's other metrics
        shown = [_show(logger, f"{stage}/confusion_matrix", figure, step) for logger in trainer.loggers]
        if not any(shown):
            write_confusion_matrix(folder / f"{stage}_confusion_matrix.csv", counts, module.classes)


def _show(logger: Any, tag: str, figure: Figure, step: int) -> bool:
    """Give a figure to a logger; whether it takes any."""
    if hasattr(logger.experiment, "add_figure"):
        logger.experiment.add_figure(tag, figure, step)
    elif hasattr(logger, "log_image"):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        logger.log_image(tag, [np.asarray(canvas.buffer_rgba())], step)
    else:
        return False
    return True


def write_confusion_matrix(path: Path, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Write counts as a table; arguments as for :func:`confusion_matrix_figure`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "matrix.csv"
        >>> write_confusion_matrix(path, np.array([[3, 1], [0, 2]]), ["happy", "sad"])
        >>> print(path.read_text())
        true,predicted happy,predicted sad
        happy,3,1
        sad,0,2
        <BLANKLINE>
    """
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["true", *(f"predicted {name}" for name in classes)])
        writer.writerows([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))


def confusion_matrix_figure(counts: np.ndarray, classes: Sequence[str], note: str = "") -> Figure:
    """Draw how often each class is taken for each other one.

    Args:
        counts: ``(true classes, predicted classes)``.
        classes: Their names.
        note: What its title has to say beside the number of utterances.

    Returns:
        The figure; colours show each row's share (recall on the diagonal), numbers the counts.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.5 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    size_text = counted(int(counts.sum()), "utterance")
    axes.set_title(f"{size_text}, {note}" if note else size_text, fontsize="medium" if note else None)
    for row in range(len(classes)):
        for column in range(len(classes)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure
