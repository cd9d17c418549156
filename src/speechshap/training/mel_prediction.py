"""A second task that teaches a stem with random weights to hear: to predict the log-mel spectrogram of the sound.

Notation: B utterances, T samples, F frames of the stem, C channels of the stem, N mel bins, P mel frames of a frame.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models import Backbone
from speechshap.models.log_mel import HOP, log_mel
from speechshap.models.pooling import frame_mask, masked_mean_std

NUM_BINS = 80
"""Bins of the spectrogram."""

_LEAST_DEVIATION = 0.05
"""By which a bin is divided at least, 2 dB: one that hardly changes is not made to matter as much as others."""


class StemCall(NamedTuple):
    """What the stem has heard and given.

    Attributes:
        waveforms: ``(B, T)``.
        lengths: ``(B,)`` samples of each utterance; None: all of the time axis.
        features: ``(B, C, F)``.
    """

    waveforms: Tensor
    lengths: Tensor | None
    features: Tensor


class MelPrediction(nn.Module):
    """A linear map from each frame of a stem to the log-mel spectrogram of the sound that the frame stands for.

    Its loss is a second one beside that of the classes, as those of the workers of PASE are (Pascual et al. 2019,
    arXiv 1904.03416); it needs no labels. After training it is of no use.

    Args:
        backbone: With a convolutional stem.

    Raises:
        UserError: The backbone has none.

    Example:
        >>> from speechshap.models import build_backbone
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 1,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> prediction, waveforms = MelPrediction(backbone), torch.randn(1, 4000)
        >>> with prediction.listening(backbone) as calls:
        ...     states = backbone(waveforms, torch.tensor([4000]))
        >>> prediction(calls).shape
        torch.Size([])
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        _stem_of(backbone)
        size = backbone.model.config.conv_dim[-1]
        self.grid = backbone.grid
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, mel_frames_of(self.grid) * NUM_BINS)

    @contextmanager
    def listening(self, backbone: Backbone) -> Iterator[list[StemCall]]:
        """Note what the stem hears and gives within this block."""
        calls: list[StemCall] = []
        handle = _stem_of(backbone).register_forward_hook(
            lambda _, heard, features: calls.append(StemCall(heard[0], heard[1], features))
        )
        try:
            yield calls
        finally:
            handle.remove()

    def forward(self, calls: Sequence[StemCall]) -> Tensor:
        """Mean squared error of the prediction over frames and bins, in units of the variance of each bin: a scalar.

        It is 1 where each bin is predicted by its mean over the utterance.
        """
        squares, count = [], 0
        for waveforms, lengths, features in calls:
            with torch.no_grad():
                targets, inside = mel_targets(waveforms, lengths, self.grid, features.shape[2])
            predicted = self.linear(self.norm(features.transpose(1, 2)))
            squares.append((predicted.float() - targets)[inside].square().sum())
            count += int(inside.sum()) * targets.shape[2]
        return torch.stack(squares).sum() / count


def mel_frames_of(grid: FrameGrid) -> int:
    """Mel frames, 10 ms apart, that a frame of a stem stands for.

    Example:
        >>> mel_frames_of(FrameGrid(hop=320, receptive_field=400))
        2
    """
    return max(1, round(grid.hop / HOP))


def mel_targets(waveforms: Tensor, lengths: Tensor | None, grid: FrameGrid, num_frames: int) -> tuple[Tensor, Tensor]:
    """Log-mel spectrogram around the centre of each frame, each bin at mean 0 and variance 1 over its utterance.

    Args:
        waveforms: ``(B, T)``.
        lengths: ``(B,)`` samples of each utterance; None takes all of the time axis.
        grid: Where the frames lie.
        num_frames: Of the longest utterance, F.

    Returns:
        ``(B, F, P * N)``; and ``(B, F)``, whether a frame lies within its utterance.

    Example:
        >>> grid = FrameGrid(hop=320, receptive_field=400)
        >>> targets, inside = mel_targets(torch.randn(2, 1200), torch.tensor([1200, 800]), grid, 3)
        >>> targets.shape, inside.sum(1)
        (torch.Size([2, 3, 160]), tensor([3, 2]))
    """
    if lengths is None:
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
    levels = log_mel(waveforms, lengths, NUM_BINS).transpose(1, 2)  # (B, M, N)
    counts = lengths // HOP
    mean, deviation = masked_mean_std(levels, counts)[:, None].chunk(2, 2)  # (B, 1, N) each
    levels = (levels - mean) / deviation.clamp_min(_LEAST_DEVIATION)
    number = mel_frames_of(grid)
    frames = torch.arange(num_frames, device=levels.device)
    offsets = HOP * (torch.arange(number, device=levels.device) - (number - 1) / 2)
    nearest = ((grid.first_center + grid.hop * frames[:, None] + offsets) / HOP).round().long().flatten()  # (F * P,)
    nearest = torch.minimum(nearest.clamp_min(0), counts[:, None] - 1)  # (B, F * P)
    targets = levels.gather(1, nearest[..., None].expand(-1, -1, NUM_BINS)).unflatten(1, (num_frames, number))
    return targets.flatten(2), frame_mask(num_frames, grid.frame_lengths(lengths))


def _stem_of(backbone: Backbone) -> nn.Module:
    stem: nn.Module | None = getattr(backbone.model, "feature_extractor", None)
    if stem is None:
        raise UserError(
            f"`mel_weight` is for a convolutional stem, and {backbone.model.config.model_type} has none; leave it out"
        )
    return stem
