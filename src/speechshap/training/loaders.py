"""Loaders of the batches of a run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from speechshap.data.batching import EpochLoader, LengthBatchSampler
from speechshap.data.catalogue import Catalogue
from speechshap.data.dataset import UtteranceDataset
from speechshap.data.skipping import SkippingLoader, UncheckedDataset
from speechshap.training.feature_dataset import FeatureDataset, StoredFeatures

Use = Literal["train", "evaluate", "explain"]


@dataclass(frozen=True)
class BatchOptions:
    """How batches are made; the fields are options of :class:`speechshap.training.AudioDataModule`."""

    batch_size: int
    batch_seconds: float
    num_workers: int


def utterance_loader(
    waveforms: UtteranceDataset,
    seconds: Sequence[float],
    options: BatchOptions,
    use: Use,
    stored: StoredFeatures | None,
    catalogue: Catalogue,
) -> DataLoader[Any]:
    """Loader of batches of similar length: of waveforms, or of the features that are kept of them.

    Args:
        waveforms: Utterances.
        seconds: Length of each.
        options: How batches are made.
        use: ``train`` shuffles; with ``explain`` each utterance comes exactly once, however many processes there are.
        stored: Features of the utterances, which take the place of their waveforms.
        catalogue: That is told what of an :class:`speechshap.data.skipping.UncheckedDataset` cannot be used.
    """
    sampler = LengthBatchSampler(
        seconds,
        options.batch_size,
        options.batch_seconds,
        shuffle=use == "train",
        seed=int(os.getenv("PL_GLOBAL_SEED", "0")),  # of seed_everything, the same in all processes
        repeat=use != "explain",
    )
    num_workers = options.num_workers if stored is None else 0
    own: dict[str, Any] = {
        "batch_size": None,  # the sampler makes the batches
        "sampler": sampler,
        "num_workers": num_workers,
        # Workers that draw random numbers start anew, to know their epoch.
        "persistent_workers": num_workers > 0 and waveforms.transform is None,
        "pin_memory": torch.cuda.is_available(),
    }
    if stored is not None:
        return EpochLoader(FeatureDataset(waveforms, stored), **own)
    if isinstance(waveforms, UncheckedDataset):
        return SkippingLoader(waveforms, catalogue, **own)
    return EpochLoader(waveforms, **own)


def is_repeated(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a batch of an evaluation takes the place of another, and does not count.

    Args:
        trainer: That validates or tests.
        batch_idx: Number of the batch in its process.
    """
    loader = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    return isinstance(loader, EpochLoader) and loader.is_repeated(batch_idx)
