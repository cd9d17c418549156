"""From frames to one vector an utterance."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechshap.errors import UserError, require_at_least, require_choice

PoolingName = Literal["mean", "mean_std", "attentive"]

CONVOLUTION_UNITS = 256
"""Channels of a pointwise convolution, as in Vox-Profile."""

ATTENTION_UNITS = 128
"""Units of the bottleneck of attention."""

_LEAST_VARIANCE = 1e-12
"""Keeps the gradient of a deviation finite where nothing varies."""


def frame_mask(num_frames: int, frame_lengths: Tensor) -> Tensor:
    """Which frames belong to the utterances, ``(batch, frames)``.

    Example:
        >>> frame_mask(3, torch.tensor([2, 3]))
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    return torch.arange(num_frames, device=frame_lengths.device) < frame_lengths[:, None]


def masked_mean(frames: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean over the frames that belong to the utterance.

    Args:
        frames: ``(batch, frames, features)``.
        frame_lengths: ``(batch,)`` frames of each utterance.

    Returns:
        ``(batch, features)``.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    mask = frame_mask(frames.shape[1], frame_lengths)
    # Filling and not multiplying, so that padding that is not finite stays out as well.
    return frames.masked_fill(~mask[..., None], 0).sum(1) / frame_lengths[:, None].to(frames.dtype)


def masked_mean_std(frames: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean and standard deviation (of the population) over the frames that belong to the utterance.

    Args:
        frames: ``(batch, frames, features)``.
        frame_lengths: ``(batch,)`` frames of each utterance.

    Returns:
        ``(batch, 2 * features)``, all means first.

    Example:
        >>> masked_mean_std(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
        tensor([[2., 1.]])
    """
    mean, mask = masked_mean(frames, frame_lengths), frame_mask(frames.shape[1], frame_lengths)
    differences = (at_least_single(frames) - mean[:, None]).masked_fill(~mask[..., None], 0)
    return join_mean_std(mean, differences.square().sum(1) / frame_lengths[:, None])


def attentive_mean_std(frames: Tensor, frame_lengths: Tensor, scores: Tensor) -> Tensor:
    """Mean and standard deviation over the frames of the utterance, weighted by the softmax of scores.

    Attentive statistics (Okabe et al. 2018, equations 5 and 6), with the squared differences from the mean instead of
    the difference of squares, which rounding could make negative.

    Args:
        frames: ``(batch, frames, features)``; what follows an utterance has to be finite.
        frame_lengths: ``(batch,)`` frames of each utterance.
        scores: Of each frame for each query, ``(batch, frames, queries)``.

    Returns:
        ``(batch, queries * 2 * features)``: means and deviations of the first query, then those of the next.

    Example:
        >>> frames, scores = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[[0.0], [0.0], [0.0]]])
        >>> attentive_mean_std(frames, torch.tensor([2]), scores)
        tensor([[2., 1.]])
    """
    mask = frame_mask(frames.shape[1], frame_lengths)
    weights = at_least_single(scores).masked_fill(~mask[..., None], -torch.inf).softmax(1).to(frames.dtype)
    mean = torch.einsum("bfq,bfd->bqd", weights, frames)
    differences = at_least_single(frames)[:, None] - mean[:, :, None]  # (batch, queries, frames, features)
    variance = (weights.transpose(1, 2)[..., None] * differences.square()).sum(2)
    return join_mean_std(mean, variance).flatten(1)


def join_mean_std(mean: Tensor, variance: Tensor) -> Tensor:
    """Means and standard deviations, ``(..., 2 * features)``, from means and variances ``(..., features)``."""
    return torch.cat([mean, variance.clamp_min(_LEAST_VARIANCE).sqrt().to(mean.dtype)], -1)


def at_least_single(values: Tensor) -> Tensor:
    """Values in single precision where theirs is lower: squares exceed the range of half precision early."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class PooledNorm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a training batch of one utterance, which has no variance.

    A subclass, so that Lightning's ``sync_batchnorm`` replaces it: then the processes have more than one together, and
    each has to take part.

    Example:
        >>> PooledNorm(2)(torch.tensor([[1.0, -2.0]])).detach().round(decimals=3)
        tensor([[ 1., -2.]])
    """

    def forward(self, pooled: Tensor) -> Tensor:
        """Normalise ``(batch, size)``."""
        if self.training and len(pooled) == 1:
            return functional.batch_norm(
                pooled, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(pooled)


class Pooling(nn.Module):
    """Pointwise convolutions, if any, and a statistic over time of what they give.

    A pooling that learns from frames ends in a batch norm, as that of ECAPA-TDNN does (Desplanques et al. 2020,
    section 3): pooled frames differ far less between utterances than frames do, and a head would learn slowly from
    them. In eval mode it is an affine map.

    Args:
        kind: ``mean``; ``mean_std``, the mean beside the standard deviation; or ``attentive``, both of them weighted by
            scores ``v tanh(W h + b)`` of each frame (Okabe et al. 2018), with a ``v`` of its own for each query
            (multi-query attentive statistics with one head, Leygue et al. 2025, arXiv 2506.15754).
        num_features: Of a frame.
        num_queries: Queries of ``attentive``.
        convolutions: Number of pointwise convolutions of 256 channels, each with a ReLU and dropout (those of
            Vox-Profile, Feng et al. 2025).
        dropout: Share of the channels that are dropped in training.

    Attributes:
        hears_frames: Whether it has something to learn from frames. If not, it can be taken of each hidden state once.
        size: Features that it gives.

    Raises:
        UserError: An option is out of range or does not go with another.

    Example:
        >>> pooling = Pooling("attentive", num_features=32, num_queries=2)
        >>> pooling(torch.zeros(3, 10, 32), torch.tensor([10, 4, 1])).shape, pooling.size
        (torch.Size([3, 128]), 128)
    """

    def __init__(
        self, kind: PoolingName, num_features: int, num_queries: int = 1, convolutions: int = 0, dropout: float = 0.1
    ) -> None:
        super().__init__()
        require_choice("pooling", kind, get_args(PoolingName))
        require_at_least(1, num_queries=num_queries)
        require_at_least(0, convolutions=convolutions)
        if num_queries > 1 and kind != "attentive":
            raise UserError(f"`num_queries` is {num_queries}, but {kind} has no queries; take `pooling` attentive")
        self.kind = kind
        self.hears_frames = kind == "attentive" or convolutions > 0
        self.convolutions = nn.Sequential()
        size = num_features
        for _ in range(convolutions):
            # On one frame, a convolution of width 1 is a linear layer.
            self.convolutions.extend([nn.Linear(size, CONVOLUTION_UNITS), nn.ReLU(), nn.Dropout(dropout)])
            size = CONVOLUTION_UNITS
        self.attention = None
        if kind == "attentive":
            self.attention = nn.Sequential(
                nn.Linear(size, ATTENTION_UNITS), nn.Tanh(), nn.Linear(ATTENTION_UNITS, num_queries, bias=False)
            )
        self.size = size * {"mean": 1, "mean_std": 2, "attentive": 2 * num_queries}[kind]
        self.norm = PooledNorm(self.size) if self.hears_frames else None

    def extra_repr(self) -> str:
        """The kind, which its parts do not tell."""
        return self.kind

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Tensor:
        """Pool frames ``(batch, frames, features)``, ``(batch,)`` of each utterance: ``(batch, size)``."""
        frames = self.convolutions(frames)
        if self.attention is not None:
            pooled = attentive_mean_std(frames, frame_lengths, self.attention(frames))
        else:
            pooled = (masked_mean if self.kind == "mean" else masked_mean_std)(frames, frame_lengths)
        return pooled if self.norm is None else self.norm(pooled)
