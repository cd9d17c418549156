"""The scores of a training, for Optuna."""

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

if TYPE_CHECKING:
    import optuna


class ReportTrial(pl.Callback):
    """Tell Optuna the score of each epoch, and end a training that is not worth going on with.

    Args:
        trial: Of Optuna.
        metric: That is as high as possible.

    Attributes:
        is_pruned: Whether the training was ended before its time.
        best: Highest score so far; None without one.
    """

    def __init__(self, trial: "optuna.Trial", metric: str) -> None:
        self.trial = trial
        self.metric = metric
        self.is_pruned = False
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """The highest score, for a training that goes on."""
        return {"best": self.best, "is_pruned": self.is_pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.best, self.is_pruned = state_dict["best"], state_dict["is_pruned"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the score."""
        score = trainer.callback_metrics.get(self.metric)
        if trainer.sanity_checking or score is None:
            return
        self.best = float(score) if self.best is None else max(self.best, float(score))
        # The best so far: that is what counts of a trial, and what others are compared with.
        self.trial.report(self.best, trainer.current_epoch)
        if self.trial.should_prune():
            self.is_pruned = trainer.should_stop = True
