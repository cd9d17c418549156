"""Mean and standard error over independent replicates, in memory that does not grow with their number."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_BLOCK = 2**21  # numbers that are summed at a time: copies of all that hours of sound have would not fit into memory

ReplicateKey = tuple[int, int]
"""Batch index of the utterance, and number of the replicate."""

ReferenceKey = tuple[int, int, int]
"""The same, and number of a reference within the replicate."""


class PathPoint(NamedTuple):
    """A point on a path: the batch index of its utterance, its replicate, and its number in that."""

    utterance: int
    replicate: int
    number: int

    @property
    def key(self) -> ReplicateKey:
        """The replicate that it belongs to."""
        return self.utterance, self.replicate


class ReplicatePart(NamedTuple):
    """Points of a chunk that belong to one replicate of one utterance.

    Attributes:
        utterance: Index in the batch.
        num_points: How many points of the chunk.
        complete: Whether the last of them is the last of the replicate; if not, the next chunk goes on with it.
    """

    utterance: int
    num_points: int
    complete: bool


def parts_of(points: Sequence[PathPoint], points_per_replicate: int) -> list[ReplicatePart]:
    """Segments of the points of a chunk.

    Example:
        >>> points = [PathPoint(0, 4, 1), PathPoint(0, 5, 0), PathPoint(0, 5, 1), PathPoint(1, 0, 0)]
        >>> parts_of(points, points_per_replicate=2)
        [ReplicatePart(utterance=0, num_points=1, complete=True),
         ReplicatePart(utterance=0, num_points=2, complete=True),
         ReplicatePart(utterance=1, num_points=1, complete=False)]
    """
    counts = Counter(point.key for point in points)
    last_numbers = {point.key: point.number for point in points}
    return [
        ReplicatePart(key[0], count, last_numbers[key] == points_per_replicate - 1) for key, count in counts.items()
    ]


class RunningEstimate(Protocol):
    """Values of all utterances and their errors, to which the rows of one chunk after the other are added."""

    def add(self, values: Tensor, weights: Tensor, parts: Sequence[ReplicatePart]) -> None:
        """Add rows ``(R, ...)`` with their weights; rows may be smaller than the shape of a value."""

    @property
    def mean(self) -> Tensor:
        """The estimates, ``(B, ...)``."""

    @property
    def num_replicates(self) -> list[int]:
        """Independent replicates of each utterance."""

    def standard_error(self) -> Tensor | None:
        """Errors of the estimates, ``(B, ...)``; None where they are unknown."""


class ReplicateMoments:
    """Running mean and sum of squared deviations of each utterance's replicates.

    A replicate is the sum over its rows; the rows of the replicates follow each other, and a replicate may begin in
    one chunk and end in the next. Updates are those of Chan et al. 1979 ("Updating formulae and a pairwise algorithm
    for computing sample variances", equation 2.1), which loses no digits to cancellation.

    Args:
        shape: Of one utterance's value, the largest of the batch.
        num_utterances: Utterances of the batch.
        dtype: Of the sums.
        device: Where they are.
    """

    def __init__(self, num_utterances: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.count = [0] * num_utterances
        self.mean: Tensor = torch.zeros(num_utterances, *shape, dtype=dtype, device=device)
        self.squares = torch.zeros_like(self.mean)
        self._unfinished: Tensor | None = None  # the replicate that the last chunk did not complete

    def add(self, values: Tensor, weights: Tensor, parts: Sequence[ReplicatePart]) -> None:
        """Add rows ``(R, ...)`` times their weights ``(R,)``.

        Rows may be smaller than ``shape`` (a narrower chunk): the rest counts as 0.
        """
        unfinished = None if parts[-1].complete else torch.zeros_like(self.mean[0])
        finished = Counter(part.utterance for part in parts if part.complete)
        width = values.shape[-1]
        step = max(1, _BLOCK * width // max(1, values.numel()))
        for start in range(0, width, step):
            block = values[..., start : start + step]
            where = (*(slice(size) for size in block.shape[1:-1]), slice(start, start + block.shape[-1]))
            sums = _sum_parts(block, weights, parts, self.mean.dtype)
            if self._unfinished is not None:
                sums[0] += self._unfinished[where]
            if unfinished is not None:
                unfinished[where] = sums[-1]
            first = 0
            for utterance, count in finished.items():
                self._merge(utterance, where, sums[first : first + count])
                first += count
        self._unfinished = unfinished
        for utterance, count in finished.items():
            self.count[utterance] += count

    def _merge(self, utterance: int, where: tuple[slice, ...], replicates: Tensor) -> None:
        """Merge replicates ``(count, ...)``, which are changed, into this part of the moments of an utterance."""
        known, new = self.count[utterance], len(replicates)
        mean, squares = self.mean[utterance][where], self.squares[utterance][where]
        new_mean = replicates.mean(0)
        squares += replicates.sub_(new_mean).square_().sum(0)
        shift = new_mean.sub_(mean)
        squares.addcmul_(shift, shift, value=known * new / (known + new))
        mean.add_(shift, alpha=new / (known + new))

    @property
    def num_replicates(self) -> list[int]:
        """Replicates of each utterance."""
        return self.count

    def standard_error(self) -> Tensor | None:
        """Standard error of the means, ``(B, ...)``; None where an utterance has fewer than two replicates."""
        if min(self.count) < 2:
            return None
        count = torch.tensor(self.count, device=self.mean.device)
        per_utterance = (-1, *[1] * (self.mean.ndim - 1))
        return (self.squares / (count * (count - 1)).view(per_utterance)).sqrt_()


def sum_dtype(device: torch.device) -> torch.dtype:
    """Double precision, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have none


def _sum_parts(values: Tensor, weights: Tensor, parts: Sequence[ReplicatePart], dtype: torch.dtype) -> Tensor:
    """Weighted sum of the rows of each part, ``(parts, ...)``."""
    index = [number for number, part in enumerate(parts) for _ in range(part.num_points)]
    weights = weights.to(values.device, sum_dtype(values.device))
    weighted = values * weights.view(-1, *[1] * (values.ndim - 1))
    sums = values.new_zeros(len(parts), *values.shape[1:], dtype=dtype)
    return sums.index_add_(0, torch.tensor(index, device=values.device), weighted.to(dtype))
