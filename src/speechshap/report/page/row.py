"""A row of the page's table: what it says about an utterance before anybody opens it."""

from typing import Any

import numpy as np

from speechshap.report.page.plotly_values import numbers
from speechshap.report.wording import grade, outputs_text
from speechshap.results.explanation import Explanation
from speechshap.results.segments import Resolution

SPARK_COLUMNS, SPARK_LEVELS = 40, 9
_DIGITS = 6


def table_row(explanation: Explanation) -> dict[str, Any]:
    """What the table shows of an explanation; None for what is unknown.

    Errors and gaps are those of the first target, which ``target`` names and ``spark`` draws; ``others`` has a list
    ``[name, error, grade, gap, gap_error]`` for each other one.
    """
    (_, *own), *others = (_judged(explanation, target) for target in range(len(explanation.targets)))
    return {
        "utterance": explanation.utterance,
        "label": explanation.label,
        "prediction": explanation.prediction,
        "outputs": outputs_text(explanation) if explanation.prediction is None else None,
        "probability": None if explanation.probability is None else _below_1(explanation.probability),
        "target": str(explanation.targets[0]),
        **dict(zip(("error", "grade", "gap", "gap_error"), own, strict=True)),
        "others": others,
        "unit": explanation.unit,
        "signed": explanation.is_signed,
        "spark": spark(explanation.resolution()),
        "seconds": numbers(np.array([explanation.duration]), _DIGITS)[0],
    }


def spark(shown: Resolution, target: int = 0) -> list[int] | None:
    """Attribution to a target over time in a few small integers, relative to its greatest; None where it is not finite.

    What is not significant counts as 0. Where errors are unknown, everything counts.

    Example:
        >>> from speechshap.results.estimate import Estimate
        >>> values = np.array([[3.0, 0.1, -2.0, -1.0]])
        >>> drawn = spark(Resolution("frames", np.arange(5.0), Estimate(values, np.full_like(values, 0.2))))
        >>> drawn[::10]
        [9, 0, -6, -3]
    """
    own = shown.estimate.of(target)
    (values,), is_significant = own.values, own.significant
    if not np.isfinite(values).all():
        return None
    kept = values if is_significant is None else np.where(is_significant[0], values, 0.0)
    bounds = np.linspace(shown.edges[0], shown.edges[-1], SPARK_COLUMNS + 1)
    sums = np.diff(np.interp(bounds, shown.edges, np.append(0.0, np.cumsum(kept, dtype=np.float64))))
    greatest = np.abs(sums).max()
    if greatest == 0:
        return [0] * SPARK_COLUMNS
    sums = np.where(np.abs(sums) < 1e-6 * greatest, 0.0, sums / greatest)  # differences of sums are rounded
    # What is small and significant is seen, too.
    levels = np.sign(sums) * np.maximum(np.round(SPARK_LEVELS * np.abs(sums)), 1)
    return [int(level) for level in levels]


def _judged(explanation: Explanation, target: int) -> list[Any]:
    """A target's name, relative error, grade, completeness gap and the gap's standard error."""
    error, gap = explanation.relative_error[target], explanation.completeness_gap
    gap_error = np.nan if gap.standard_error is None else gap.standard_error[target]
    error_shown, *gaps = numbers(np.array([error, gap.values[target], gap_error]), _DIGITS)
    return [str(explanation.targets[target]), error_shown, grade(float(error)), *gaps]


def _below_1(probability: float) -> float | None:
    """A rounded probability, which is 1 only where it was."""
    (rounded,) = numbers(np.array([probability]), _DIGITS)
    return 0.999999 if rounded == 1.0 and probability < 1.0 else rounded
