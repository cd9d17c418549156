"""Chooses the utterances to draw."""

from collections.abc import Sequence
from typing import Literal

from speechshap.results.parts import Row

Selection = Literal["first", "wrong", "unsure", "each_class"]

RANKED_BY = ("label", "prediction", "probability")
"""Columns that :func:`select` needs."""


def select(rows: Sequence[Row], selection: Selection, count: int) -> list[Row]:
    """Choose utterances.

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
        return list(rows[:count])
    if selection == "unsure":
        return sorted(rows, key=_probability)[:count]
    surest = sorted(rows, key=_probability, reverse=True)
    if selection == "wrong":
        return [row for row in surest if outcome(row) == "wrong"][:count]
    chosen = {(row["label"] or row["prediction"] or "", outcome(row) == "wrong"): row for row in reversed(surest)}
    return [chosen[key] for key in sorted(chosen)][:count]


def outcome(row: Row) -> Literal["right", "wrong", "unknown"]:
    """Whether the prediction agrees with the label, where there are both."""
    if row["label"] is None or row["prediction"] is None:
        return "unknown"
    return "right" if row["label"] == row["prediction"] else "wrong"


def _probability(row: Row) -> float:
    return row["probability"] or 0.0
