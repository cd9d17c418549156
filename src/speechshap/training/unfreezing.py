"""Training the head alone before the backbone joins."""

import math

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from speechshap.errors import UserError


def refuse_unfreezing(trainer: pl.Trainer, epoch: int) -> None:
    """Raise a UserError where a backbone cannot join a training at an epoch.

    Args:
        trainer: Of the training.
        epoch: The first one in which the backbone is trained, from 0; 0: it is from the start.
    """
    if not epoch:
        return
    if 0 <= (trainer.max_epochs or 0) <= epoch:
        raise UserError(
            f"`unfreeze_at_epoch` is {epoch}, but `max_epochs` is {trainer.max_epochs}: the backbone would never be "
            "trained; take a lower one, or more epochs"
        )
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise UserError(
            "`strategy` waits for gradients of the backbone, which has none before `unfreeze_at_epoch`; take "
            "ddp_find_unused_parameters_true"
        )


def first_step_of(trainer: pl.Trainer, epoch: int) -> int:
    """Optimiser steps before an epoch of a training whose data are there."""
    if not epoch:
        return 0
    trainer.fit_loop.setup_data()
    return epoch * math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
