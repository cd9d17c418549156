"""Stretches of frames that people read: words, pauses, tenths of a second."""

from collections.abc import Sequence

import torch
from torch import Tensor

Segments = Sequence[tuple[int, int]]
"""First frame of each segment of an utterance, and the frame behind its last; they may overlap and leave gaps."""


def sum_segments(frames: Tensor, segments: Segments) -> Tensor:
    """Sum values of frames ``(..., frames)`` over segments, ``(..., segments)``.

    Example:
        >>> sum_segments(torch.tensor([[1.0, 2.0, 3.0]]), [(0, 2), (1, 3), (1, 1)])
        tensor([[3., 5., 0.]])
    """
    bounds = torch.tensor(segments, dtype=torch.int64, device=frames.device).view(-1, 2)
    rises = torch.nn.functional.pad(frames.cumsum(-1), (1, 0))  # an utterance of hours has thousands of segments
    return rises[..., bounds[:, 1]] - rises[..., bounds[:, 0]]
