"""Attribution carried from samples to the short-time Fourier domain.

The virtual inspection layer of Vielhaben et al. 2023 ("Explainable AI for time series via virtual inspection layers",
section 3): where ``x = ISTFT(X)`` is put before the model, the chain rule gives the gradient for every coefficient.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from speechshap.frames import FrameGrid
from speechshap.mel import hertz, mel
from speechshap.spaces import Bands

_BLOCK_FRAMES = 2048  # transformed at a time: the coefficients of hours of sound would not fit into memory


@dataclass(frozen=True, slots=True)
class SpectralGrid:
    """Short-time Fourier transform that attributions are carried to; frame ``k`` is centred on sample ``k * hop``.

    Attributes:
        window: Samples of the Hann window, even (400: 25 ms at 16 kHz).
        hop: Samples from one frame to the next, at most half a window (160: 10 ms).
        num_mel_bands: Gather the frequency bins into so many mel bands; None keeps the bins.
        sample_rate: Hz; only the mel bands depend on it.

    Raises:
        ValueError: Window and hop leave samples uncovered, or there are fewer than two bands or more than bins.

    Example:
        >>> grid = SpectralGrid(num_mel_bands=64)
        >>> grid.num_bands, grid.num_frames(16000), grid.frequencies[[0, -1]]
        (64, 101, tensor([   0., 8000.]))
    """

    window: int = 400
    hop: int = 160
    num_mel_bands: int | None = None
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        if self.window < 4 or self.window % 2 or not 1 <= self.hop <= self.window // 2:
            raise ValueError(
                f"a window of {self.window} and a hop of {self.hop} samples; expected an even window of 4 at least, "
                "and a hop from 1 to half of it, so that every sample is covered"
            )
        if self.num_mel_bands is not None and not 2 <= self.num_mel_bands <= self.num_bins:
            raise ValueError(f"num_mel_bands is {self.num_mel_bands}; expected 2 to {self.num_bins} for this window")
        if self.num_mel_bands is not None and not bool(self.bin_shares.any(1).all()):
            raise ValueError(
                f"{self.num_mel_bands} mel bands over {self.num_bins} frequency bins leave bands without a bin; take "
                "fewer bands or a longer window"
            )

    @property
    def num_bins(self) -> int:
        """Frequency bins of the transform."""
        return self.window // 2 + 1

    @property
    def num_bands(self) -> int:
        """Rows of a time-frequency attribution: mel bands, or bins."""
        return self.num_mel_bands or self.num_bins

    @property
    def frequencies(self) -> Tensor:
        """Centre of each band in Hz, ``(num_bands,)``."""
        highest = self.sample_rate / 2
        if self.num_mel_bands is None:
            return torch.linspace(0, highest, self.num_bins)
        return torch.from_numpy(hertz(np.linspace(0, mel(highest), self.num_mel_bands))).float()

    @property
    def bands(self) -> Bands:
        """Its bands and frames."""
        return Bands(self.frequencies, FrameGrid(self.hop, receptive_field=1, padding_after=1))

    @property
    def bin_shares(self) -> Tensor:
        """Share of each frequency bin in each band, ``(num_bands, num_bins)``; they sum to 1 in each bin."""
        return torch.eye(self.num_bins) if self.num_mel_bands is None else _mel_weights(self)

    def num_frames(self, num_samples: int) -> int:
        """Frames of an utterance."""
        return 1 + num_samples // self.hop

    def attribution(self, differences: Tensor, gradients: Tensor, lengths: Tensor) -> Tensor:
        r"""Attribution of each band and frame.

        With :math:`X` the transform of the difference :math:`x - b` and :math:`G` the gradient for the coefficients
        that the inverse transform makes the difference from: :math:`\mathrm{Re}(\bar X G)`, which sums to
        :math:`\sum_t (x - b)[t] \, g[t]`.

        Args:
            differences: ``(R, T)``, 0 in the padding.
            gradients: ``(R, K, T)``.
            lengths: ``(R,)`` samples of each row.

        Returns:
            ``(R, K, bands, frames)``; 0 in the frames beyond an utterance.
        """
        rows, targets, num_samples = gradients.shape
        frames = self.num_frames(num_samples)
        with torch.autocast(differences.device.type, enabled=False):
            dtype = torch.promote_types(gradients.dtype, torch.float32)
            bands = gradients.new_empty(rows, targets, self.num_bands, frames, dtype=dtype)
            for first in range(0, frames, _BLOCK_FRAMES):
                last = min(first + _BLOCK_FRAMES, frames)
                bands[..., first:last] = self._block(differences, gradients, lengths, first, last)
        return bands

    def _block(self, differences: Tensor, gradients: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        """Bands of the frames from the first to one before the last: the sum is over their own samples alone."""
        start, stop = first * self.hop - self.window // 2, (last - 1) * self.hop + self.window // 2  # samples
        differences, gradients = (_zero_padded(signal, start, stop) for signal in (differences, gradients))
        window = torch.hann_window(self.window, device=differences.device, dtype=differences.dtype)
        # The inverse transform divides by the summed squares of the windows over each sample, those of frames around
        # the block too; in an utterance alone there are no frames behind its own.
        reach = self.window // self.hop
        around = torch.arange(first - reach, last + reach, device=differences.device)
        valid = (around >= 0) & (around <= lengths[:, None] // self.hop)  # (R, frames)
        overlap = _overlap_add(valid.to(window.dtype)[:, None] * window.square()[:, None], self.hop)
        overlap = overlap[:, reach * self.hop :][:, : stop - start]
        positions = torch.arange(start, stop, device=differences.device)
        inside = (positions >= 0) & (positions < lengths[:, None])
        divided = torch.where(inside, 1 / overlap.clamp_min(torch.finfo(overlap.dtype).tiny), 0)[:, None] * gradients
        coefficients = self._transform(differences, window)[:, None]  # (R, 1, bins, frames)
        cotangents = self._transform(divided.flatten(0, 1), window).unflatten(0, divided.shape[:2])
        # A one-sided transform holds each bin but the first and the last for two.
        share = differences.new_full((self.num_bins, 1), 2 / self.window)
        share[0] = share[-1] = 1 / self.window
        bins = (coefficients.conj() * cotangents).real * share * valid[:, None, None, reach : reach + last - first]
        if self.num_mel_bands is None:
            return bins
        return self.bin_shares.to(bins) @ bins

    def _transform(self, signals: Tensor, window: Tensor) -> Tensor:
        """``(R, T)`` to ``(R, bins, frames)``, the first frame beginning where the signal does."""
        return torch.stft(signals, self.window, self.hop, window=window, center=False, return_complex=True)


@lru_cache(maxsize=8)
def _mel_weights(grid: SpectralGrid) -> Tensor:
    """Triangles ``(bands, bins)`` that sum to 1 in each bin, so that none is lost."""
    highest = grid.sample_rate / 2
    position = torch.from_numpy(mel(np.linspace(0, highest, grid.num_bins))).float() / float(mel(highest))
    distance = position * (grid.num_bands - 1) - torch.arange(grid.num_bands)[:, None]
    return (1 - distance.abs()).clamp_min(0)


def _zero_padded(signals: Tensor, start: int, stop: int) -> Tensor:
    """Samples ``(..., stop - start)`` of signals ``(..., T)``, in single precision at least; 0 outside them."""
    num_samples = signals.shape[-1]
    inside = signals[..., max(0, start) : stop].to(torch.promote_types(signals.dtype, torch.float32))
    return torch.nn.functional.pad(inside, (max(0, -start), max(0, stop - num_samples)))


def _overlap_add(windows: Tensor, hop: int) -> Tensor:
    """``(R, window, frames)`` to ``(R, window + hop * (frames - 1))``."""
    rows, size, frames = windows.shape
    width = size + hop * (frames - 1)
    return torch.nn.functional.fold(windows, (1, width), (1, size), stride=(1, hop)).view(rows, width)
