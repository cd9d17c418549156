"""Random numbers of each training epoch."""

import os
import random

import numpy as np
import pytorch_lightning as pl
import torch


class EpochSeed(pl.Callback):
    """Seed Python, NumPy and PyTorch at the start of each training epoch by the run's seed, the epoch and the rank.

    Dropout, SpecAugment, layerdrop and augmentation then draw the same numbers in an epoch whether the training came to
    it without a break or was resumed there. Without :func:`~pytorch_lightning.seed_everything`, nothing is seeded.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the epoch."""
        seed = os.environ.get("PL_GLOBAL_SEED")
        if seed is not None:
            seed_epoch(int(seed), trainer.current_epoch, trainer.global_rank)


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (on all devices).

    Example:
        >>> seed_epoch(seed=0, epoch=3)
        >>> one = torch.rand(2)
        >>> seed_epoch(seed=0, epoch=3)
        >>> torch.equal(torch.rand(2), one)
        True
    """
    for_python, for_numpy, for_torch = np.random.SeedSequence([seed, epoch, rank]).generate_state(3)
    random.seed(int(for_python))
    np.random.seed(int(for_numpy))  # noqa: NPY002 - SpecAugment of transformers draws from the global generator
    torch.manual_seed(int(for_torch))
