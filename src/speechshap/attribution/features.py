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


def stretch_bounds(num_frames: int, stretch_frames: int) -> list[int]:
    """Frames at which stretches of nearly equal length begin and end.

    A last stretch of a single frame, say, would look stronger than it is.

    Example:
        >>> stretch_bounds(11, 3)
        [0, 3, 6, 8, 11]
    """
    count = max(1, round(num_frames / stretch_frames))
    return [round(number * num_frames / count) for number in range(count + 1)]


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
    """The features of one utterance: its bands times its stretches, of which there may be one of either.

    Attributes:
        bounds: Frames at which its stretches begin and end.
        edges: Samples at which they do.
        spectrum: Transform whose bands are features; None where only stretches are.

    Example:
        >>> features = Features.of("stretches", 8, FrameGrid(hop=2, receptive_field=2), stretch_frames=1)
        >>> features.removed(torch.arange(8.0), torch.tensor([True, False, True, False]))  # the second and the fourth
        tensor([0., 0., 2., 3., 0., 0., 6., 7.])
    """

    bounds: list[int]
    edges: list[int]
    spectrum: SpectralGrid | None = None

    @classmethod
    def of(
        cls,
        kind: FeatureKind,
        num_samples: int,
        grid: FrameGrid,
        stretch_frames: int,
        spectrum: SpectralGrid | None = None,
    ) -> "Features":
        """Features of an utterance.

        Args:
            kind: Bands of the spectrum over all of the time, stretches with all bands, or both (cells).
            num_samples: Of the utterance.
            grid: Where its frames are.
            stretch_frames: Frames of a stretch, about.
            spectrum: Has the bands.
        """
        edges = grid.edges(num_samples).tolist()
        num_frames = len(edges) - 1
        bounds = [0, num_frames] if kind == "bands" else stretch_bounds(num_frames, stretch_frames)
        # A stretch without a sample, or without a frame of the spectrum, is joined to the one before.
        step = 1 if spectrum is None else spectrum.hop
        places = [_steps(edges[bound], step) for bound in bounds]
        kept = [
            0,
            *(number for number in range(1, len(bounds) - 1) if places[number - 1] < places[number] < places[-1]),
        ]
        bounds = [*(bounds[number] for number in kept), num_frames]
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

    def cells(self, values: Tensor) -> Tensor:
        """Values of features ``(..., features)`` by band and stretch, ``(..., bands, stretches)``."""
        return values.unflatten(-1, (self.num_bands, self.num_stretches))


def _steps(sample: int, step: int) -> int:
    """Number of the first frame that is centred on this sample or behind it."""
    return math.ceil(sample / step)
