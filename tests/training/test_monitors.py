"""Metrics that callbacks watch are known before training begins."""

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint

from speechshap.errors import UserError
from speechshap.training.monitors import refuse_unknown_monitors

LOGGED = {"train": ["train/loss"], "val": ["val/loss", "val/uar"]}


class Own(pl.Callback):
    """A callback of the user's own, which may log what it likes."""


def refuse(*callbacks: pl.Callback, limit_val_batches: float = 1.0) -> None:
    trainer = pl.Trainer(
        callbacks=list(callbacks), limit_val_batches=limit_val_batches, logger=False, accelerator="cpu",
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    )  # fmt: skip
    refuse_unknown_monitors(trainer, LOGGED, dict.fromkeys(callbacks, "--stop"))


def test_a_metric_that_is_not_logged_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"^--stop is val/ua, which is not logged; did you mean val/uar\? there are"):
        refuse(EarlyStopping("val/ua"))


def test_without_validation_its_metrics_are_not_logged() -> None:
    refuse(EarlyStopping("val/uar"))
    with pytest.raises(UserError, match=r"without validation \(`limit_val_batches`\); there are train/loss$"):
        refuse(EarlyStopping("val/uar"), limit_val_batches=0)


def test_what_may_be_there_all_the_same_passes() -> None:
    refuse(EarlyStopping("nope", strict=False), ModelCheckpoint(monitor="step"), LambdaCallback())
    refuse(ModelCheckpoint(monitor="nope", save_top_k=0))
    refuse(ModelCheckpoint(monitor="val/uar"), limit_val_batches=0)
    refuse(EarlyStopping("nope"), Own())
