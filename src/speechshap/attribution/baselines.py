"""Reference distributions: what an utterance is compared with."""

from collections.abc import Callable

import torch
from torch import Tensor

Baseline = Callable[[Tensor, torch.Generator], Tensor]
"""Draws one reference ``(time,)`` for an utterance ``(time,)`` with the numbers of a generator (both on the CPU)."""


def noise(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise with the utterance's own mean and standard deviation."""
    standard_normal = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
    return waveform.mean() + waveform.std(correction=0) * standard_normal


def silence(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros.

    A model that normalises its input hears the same sound at every point of the path but the very start of it: the
    attributions are then incomplete, which the completeness gap shows.
    """
    return torch.zeros_like(waveform)


def from_references(references: Tensor) -> Baseline:
    """Draw from given references ``(references, time)``, each with the same probability.

    A reference longer than the utterance is cropped at a random offset; a shorter one is repeated from its start.

    Example:
        >>> draw = from_references(torch.tensor([[1.0, 2.0, 3.0]]))
        >>> draw(torch.zeros(5), torch.Generator().manual_seed(0))
        tensor([1., 2., 3., 1., 2.])
    """
    references = references.detach().to("cpu", torch.float32)
    available = references.shape[1]

    def draw(waveform: Tensor, generator: torch.Generator) -> Tensor:
        index = int(torch.randint(len(references), (), generator=generator))
        spare = max(0, available - len(waveform))
        offset = int(torch.randint(spare + 1, (), generator=generator))
        positions = (offset + torch.arange(len(waveform))) % available
        return references[index, positions]

    return draw


NAMED_BASELINES: dict[str, Baseline] = {"noise": noise, "silence": silence}
