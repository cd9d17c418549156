"""Stretches of frames that people read: words, pauses, tenths of a second."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

LADDER_SECONDS = (0.04, 0.1, 0.2, 0.5)
"""Lengths of stretches that a picture chooses from, where single frames are not known well enough."""

Segments = Sequence[tuple[int, int]]
"""First frame of each segment of an utterance, and the frame behind its last; they may overlap and leave gaps."""


class NamedSegments(NamedTuple):
    """Segments of an utterance, with what they are called.

    Attributes:
        tiers: Tier of each (``words``); those of a tier follow each other.
        labels: What is said in each, empty for nothing.
        bounds: The segments.
        num_asked: How many of them, from the first, somebody asked for; the others are those that a picture chooses
            from.
    """

    tiers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    bounds: tuple[tuple[int, int], ...] = ()
    num_asked: int = 0

    def with_tier(
        self, name: str, labels: Sequence[str], bounds: Segments, *, is_asked: bool = True
    ) -> "NamedSegments":
        """These and those of another tier, whose name gets a number if there is such a one.

        Example:
            >>> NamedSegments().with_tier("words", ["yes"], [(0, 3)])
            NamedSegments(tiers=('words',), labels=('yes',), bounds=((0, 3),), num_asked=1)
        """
        names = [name, *(f"{name} ({number})" for number in range(2, len(self.tiers) + 3))]
        name = next(own for own in names if own not in self.tiers)
        return NamedSegments(
            (*self.tiers, *[name] * len(labels)),
            (*self.labels, *labels),
            (*self.bounds, *bounds),
            self.num_asked + is_asked * len(labels),
        )


def sum_segments(frames: Tensor, segments: Segments) -> Tensor:
    """Sum values of frames ``(..., frames)`` over segments, ``(..., segments)``.

    Example:
        >>> sum_segments(torch.tensor([[1.0, 2.0, 3.0]]), [(0, 2), (1, 3), (1, 1)])
        tensor([[3., 5., 0.]])
    """
    bounds = torch.tensor(segments, dtype=torch.int64, device=frames.device).view(-1, 2)
    rises = torch.nn.functional.pad(frames.cumsum(-1), (1, 0))  # an utterance of hours has thousands of segments
    return rises[..., bounds[:, 1]] - rises[..., bounds[:, 0]]


def width_name(seconds: float) -> str:
    """Name of the tier of stretches of this length.

    Example:
        >>> width_name(0.1)
        '100 ms'
    """
    return f"{1000 * seconds:g} ms"


def frames_between(edges: Sequence[float], start: float, end: float) -> tuple[int, int]:
    """The frames of a stretch: from the nearest bound of a frame to its start to the nearest to its end.

    One that is too short for that has the frame that its middle is in, so that a phone of 10 ms is not without any.

    Args:
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        start: Of the stretch in seconds.
        end: Its end.

    Example:
        >>> edges = [0.0, 0.02, 0.04, 0.06]
        >>> frames_between(edges, 0.012, 0.045), frames_between(edges, 0.021, 0.027), frames_between(edges, 0.07, 0.09)
        ((1, 2), (1, 2), (3, 3))
    """
    first, last = _nearest(edges, start), _nearest(edges, end)
    if first < last or start >= edges[-1]:
        return first, last
    inside = max(0, min(bisect_right(edges, (start + end) / 2) - 1, len(edges) - 2))
    return inside, inside + 1


def _nearest(edges: Sequence[float], time: float) -> int:
    """Number of the bound that is nearest to a time, the earlier one of two as near."""
    after = min(max(bisect_right(edges, time), 1), len(edges) - 1)
    return after if time > (edges[after - 1] + edges[after]) / 2 else after - 1


def equal_stretches(num_frames: int, frames: float) -> list[tuple[int, int]]:
    """Segments of equal length side by side, as far as whole frames allow; the last one may be shorter.

    Args:
        num_frames: Of the utterance.
        frames: Of a segment, 1 at least; need not be whole.

    Example:
        >>> equal_stretches(6, 2.5)
        [(0, 2), (2, 5), (5, 6)]
    """
    bounds = (round(number * frames) for number in range(int(num_frames / frames) + 1))
    return list(pairwise([*(bound for bound in bounds if bound < num_frames), num_frames]))
