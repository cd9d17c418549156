"""The utterances of a run as a table, the most precise explanations first."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from speechshap.data.wording import counted
from speechshap.markdown import plain, table
from speechshap.report.wording import grade
from speechshap.results.rows import target_of

MOST_LINES = 200
"""Lines that a table has at most, of which TensorBoard makes one page."""


class Line(NamedTuple):
    """An utterance; None stands for what is unknown.

    Attributes:
        utterance: Its id.
        label: Its true class.
        prediction: The predicted class.
        probability: Of the prediction.
        explained: The target.
        relative_error: Of the frames.
        badge: What that means (:func:`speechshap.report.wording.grade`).
        completeness_gap: The gap.
        gap_error: Its standard error.
    """

    utterance: str
    label: str | None
    prediction: str | None
    probability: float | None
    explained: str
    relative_error: float | None
    badge: str
    completeness_gap: float | None
    gap_error: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Line":
        """Of a row with the columns of this table."""
        error = row["relative_error"]
        badge = grade(math.nan if error is None else error) or "unknown"
        return cls(
            row["utterance"], row["label"], row["prediction"], row["probability"], str(target_of(row)), error, badge,
            row["completeness_gap"], row["completeness_gap_standard_error"],
        )  # fmt: skip

    @property
    def order(self) -> tuple[bool, float, str]:
        """The smallest error first, the unknown last."""
        error = math.nan if self.relative_error is None else self.relative_error
        return math.isnan(error), 0.0 if math.isnan(error) else error, self.utterance

    @property
    def in_markdown(self) -> list[str]:
        """Cells as people read them."""
        gap = "" if self.completeness_gap is None else f"{round(self.completeness_gap, 3) + 0.0:.3f}"  # no -0.000
        if gap and self.gap_error is not None:
            gap += f" ± {self.gap_error:.3f}"
        names = (self.utterance, self.label, self.prediction, self.explained)
        utterance, label, prediction, explained = (plain(name or "unknown") for name in names)
        probability, error = (
            "" if value is None else f"{value:.2f}" for value in (self.probability, self.relative_error)
        )
        return [utterance, prediction, probability, label, explained, error, self.badge, gap]


class UtteranceTable:
    """The utterances with the smallest errors, of any number that are taken in one after the other.

    Attributes:
        num_utterances: How many were taken in.
    """

    def __init__(self) -> None:
        self.num_utterances = 0
        self._lines: list[Line] = []

    def take(self, row: Mapping[str, Any]) -> None:
        """Take in an utterance."""
        self.num_utterances += 1
        self._lines.append(Line.of(row))
        if len(self._lines) >= 2 * MOST_LINES:
            self._lines = self.lines

    @property
    def lines(self) -> list[Line]:
        """Those that are shown, in their order."""
        return sorted(self._lines, key=lambda line: line.order)[:MOST_LINES]

    @property
    def num_left_out(self) -> int:
        """Utterances that are not shown."""
        return self.num_utterances - len(self.lines)

    def markdown(self) -> str:
        """The table as text, with a line that tells what it lacks."""
        head = [
            "utterance",
            "prediction",
            "probability",
            "label",
            "explained",
            "relative error",
            "badge",
            "completeness gap",
        ]
        text = table(head, [line.in_markdown for line in self.lines])
        if not self.num_left_out:
            return text
        others = counted(self.num_left_out, "utterance")
        return f"{text}\n\n{others} with larger or unknown relative errors are not shown here; Parquet has all of them."
