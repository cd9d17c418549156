"""What all explanations with the same settings have in common, gathered row by row, of any number."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from speechshap.report.gathering import Gatherer
from speechshap.report.histogram import Histogram, LayerShares, equal_edges
from speechshap.report.precision_recall import PrecisionRecall
from speechshap.report.utterance_table import UtteranceTable
from speechshap.results.parts import Row
from speechshap.results.rows import target_of

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

COLUMNS = (
    "label", "prediction", "probability", "target", "against", "relative_error", "completeness_gap",
    "completeness_gap_standard_error", "frame_attribution", "layer_names", "layer_mass", "embedding",
    "class_names", "class_probabilities",
)  # fmt: skip
"""Columns that a :class:`SettingsSummary` needs, besides those that rows are grouped by."""

MOST_POINTS = 10_000
"""Points of the projector, which computes in the browser; of more utterances, some are drawn."""

_EDGES = {
    "probability": equal_edges(0, 1, 100),
    "relative_error": equal_edges(0, 2, 100),
    "completeness_gap_in_standard_errors": equal_edges(-6, 6, 120),
}
"""Of histograms whose values have a usual size; equal bins are finer there than those for values of any size."""


class SettingsSummary:
    """What is shown of all explanations with the same settings, taken in one after the other.

    Args:
        utterances: Rows of each, with the columns :data:`COLUMNS`.

    Attributes:
        num_utterances: How many there are.
        sizes: Mean absolute values of columns where they are known and finite.
        points: Rows of the utterances that the projector shows, which have embeddings.
        table: The utterances, each with its first target, which is the predicted class where that was explained.
        digest: Different for every set of explanations, whatever their order.
    """

    def __init__(self, utterances: Iterable[Sequence[Row]]) -> None:
        self.num_utterances = self.digest = 0
        self.table = UtteranceTable()
        self._curves = PrecisionRecall()
        self._histograms: dict[str, Histogram] = {}
        self._layers = Gatherer("layer_mass", lambda row: tuple(row["layer_names"]), _shares, LayerShares)
        self._sums: dict[str, tuple[float, int]] = {"relative_error": (0.0, 0), "completeness_gap": (0.0, 0)}
        points: list[tuple[int, int, Row]] = []
        for number, rows in enumerate(utterances):
            self._take(rows)
            # The first row of an utterance explains the predicted class. Those of the largest hashes are a random draw.
            shown = next((row for row in rows if row["embedding"] is not None and len(row["embedding"])), None)
            if shown is not None:
                entry = (_hash(shown["utterance"]), -number, shown)
                if len(points) < MOST_POINTS:
                    heapq.heappush(points, entry)
                else:
                    heapq.heappushpop(points, entry)
        self.points = [row for _, _, row in sorted(points, key=lambda point: -point[1])]
        self.sizes = {name: total / count if count else float("nan") for name, (total, count) in self._sums.items()}

    def _take(self, rows: Sequence[Row]) -> None:
        self.num_utterances += 1
        self._layers.add(rows)
        self._take_utterance(rows[0])
        for row in rows:
            self.digest ^= _hash(row["utterance"], row["fingerprint"], str(target_of(row)))
            values = np.asarray(row["frame_attribution"])
            self._histogram(f"frame_attribution/{target_of(row)}").take(values[np.isfinite(values)])
            for name, (total, count) in self._sums.items():
                if row[name] is not None and np.isfinite(row[name]):
                    self._sums[name] = (total + abs(row[name]), count + 1)

    def _take_utterance(self, row: Row) -> None:
        """Take in what an utterance has one number of, by its first target."""
        self.table.take(row)
        self._curves.take(row)
        gap, error = row["completeness_gap"], row["completeness_gap_standard_error"]
        numbers = {
            **{name: row[name] for name in ("probability", "relative_error", "completeness_gap")},
            "completeness_gap_in_standard_errors": gap / error if gap is not None and error else None,
        }
        for name, value in numbers.items():
            if value is not None and np.isfinite(value):
                self._histogram(name).take(np.array([value]))

    def _histogram(self, name: str) -> Histogram:
        if name not in self._histograms:
            self._histograms[name] = Histogram(_EDGES[name]) if name in _EDGES else Histogram()
        return self._histograms[name]

    def summaries(self) -> list["Summary"]:
        """Histograms over utterances, over the frames of each target and of the share of each layer; PR curves."""
        found = dict(self._histograms)
        if (layers := self._layers.result()) is not None:
            found |= {f"layer_share/{name}": layers.statistic.of[place] for place, name in enumerate(layers.positions)}
        made = (histogram.summary(f"explain/{name}") for name, histogram in found.items())
        return [*(each for each in made if each is not None), *self._curves.summaries()]

    def numbers(self, seconds: float | None) -> dict[str, float]:
        """What settings are compared by, as far as it is known.

        Args:
            seconds: Mean time of an utterance; None where unknown.
        """
        numbers = {
            "mean_relative_error": self.sizes["relative_error"],
            "mean_absolute_completeness_gap": self.sizes["completeness_gap"],
            "mean_seconds": float("nan") if seconds is None else seconds,
            "num_utterances": float(self.num_utterances),
        }
        return {name: value for name, value in numbers.items() if np.isfinite(value)}


def _shares(row: Mapping[str, Any]) -> np.ndarray | None:
    mass = np.asarray(row["layer_mass"], dtype=np.float64)
    return mass / mass.sum() if mass.sum() > 0 else None


def _hash(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=16).digest())
