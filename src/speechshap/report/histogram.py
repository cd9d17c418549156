"""Histograms of any number of values, as TensorBoard shows them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_SMALL_TO_LARGE = 1e-12 * 1.1 ** np.arange(774)
EDGES_OF_ANY_SIZE = np.concatenate([-_SMALL_TO_LARGE[::-1], [0], _SMALL_TO_LARGE])
"""Edges that fit values of any size, those of ``SummaryWriter``."""


def equal_edges(low: float, high: float, number: int) -> np.ndarray:
    """Edges of this number of equal bins, and beyond them some that fit values of any size.

    Example:
        >>> edges = equal_edges(0, 1, 4)
        >>> edges[(edges >= 0) & (edges <= 1)]
        array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    edges = EDGES_OF_ANY_SIZE
    return np.union1d(edges[(edges < low) | (edges > high)], np.linspace(low, high, number + 1))


class Histogram:
    """Counts of values of any number, as ``SummaryWriter`` has them of an array.

    Args:
        edges: Of the bins, ascending.
    """

    def __init__(self, edges: np.ndarray = EDGES_OF_ANY_SIZE) -> None:
        self._edges = edges
        self._counts = np.zeros(len(edges) - 1, np.int64)
        self._least, self._most, self._sum, self._squares, self._number = np.inf, -np.inf, 0.0, 0.0, 0
        self._waiting: list[np.ndarray] = []  # some thousand values are sorted in about the time of one

    def take(self, values: np.ndarray) -> None:
        """Take in finite values."""
        self._waiting.append(values)
        if len(self._waiting) == 100:
            self._take_waiting()

    def _take_waiting(self) -> None:
        values = np.concatenate([np.zeros(0), *self._waiting])
        self._waiting.clear()
        if values.size:
            self._counts += np.histogram(values, self._edges)[0]
            self._least, self._most = min(self._least, values.min()), max(self._most, values.max())
            self._sum += float(values.sum())
            self._squares += float(values @ values)
            self._number += values.size

    def merge(self, other: "Histogram") -> None:
        """Take in all that another one with the same edges has taken in."""
        other._take_waiting()
        self._counts += other._counts
        self._least, self._most = min(self._least, other._least), max(self._most, other._most)
        self._sum += other._sum
        self._squares += other._squares
        self._number += other._number

    def summary(self, name: str) -> "Summary | None":
        """As TensorBoard shows it; None where there are no values."""
        from torch.utils.tensorboard.summary import histogram_raw

        self._take_waiting()
        filled = np.flatnonzero(self._counts)
        if not filled.size:
            return None
        # TensorBoard has the right limits alone, so that an empty bin to the left says where the first one begins.
        first, last = int(filled[0]), int(filled[-1])
        counts, limits = [0, *self._counts[first : last + 1].tolist()], self._edges[first : last + 2].tolist()
        return histogram_raw(name, self._least, self._most, self._number, self._sum, self._squares, limits, counts)


class LayerShares:
    """Histograms of the shares of layers."""

    def __init__(self) -> None:
        self.of: defaultdict[int, Histogram] = defaultdict(Histogram)

    def add(self, row: Mapping[str, Any], values: np.ndarray) -> None:
        """Take in the shares ``(layers,)`` of a row."""
        for layer, share in enumerate(values):
            self.of[layer].take(np.array([share]))

    def merge(self, other: "LayerShares") -> None:
        """Take in all that another one has taken in."""
        for layer, histogram in other.of.items():
            self.of[layer].merge(histogram)
