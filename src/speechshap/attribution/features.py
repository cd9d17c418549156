"""Parts of an utterance that are there or not: stretches of time, frequency bands, or both at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from speechshap.attribution.spectrum import SpectralGrid
from speechshap.frames import FrameGrid

FeatureKind = Literal["stretches", "bands", "cells"]
FEATURE_KINDS: tuple[str, ...] = get_args(FeatureKind)


def stretch_bounds(num_frames: int, stretch_frames: int, shift: float = 0.0) -> list[int]:
    """Frames at which stretches of nearly equal length begin and end.

    A last stretch of a single frame, say, would look stronger than it is.

    Args:
        num_frames: Of the utterance.
        stretch_frames: Of a stretch, about.
        shift: Part of a stretch by which the bounds are moved; what is left at both ends are stretches, too.

    Example:
        >>> stretch_bounds(11, 3), stretch_bounds(11, 3, shift=0.5)
        ([0, 3, 6, 8, 11], [0, 1, 4, 7, 10, 11])
    """
    count = max(1, round(num_frames / stretch_frames))
    inner = [round((number + shift) * num_frames / count) for number in range(count)]
    return [0, *(bound for bound in inner if 0 < bound < num_frames), num_frames]


def spread(values: Tensor, bounds: Sequence[int]) -> Tensor:
    """Deal values of stretches ``(..., stretches)`` out evenly to their frames, ``(..., frames)``.

    Example:
        >>> spread(torch.tensor([3.0, 4.0]), [0, 1, 3])
        tensor([3., 2., 2.])
    """
    sizes = torch.tensor(bounds, device=values.device).diff()
    return (values / sizes).repeat_interleave(sizes, dim=-1)


@dataclass(frozen=True)
class Features:
    """Features that an utterance is divided into: its bands times its stretches, of which there may be one of either.

    Attributes:
        bounds: Frames at which its stretches begin and end.
        edges: Samples at which they do.
        spectrum: Transform whose bands are features; None where only stretches are.

    Example:
        >>> features = Features.of(8, FrameGrid(hop=2, receptive_field=2), [0, 1, 2, 3, 4])
        >>> features.removed(torch.arange(8.0), torch.tensor([True, False, True, False]))  # the second and the fourth
        tensor([0., 0., 2., 3., 0., 0., 6., 7.])
    """

    bounds: list[int]
    edges: list[int]
    spectrum: SpectralGrid | None = None

    @classmethod
    def of(
        cls, num_samples: int, grid: FrameGrid, bounds: Sequence[int], spectrum: SpectralGrid | None = None
    ) -> "Features":
        """Features with these bounds of stretches.

        Args:
            num_samples: Of the utterance.
            grid: Where its frames are.
            bounds: Frames at which stretches begin and end, from the first frame to the one after the last.
            spectrum: Has the bands.
        """
        edges = grid.edges(num_samples).tolist()
        # A stretch without a sample, or without a frame of the spectrum, is joined to the one before.
        step = 1 if spectrum is None else spectrum.hop
        places = [_steps(edges[bound], step) for bound in bounds]
        kept = [
            0,
            *(number for number in range(1, len(bounds) - 1) if places[number - 1] < places[number] < places[-1]),
        ]
        bounds = [*(bounds[number] for number in kept), bounds[-1]]
        return cls(bounds, [edges[bound] for bound in bounds], spectrum)

    def __len__(self) -> int:
        """Features."""
        return self.num_bands * self.num_stretches

    @property
    def num_bands(self) -> int:
        """Bands; 1 where the features are stretches."""
        return 1 if self.spectrum is None else self.spectrum.num_bands

    @property
    def num_stretches(self) -> int:
        """Stretches; 1 where the features are bands."""
        return len(self.bounds) - 1

    @property
    def columns(self) -> list[int]:
        """Frames of the spectrum at which the stretches begin and end."""
        if self.spectrum is None:
            return self.edges
        inner = [_steps(edge, self.spectrum.hop) for edge in self.edges[:-1]]
        return [*inner, self.spectrum.num_frames(self.edges[-1])]

    def transform(self, difference: Tensor) -> Tensor:
        """What :meth:`removed` takes of a difference ``(time,)``: its spectrum, ``(bins, frames)``, or itself."""
        if self.spectrum is None:
            return difference
        window = torch.hann_window(self.spectrum.window, dtype=difference.dtype, device=difference.device)
        return torch.stft(
            difference, self.spectrum.window, self.spectrum.hop, window=window, pad_mode="constant", return_complex=True
        )

    def removed(self, transformed: Tensor, present: Tensor) -> Tensor:
        """The part of a difference, as :meth:`transform` has it, that is in the features that are off, ``(time,)``.

        Args:
            transformed: Difference of utterance and reference.
            present: Which features are on, ``(features,)`` bool; all stretches of one band follow each other.
        """
        absent = self.cells(~present)
        sizes = torch.tensor(self.columns, device=transformed.device).diff()
        if self.spectrum is None:
            return transformed * absent[0].to(sizes.device).repeat_interleave(sizes)
        shares = self.spectrum.bin_shares.double().T @ absent.double()  # (bins, stretches)
        shares = shares.to(transformed.real.dtype).to(transformed.device).repeat_interleave(sizes, 1)
        window = torch.hann_window(self.spectrum.window, dtype=shares.dtype, device=shares.device)
        return torch.istft(
            transformed * shares, self.spectrum.window, self.spectrum.hop, window=window, length=self.edges[-1]
        )

    def by_frame(self, values: Tensor) -> Tensor:
        """Values of features ``(..., features)`` dealt out to frames, ``(..., frames)``."""
        return spread(self.cells(values).sum(-2), self.bounds)

    def by_column(self, values: Tensor) -> Tensor:
        """Values of features ``(..., features)`` dealt out to the frames of the spectrum, ``(..., bands, columns)``."""
        return spread(self.cells(values), self.columns)

    def cells(self, values: Tensor) -> Tensor:
        """Values of features ``(..., features)`` by band and stretch, ``(..., bands, stretches)``."""
        return values.unflatten(-1, (self.num_bands, self.num_stretches))


def _steps(sample: int, step: int) -> int:
    """Number of the first frame that is centred on this sample or behind it."""
    return math.ceil(sample / step)
