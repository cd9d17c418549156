"""Metrics that callbacks watch, told before an epoch is spent on one that nothing logs."""

from collections.abc import Mapping, MutableSequence, Sequence
from difflib import get_close_matches

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from speechshap.errors import UserError

_KNOWN = ("pytorch_lightning", "speechshap")
"""Packages whose callbacks log no metrics that could be monitored."""


def without_validation(callbacks: MutableSequence[pl.Callback]) -> None:
    """Have nothing wait for the metrics of a validation: the last epoch counts as the best, and none ends it early.

    Example:
        >>> callbacks = [ModelCheckpoint(monitor="val/uar"), EarlyStopping("val/uar"), EarlyStopping("train/loss")]
        >>> without_validation(callbacks)
        >>> [callback.monitor for callback in callbacks]
        [None, 'train/loss']
    """
    for callback in list(callbacks):
        if not (getattr(callback, "monitor", None) or "").startswith("val/"):
            continue
        if isinstance(callback, ModelCheckpoint):
            callback.monitor = None
        elif isinstance(callback, EarlyStopping):
            callbacks.remove(callback)


def refuse_unknown_monitors(
    trainer: pl.Trainer, logged: Mapping[str, Sequence[str]], names: Mapping[pl.Callback, str]
) -> None:
    """Refuse a callback that monitors what nothing logs; a callback of the user's own might log it.

    Args:
        trainer: With its callbacks.
        logged: Metrics of the stages ``train`` and ``val``.
        names: What callbacks are called in messages; others by their class.

    Raises:
        UserError: A metric that a callback cannot do without is not among those.
    """
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(type(callback).__module__.split(".")[0] not in _KNOWN for callback in callbacks):
        return
    validates = trainer.limit_val_batches != 0
    there = [*logged["train"], *(logged["val"] if validates else [])]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        own = ("epoch", "step") if isinstance(callback, ModelCheckpoint) else ()
        if monitor is None or monitor in (*there, *own) or monitor.startswith("lr-"):
            continue
        # Without validation Lightning keeps no best checkpoint, which is no mistake.
        if isinstance(callback, ModelCheckpoint) and (not validates or callback.save_top_k == 0):
            continue
        if not getattr(callback, "strict", True):
            continue
        name = names.get(callback, f"the monitor of {type(callback).__name__}")
        condition = "" if validates else " without validation (`limit_val_batches`)"
        near = get_close_matches(monitor, there, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{name} is {monitor}, which is not logged{condition}; {hint}there are {', '.join(there)}")
