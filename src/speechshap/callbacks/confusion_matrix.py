"""The confusion matrix of each validation and test run, as a figure in TensorBoard."""

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from speechshap.models import EmotionModule


class ConfusionMatrixCallback(pl.Callback):
    """Log the confusion matrix of an :class:`~speechshap.models.EmotionModule` at the end of an evaluation epoch."""

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
        from speechshap.report.figures import confusion_matrix_figure

        figure = confusion_matrix_figure(counts.cpu().numpy(), module.classes)
        trainer.logger.experiment.add_figure(f"{stage}/confusion_matrix", figure, trainer.global_step)
