"""The checkpoints of a run: the best, and the last."""

import math
import shutil
from pathlib import Path
from time import monotonic
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from speechshap.files import whole_file
from speechshap.training.checkpoints import read_checkpoint

_SHARE = 0.1
"""Most of the time of a training that saving its latest epoch may take."""


class RunCheckpoint(ModelCheckpoint):
    """ModelCheckpoint that keeps the best checkpoint and its score when a training is resumed.

    Where the training goes on in another folder, the best checkpoints beside the one that is resumed are copied there;
    ModelCheckpoint would forget their scores, and name a worse one the best. A best one that is newer than what the
    training goes on from counts with its own score. A checkpoint whose score is NaN or infinite is not kept for it,
    even if all others are (``save_top_k=-1``).

    A checkpoint of the latest epoch (without ``monitor``) holds the backbone, which takes longer to write than an epoch
    on cached features takes: such epochs are left out, but for the last one, so that saving takes a tenth of the time.
    """

    _saved_at = -math.inf
    _saving_seconds = 0.0

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint: that of ModelCheckpoint."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch, if it is time."""
        started = monotonic()
        # Only what the next epoch replaces may be left out, not what was asked for epoch by epoch.
        is_replaced = self.monitor is None and self.save_top_k == 1 and self._every_n_epochs == 1
        is_early = self._saving_seconds > _SHARE * (started - self._saved_at)
        # The first process decides, since all of them save together.
        if is_replaced and trainer.strategy.broadcast(is_early) and not _is_last_epoch(trainer):
            return
        super().on_train_epoch_end(trainer, pl_module)
        self._saved_at = monotonic()
        self._saving_seconds = self._saved_at - started

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether a score is one of the best."""
        is_finite = current is not None and math.isfinite(current)
        # A process that knew better alone would leave the others waiting for it: they decide together, as below.
        are_finite: bool = trainer.strategy.reduce_boolean_decision(is_finite)
        return are_finite and super().check_monitor_top_k(trainer, current)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Rewrite the state for the folder of this run."""
        states = checkpoint.get("callbacks", {})
        if trainer.state.fn != TrainerFn.FITTING or self.state_key not in states or trainer.ckpt_path is None:
            return
        source, target = Path(trainer.ckpt_path).parent, Path(self.dirpath or "")
        state = {**states[self.state_key], "dirpath": self.dirpath}
        moved = {path: str(target / Path(path).name) for path in state["best_k_models"]}
        if not all((source / Path(path).name).is_file() for path in moved):
            del states[self.state_key]  # without the files, the scores of this training count
            return
        if trainer.is_global_zero:
            for path, copy in moved.items():
                copy_whole(source / Path(path).name, Path(copy))
        state["best_k_models"] = {
            moved[path]: _score_in(source / Path(path).name, self.state_key, default=score)
            for path, score in state["best_k_models"].items()
        }
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = state[name] and str(target / Path(state[name]).name)
        if scores := state["best_k_models"]:
            state["best_model_score"] = scores.get(state["best_model_path"], state["best_model_score"])
            state["kth_value"] = scores.get(state["kth_best_model_path"], state["kth_value"])
        states[self.state_key] = state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, with the latest of the best scores, which ModelCheckpoint leaves out."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict.get("current_score")


def _score_in(checkpoint: Path, key: str, default: Tensor) -> Tensor:
    """Score of a best checkpoint, which may be newer than the one that a training goes on from."""
    best: dict[str, Tensor] = read_checkpoint(checkpoint)["callbacks"].get(key, {}).get("best_k_models", {})
    return {Path(path).name: score for path, score in best.items()}.get(checkpoint.name, default)


def _is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends is the last one, without the side effects of Lightning's own question."""
    has_all_epochs = 0 <= (trainer.max_epochs or 0) <= trainer.current_epoch + 1
    has_all_steps = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or has_all_epochs or has_all_steps


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, unless both paths are the same file."""
    if not (target.exists() and source.samefile(target)):
        with whole_file(target) as partial:
            shutil.copyfile(source, partial)
