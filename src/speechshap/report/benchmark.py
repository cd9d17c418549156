"""What a benchmark found, summed up: means of all scores with intervals, ranks, and how far the metrics agree."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch

from speechshap.evaluation import Estimate, mean_with_interval, rank_correlation
from speechshap.evaluation.metrics import METRICS
from speechshap.results.parts import Row

COST = {"seconds": "lower", "evaluations": "lower"}
"""Columns of cost, as they are written beside the metrics."""

COST_SUMMARIES = {
    "seconds": "time of an explanation",
    "evaluations": "waveforms that go through the model for an explanation",
}

TRAINING_AGREEMENT = "training_agreement"
"""Agreement between checkpoints, which is computed from the attributions of all of them."""

_MAIN = ("", "signed 180 ms", "180 ms", "head", "signed")
"""Variants that stand for their metric where there is room for one; of masking operators, the last one does."""


class Column(NamedTuple):
    """A variant of a metric, such as the area under the curve of absolute attributions read over 100 ms."""

    metric: str
    variant: str

    @property
    def summary(self) -> str:
        """What a value says, in a line."""
        if self.metric in METRICS:
            return METRICS[self.metric].summary
        of_models = "rank correlation of the frames between checkpoints; agreement does not make an explanation right"
        return COST_SUMMARIES.get(self.metric, of_models)

    @property
    def better(self) -> str | None:
        """Whether ``higher`` or ``lower`` is better; None where neither is."""
        if self.metric in METRICS:
            return METRICS[self.metric].better
        return COST.get(self.metric, "higher" if self.metric == TRAINING_AGREEMENT else None)

    @property
    def needs_truth(self) -> bool:
        """Whether it is for utterances whose evidence is known."""
        return self.metric in METRICS and METRICS[self.metric].needs_truth

    def __str__(self) -> str:
        """As in the heads of tables."""
        return f"{self.metric} ({self.variant})" if self.variant else self.metric


class Entry(NamedTuple):
    """Mean of the scores of a method.

    Attributes:
        method: With its settings.
        column: What was measured.
        label: Of the utterances; empty for those of all labels.
        mean: With its interval over speakers.
        num: Scores that went into it.
        rank: Of the method among all, 1 for the best, equal ones sharing the mean of theirs; None for single labels,
            and where neither direction is better.
    """

    method: str
    column: Column
    label: str
    mean: Estimate
    num: int
    rank: float | None = None


class BenchmarkSummary:
    """The scores of a benchmark, summed up.

    Args:
        rows: Of :class:`speechshap.results.scores.ScoresFolder`.

    Attributes:
        methods: In the order of their first row.
        columns: Variants of metrics, in the order of the metrics.
        entries: Means of all methods and columns, over all labels and for each.
        about_model: Means of what is said of the model alone, by variant.
        unreliant: Utterances whose known evidence the model does not rely on; the metrics of known evidence leave them
            out.
        materials: What was judged, in words.
        checkpoints: Names of the models.
        num_utterances: Utterances that any method was judged on.
        num_speakers: Their speakers, as far as they are known.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.materials = list(dict.fromkeys(row["material"] for row in rows if row["material"]))
        self.checkpoints = list(dict.fromkeys(row["checkpoint"] for row in rows if row["checkpoint"]))
        self.num_utterances = len({row["utterance"] for row in rows if row["method"]})
        self.num_speakers = len({row["speaker"] for row in rows if row["method"] and row["speaker"]})
        unreliant = _unreliant(rows)
        self.unreliant = sorted({utterance for _, utterance in unreliant})
        rows = [row for row in rows if row["metric"] != "attribution"] + _training_agreement(rows)
        scores: dict[tuple[str, Column, str], list[Row]] = defaultdict(list)
        about_model: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if not row["method"]:
                about_model[row["variant"]].append(row)
                continue
            column = Column(row["metric"], row["variant"])
            if column.needs_truth and (row["model"], row["utterance"]) in unreliant:
                continue
            for label in ("", row["label"] or "no label"):
                scores[row["method"], column, label].append(row)
        self.methods = list(dict.fromkeys(method for method, _, _ in scores))
        order = [*METRICS, TRAINING_AGREEMENT, *COST]
        known = (column for (_, column, _), own in scores.items() if any(row["value"] is not None for row in own))
        columns = dict.fromkeys(known)  # variants as they are written
        self.columns = sorted(columns, key=lambda column: order.index(column.metric))
        self.about_model = {variant: _mean(own)[0] for variant, own in about_model.items()}
        self._by_key = {key: Entry(*key, *_mean(own)) for key, own in scores.items() if key[1] in columns}
        for column in self.columns:
            self._rank(column)

    @property
    def entries(self) -> list[Entry]:
        """All means."""
        return list(self._by_key.values())

    @property
    def labels(self) -> list[str]:
        """Labels of the utterances."""
        return sorted({label for _, _, label in self._by_key if label})

    def entry(self, method: str, column: Column, label: str = "") -> Entry | None:
        """The mean of a method; None where there is none."""
        return self._by_key.get((method, column, label))

    def main_columns(self) -> list[Column]:
        """One variant of each metric that has a value."""
        main: dict[str, Column] = {}
        for column in self.columns:
            if any(np.isfinite(self._by_key[key].mean.value) for key in self._by_key if key[1] == column):
                current = main.get(column.metric)
                if current is None or current.variant not in _MAIN:
                    main[column.metric] = column
        return list(main.values())

    def ranked_columns(self) -> list[Column]:
        """The main columns by which methods are ranked."""
        return [column for column in self.main_columns() if column.better and column.metric not in COST]

    def best_first(self) -> list[str]:
        """Methods by their rank in the first of these columns: the truth, where it is known."""

        def rank(method: str) -> float:
            entry = self.entry(method, first) if (first := next(iter(self.ranked_columns()), None)) else None
            return np.inf if entry is None or entry.rank is None else entry.rank

        return sorted(self.methods, key=rank)

    def metric_agreement(self) -> dict[tuple[Column, Column], float]:
        """Spearman's correlation of the methods' means between any two of the main columns, better being higher."""
        columns = self.ranked_columns()
        found = {}
        for one, other in combinations(columns, 2):
            pairs = [(self._better_value(method, one), self._better_value(method, other)) for method in self.methods]
            known = torch.tensor([pair for pair in pairs if np.isfinite(pair).all()])
            if len(known) > 2:
                valid = torch.ones(1, len(known), dtype=torch.bool)
                found[one, other] = float(rank_correlation(known[None, :, 0], known[None, :, 1], valid))
        return found

    def _better_value(self, method: str, column: Column) -> float:
        entry = self.entry(method, column)
        value = np.nan if entry is None else entry.mean.value
        return -value if column.better == "lower" else value

    def _rank(self, column: Column) -> None:
        if column.better is None:
            return
        values = {method: self._better_value(method, column) for method in self.methods}
        known = {method: value for method, value in values.items() if np.isfinite(value)}
        for method, value in known.items():
            above = sum(other > value for other in known.values())
            equal = sum(other == value for other in known.values())
            key = method, column, ""
            self._by_key[key] = self._by_key[key]._replace(rank=above + (equal + 1) / 2)

    def csv(self) -> str:
        """One line for each mean: method, metric, variant, label, value, low, high, count, better, rank."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["method", "metric", "variant", "label", "value", "low", "high", "count", "better", "rank"])
        for entry in sorted(self.entries, key=lambda each: (self.methods.index(each.method), each.label)):
            numbers = ["" if np.isnan(value) else f"{value:.6g}" for value in entry.mean]
            rank = "" if entry.rank is None else f"{entry.rank:g}"
            writer.writerow(
                [entry.method, *entry.column, entry.label, *numbers, entry.num, entry.column.better or "", rank]
            )
        return text.getvalue()


def _mean(rows: Sequence[Row]) -> tuple[Estimate, int]:
    values = np.array([np.nan if row["value"] is None else row["value"] for row in rows], dtype=float)
    speakers = [row["speaker"] or row["utterance"] for row in rows]  # where speakers are unknown, none are alike
    return mean_with_interval(values, speakers), int(np.isfinite(values).sum())


def _unreliant(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Models with the utterances whose output falls no further without the known evidence than without the rest."""
    falls: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if not row["method"] and row["value"] is not None:
            falls[row["model"], row["utterance"]][row["variant"]] = row["value"]
    return {key for key, own in falls.items() if own.get("evidence", np.inf) <= max(0.0, own.get("rest", 0.0))}


def _training_agreement(rows: Sequence[Row]) -> list[Row]:
    """Rows of the agreement between checkpoints: of each utterance and method, the mean over all pairs of models."""
    groups: dict[tuple[str, str, str], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row["metric"] == "attribution" and row["frames"]:
            groups[row["utterance"], row["method"], f"{row['target']} - {row['against']}"][row["model"]] = row
    found = []
    for by_model in groups.values():
        frames = [torch.tensor(row["frames"])[None] for row in by_model.values()]
        pairs = [pair for pair in combinations(frames, 2) if pair[0].shape == pair[1].shape]
        if not pairs:
            continue
        correlations = [float(rank_correlation(*pair, torch.ones_like(pair[0]).bool())) for pair in pairs]
        shared: Mapping[str, object] = next(iter(by_model.values()))
        found.append({**shared, "metric": TRAINING_AGREEMENT, "variant": "", "value": float(np.mean(correlations))})
    return found
