"""Small models whose evidence is known, and an evaluator of them."""

import torch
from torch import Tensor

from speechshap.attribution import Evaluator, Targets
from speechshap.frames import FrameGrid

SAMPLES = FrameGrid(hop=1, receptive_field=1)


def linear(weights: list[float], batch: int = 1) -> tuple[Evaluator, Targets]:
    """Utterances of ones, whose output is the weighted sum of their samples: a frame's attribution is its weight."""
    own = torch.tensor(weights)
    evaluator = Evaluator(
        lambda waveforms: torch.stack([torch.zeros(len(waveforms)), waveforms @ own], 1),
        torch.ones(batch, len(own)), grid=SAMPLES,
    )  # fmt: skip
    return evaluator, Targets.from_classes(batch, 1)


def all_valid(batch: int, frames: int) -> Tensor:
    """No padding."""
    return torch.ones(batch, frames, dtype=torch.bool)
