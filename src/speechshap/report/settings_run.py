"""What TensorBoard shows of all explanations with the same settings; hyperparameters and projector as a run of its own.

TensorBoard accepts one set of hyperparameters for each run, and training has written its own.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechshap.files import remove_partial, whole_folder
from speechshap.report.events import append_record, new_event_file, record
from speechshap.report.gathering import Gatherer
from speechshap.report.selection import outcome
from speechshap.results.parts import Row
from speechshap.results.rows import target_of

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

MOST_POINTS = 10_000
"""Points of the projector, which computes in the browser; of more utterances, some are drawn."""

_SMALL_TO_LARGE = 1e-12 * 1.1 ** np.arange(774)
_HISTOGRAM_EDGES = np.concatenate([-_SMALL_TO_LARGE[::-1], [0], _SMALL_TO_LARGE])
"""Edges that fit values of any size, those of ``SummaryWriter``."""


class Histogram:
    """Counts of values of any number, as ``SummaryWriter`` has them of an array."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(_HISTOGRAM_EDGES) - 1, np.int64)
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
            self._counts += np.histogram(values, _HISTOGRAM_EDGES)[0]
            self._least, self._most = min(self._least, values.min()), max(self._most, values.max())
            self._sum += float(values.sum())
            self._squares += float(values @ values)
            self._number += values.size

    def merge(self, other: "Histogram") -> None:
        """Take in all that another one has taken in."""
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
        counts, limits = [0, *self._counts[first : last + 1].tolist()], _HISTOGRAM_EDGES[first : last + 2].tolist()
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


class SettingsSummary:
    """What is shown of all explanations with the same settings, taken in one after the other.

    Args:
        utterances: Rows of each, with the columns :data:`speechshap.report.tensorboard.SUMMARY_COLUMNS`.

    Attributes:
        num_utterances: How many there are.
        sizes: Mean absolute values of columns where they are known and finite.
        points: Rows of the utterances that the projector shows, which have embeddings.
        digest: Different for every set of explanations, whatever their order.
    """

    def __init__(self, utterances: Iterable[Sequence[Row]]) -> None:
        self.num_utterances = self.digest = 0
        self._frames: defaultdict[str, Histogram] = defaultdict(Histogram)
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
        for row in rows:
            self.digest ^= _hash(row["utterance"], row["fingerprint"], str(target_of(row)))
            values = np.asarray(row["frame_attribution"])
            self._frames[f"frame_attribution/{target_of(row)}"].take(values[np.isfinite(values)])
            for name, (total, count) in self._sums.items():
                if row[name] is not None and np.isfinite(row[name]):
                    self._sums[name] = (total + abs(row[name]), count + 1)

    def histograms(self) -> list["Summary"]:
        """Of the frame attributions to each target, and of the shares of each layer."""
        found = dict(self._frames)
        if (layers := self._layers.result()) is not None:
            found |= {f"layer_share/{name}": layers.statistic.of[place] for place, name in enumerate(layers.positions)}
        made = (histogram.summary(f"explain/{name}") for name, histogram in found.items())
        return [each for each in made if each is not None]


def _shares(row: Mapping[str, Any]) -> np.ndarray | None:
    mass = np.asarray(row["layer_mass"], dtype=np.float64)
    return mass / mass.sum() if mass.sum() > 0 else None


def _hash(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=16).digest())


def write_settings_run(
    folder: Path, found: SettingsSummary, settings: Mapping[str, Any], seconds: float | None, is_alone: bool
) -> None:
    """Write the folder of a run with hyperparameters and points of the projector, in place of a former one.

    Args:
        folder: Appears under its name only when it is whole.
        found: What is shown.
        settings: The settings.
        seconds: Mean time of an utterance; None where unknown.
        is_alone: Whether no other process writes such a folder now: unfinished ones are then of dead processes, and
            are removed.

    Raises:
        OSError: The disk is full, say.
    """
    if is_alone:
        remove_partial(folder.parent, ".*")
    with whole_folder(folder) as partial:
        _write_points(partial, found.points)
        # Last, as TensorBoard takes a folder with an event file for a run.
        _write_hyperparameters(partial, found, settings, seconds)


def _write_hyperparameters(
    folder: Path, found: SettingsSummary, settings: Mapping[str, Any], seconds: float | None
) -> None:
    from torch.utils.tensorboard.summary import hparams, scalar

    metrics = {
        "explain/mean_relative_error": found.sizes["relative_error"],
        "explain/mean_absolute_completeness_gap": found.sizes["completeness_gap"],
        "explain/utterances": float(found.num_utterances),
    }
    if seconds is not None:
        metrics["explain/mean_seconds"] = seconds
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }
    parts = [*hparams(plain, metrics), *(scalar(name, value) for name, value in metrics.items())]
    append_record(new_event_file(folder), record(value for part in parts for value in part.value))


def _write_points(folder: Path, points: Sequence[Row]) -> None:
    """Write points of the projector, one for each utterance, coloured there by a column of their metadata."""
    from tensorboard.plugins import projector

    if len(points) < 2:
        return
    lines: list[Sequence[str]] = [("label", "prediction", "outcome", "probability", "relative_error", "utterance")]
    for row in points:
        numbers = (row[column] for column in ("probability", "relative_error"))
        known = ("" if number is None else f"{number:.2f}" for number in numbers)
        lines.append((row["label"] or "unknown", row["prediction"] or "none", outcome(row), *known, row["utterance"]))
    # Tabs and line ends separate the cells of the file.
    cells = [[" ".join(cell.split()) for cell in line] for line in lines]
    (folder / "metadata.tsv").write_text("".join("\t".join(line) + "\n" for line in cells), encoding="utf-8")
    vectors = np.array([row["embedding"] for row in points], dtype=np.float32)
    np.savetxt(folder / "tensors.tsv", vectors, fmt="%.9g", delimiter="\t")
    files = {"tensor_path": "tensors.tsv", "metadata_path": "metadata.tsv"}
    embedding = projector.EmbeddingInfo(tensor_name="explain", **files)
    projector.visualize_embeddings(str(folder), projector.ProjectorConfig(embeddings=[embedding]))
