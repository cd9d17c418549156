"""Reference distributions: what an utterance is compared with."""

from collections.abc import Callable

import torch
from torch import Tensor

Baseline = Callable[[Tensor, torch.Generator], Tensor]
"""Draws one reference ``(time,)`` for an utterance ``(time,)`` with the numbers of a generator (both on the CPU)."""


def gaussian_noise(snr_db: float = 0.0) -> Baseline:
    """Gaussian noise with the utterance's mean, and a standard deviation ``snr_db`` decibels below its own.

    Example:
        >>> draw = gaussian_noise(snr_db=20.0)
        >>> waveform = torch.tensor([3.0, -3.0]).repeat(5000)
        >>> draw(waveform, torch.Generator().manual_seed(0)).std()
        tensor(0.3006)
    """
    scale = 10 ** (-snr_db / 20)

    def draw(waveform: Tensor, generator: torch.Generator) -> Tensor:
        standard_normal = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
        return waveform.mean() + scale * waveform.std(correction=0) * standard_normal

    return draw


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
        return references[index, positions].to(waveform.dtype)

    return draw


NAMED_BASELINES: dict[str, Baseline] = {"noise": gaussian_noise(), "silence": silence}
