"""Chooses the utterances to draw."""

import heapq
from collections.abc import Iterable
from itertools import islice
from typing import Literal

from speechshap.results.parts import Row

Selection = Literal["first", "wrong", "unsure", "each_class"]

RANKED_BY = ("label", "prediction", "probability")
"""Columns that :func:`select` needs."""


def select(rows: Iterable[Row], selection: Selection, count: int) -> list[Row]:
    """Choose utterances; no more of them are kept meanwhile than are chosen.

    Args:
        rows: One for each utterance, with the columns :data:`RANKED_BY`.
        selection: The ``first``; those predicted ``wrong`` with the highest probability; the ``unsure`` ones, with the
            lowest probability; or for ``each_class`` (label, or prediction where there is none) the right and the wrong
            one with the highest probability. A regression has no probabilities, so that all are equally sure.
        count: Most utterances to choose.

    Example:
        >>> rows = [{"label": "sad", "prediction": "sad", "probability": 0.9},
        ...         {"label": "sad", "prediction": "happy", "probability": 0.6}]
        >>> select(rows, "wrong", 1) == select(rows, "unsure", 1) == rows[1:]
        True
    """
    if selection == "first":
        return list(islice(rows, count))
    if selection == "unsure":
        return heapq.nsmallest(count, rows, key=_probability)
    if selection == "wrong":
        return heapq.nlargest(count, (row for row in rows if outcome(row) == "wrong"), key=_probability)
    chosen: dict[tuple[str, bool], Row] = {}
    for row in rows:
        key = (row["label"] or row["prediction"] or "", outcome(row) == "wrong")
        if key not in chosen or _probability(row) > _probability(chosen[key]):
            chosen[key] = row
    return [chosen[key] for key in sorted(chosen)][:count]


def outcome(row: Row) -> Literal["right", "wrong", "unknown"]:
    """Whether the prediction agrees with the label, where there are both."""
    if row["label"] is None or row["prediction"] is None:
        return "unknown"
    return "right" if row["label"] == row["prediction"] else "wrong"


def _probability(row: Row) -> float:
    return row["probability"] or 0.0
