"""Which of many utterances are worth a look."""

from collections.abc import Sequence
from typing import Literal

from speechshap.results.folder import Row

Selection = Literal["first", "wrong", "unsure", "each_class"]

RANKED_BY = ("label", "prediction", "probability")
"""Columns that a selection looks at."""


def select(rows: Sequence[Row], selection: Selection, count: int) -> list[Row]:
    """Choose utterances.

    Args:
        rows: One an utterance, with :data:`RANKED_BY`.
        selection: The ``first``; those predicted ``wrong`` with the highest probability; the ``unsure`` ones, of the
            lowest probability; or of ``each_class`` (label, or prediction where there is none) the surest right one
            and the surest wrong one.
        count: How many at most.

    Example:
        >>> rows = [{"label": "sad", "prediction": "sad", "probability": 0.9},
        ...         {"label": "sad", "prediction": "happy", "probability": 0.6}]
        >>> select(rows, "wrong", 1) == select(rows, "unsure", 1) == rows[1:]
        True
    """
    if selection == "first":
        return list(rows[:count])
    if selection == "unsure":
        return sorted(rows, key=lambda row: row["probability"])[:count]
    surest = sorted(rows, key=lambda row: -row["probability"])
    if selection == "wrong":
        return [row for row in surest if outcome(row) == "wrong"][:count]
    chosen = {(row["label"] or row["prediction"], outcome(row) == "wrong"): row for row in reversed(surest)}
    return [chosen[key] for key in sorted(chosen)][:count]


def outcome(row: Row) -> Literal["right", "wrong", "unknown"]:
    """Whether a prediction is that of the label, where there is one."""
    if row["label"] is None:
        return "unknown"
    return "right" if row["label"] == row["prediction"] else "wrong"
