"""The log-mel spectrogram that Whisper hears (Radford et al. 2022, section 2.2), differentiable.

Notation: B utterances, T samples, M mel frames, N mel bins.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.models.precision import full_precision

WINDOW = 400
"""Samples of the Hann window."""

HOP = 160
"""Samples from one mel frame to the next; frame ``m`` is centred on sample ``m * HOP``."""

SHORTEST = WINDOW // 2 + 1
"""Samples that the reflection at the start of a clip needs."""


class LogMel(nn.Module):
    """:func:`log_mel` as a module, so that hooks find what Whisper hears.

    Args:
        num_bins: Mel bins.
    """

    grid = FrameGrid(HOP, WINDOW + 1, WINDOW // 2, WINDOW // 2 + 1 - HOP)
    """Where its frames lie: ``time // HOP`` of them, the first one centred on sample 0."""

    def __init__(self, num_bins: int) -> None:
        super().__init__()
        self.num_bins = num_bins

    @property
    def frequencies(self) -> Tensor:
        """Centres of the bins in Hz, ``(num_bins,)``."""
        from transformers.audio_utils import hertz_to_mel, mel_to_hertz

        highest = hertz_to_mel(SAMPLE_RATE / 2, "slaney")
        return torch.from_numpy(mel_to_hertz(np.linspace(0, highest, self.num_bins + 2)[1:-1], "slaney")).float()

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        """``(B, T)`` to ``(B, N, T // 160)``, with the lengths of :func:`log_mel`."""
        return log_mel(waveforms, lengths, self.num_bins)


def log_mel(waveforms: Tensor, lengths: Tensor | None, num_bins: int) -> Tensor:
    """Log-mel spectrogram of each utterance alone, with the numbers of transformers' ``WhisperFeatureExtractor``.

    The clip is reflected at both of its ends, each mel power is at least 1e-10, and no bin lies more than 80 dB below
    the loudest one of its utterance. These floors are part of the function that is differentiated: a bin
    whose power is below 1e-10 has the gradient zero, and one that lies below the other floor has it at the loudest bin
    and not at its own, so that what is quieter than that moves nothing.

    Args:
        waveforms: ``(B, T)``.
        lengths: ``(B,)`` samples of each utterance, :data:`SHORTEST` at least; None takes all of the time axis.
        num_bins: Mel bins N; 80 or, for large v3, 128.

    Returns:
        ``(B, N, T // 160)`` in single precision at least; 0 from frame ``lengths // 160`` on.

    Example:
        >>> log_mel(torch.zeros(2, 800), torch.tensor([800, 480]), 80).mean(1)
        tensor([[-1.5000, -1.5000, -1.5000, -1.5000, -1.5000],
                [-1.5000, -1.5000, -1.5000,  0.0000,  0.0000]])
    """
    frames = waveforms.shape[1] // HOP
    with torch.autocast(waveforms.device.type, enabled=False), full_precision():
        waveforms = waveforms.to(torch.promote_types(waveforms.dtype, torch.float32))
        clips = _reflected(waveforms, lengths, WINDOW // 2, HOP * (frames - 1) + WINDOW)
        window = torch.hann_window(WINDOW, dtype=clips.dtype, device=clips.device)
        spectrum = torch.stft(clips, WINDOW, HOP, window=window, center=False, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)  # (B, 201, M)
        levels = (_mel_filters(num_bins, power.dtype, power.device) @ power).clamp_min(1e-10).log10()
        if lengths is None:
            return _floored(levels, levels)
        outside = torch.arange(frames, device=levels.device) >= (lengths // HOP)[:, None, None]  # (B, 1, M)
        return _floored(levels, levels.masked_fill(outside, -torch.inf)).masked_fill(outside, 0)


def _floored(levels: Tensor, counted: Tensor) -> Tensor:
    """Features of logarithmic powers ``(B, N, M)``, with a floor below the loudest one of those that are counted."""
    return (torch.maximum(levels, counted.amax((1, 2), keepdim=True) - 8) + 4) / 4


def _reflected(waveforms: Tensor, lengths: Tensor | None, margin: int, width: int) -> Tensor:
    """Clips ``(B, width)`` that begin ``margin`` samples before the utterances, reflected at both of their ends."""
    if lengths is None:
        return functional.pad(waveforms, (margin, margin), mode="reflect")[:, :width]
    positions = (torch.arange(width, device=waveforms.device) - margin).abs()
    last = lengths[:, None] - 1
    mirrored = torch.where(positions > last, 2 * last - positions, positions)
    # Far beyond an utterance there is nothing to reflect, and what is there is masked.
    return waveforms.gather(1, mirrored.clamp_min(0))


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept may be saved for a backward pass
def _mel_filters(num_bins: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Slaney's triangular filters, ``(N, 201)``."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=num_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T).to(device, dtype)
