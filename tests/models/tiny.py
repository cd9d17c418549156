"""Short sounds, and the poolings that tests run through."""

from typing import Any

import torch
from torch import Tensor

POOLINGS: list[dict[str, Any]] = [
    {"kind": "mean"},
    {"kind": "mean_std"},
    {"kind": "attentive"},
    {"kind": "attentive", "num_queries": 3},
    {"kind": "mean", "convolutions": 2},
    {"kind": "mean_std", "convolutions": 1},
    {"kind": "attentive", "num_queries": 2, "convolutions": 3},
]
"""Options of each kind of pooling."""


def sounds(*lengths: int) -> tuple[Tensor, Tensor]:
    """Random waveforms ``(batch, time)`` of these lengths, and the lengths."""
    generator = torch.Generator().manual_seed(1)
    waveforms = torch.randn(len(lengths), max(lengths), generator=generator)
    return waveforms * (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]), torch.tensor(lengths)
