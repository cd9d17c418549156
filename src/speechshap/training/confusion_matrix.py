"""The confusion matrix of each validation and test run, as a figure in TensorBoard."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from speechshap.training import EmotionModule


class ConfusionMatrixCallback(pl.Callback):
    """Log the confusion matrix of an :class:`~speechshap.training.EmotionModule` at the end of an evaluation epoch."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the validation matrix, but not that of the sanity check."""
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")  # type: ignore[arg-type]

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the test matrix."""
        self._log(trainer, pl_module, "test")  # type: ignore[arg-type]

    def _log(self, trainer: pl.Trainer, module: "EmotionModule", stage: str) -> None:
        counts = module.confusion_matrix(stage).compute()  # gathers over the ranks, so that each of them has to call
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        figure = confusion_matrix_figure(counts.cpu().numpy(), module.classes)
        trainer.logger.experiment.add_figure(f"{stage}/confusion_matrix", figure, trainer.global_step)


def confusion_matrix_figure(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how often each class is taken for each other one.

    Args:
        counts: ``(true classes, predicted classes)``.
        classes: Their names.

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
    axes.set_title(f"{counts.sum():.0f} utterances")
    for row in range(len(classes)):
        for column in range(len(classes)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure
