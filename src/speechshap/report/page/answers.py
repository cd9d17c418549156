"""What the model says to the evidence, as the page reads it."""

from typing import Any

import numpy as np

from speechshap.results.explanation import Explanation


def answers_of(explanation: Explanation, target: int) -> dict[str, Any] | None:
    """What was asked of the model for a target, in words, and its answers; None where it was not asked.

    Answers are rounded to four digits; they are None where there is no evidence, or an answer is not finite.
    """
    evidence = explanation.evidence
    if evidence is None:
        return None
    own = explanation.targets[target]
    what = f"probability of {own.label}"
    if explanation.prediction is None:
        what = str(own)
    elif own.against is not None:
        what = f"probability of {own.label} if it is {own.label} or {own.against}"
    return {
        "what": what,
        "whole": _number(evidence.whole[target]),
        "alone": _number(evidence.alone[target]),
        "without": _number(evidence.without[target]),
        "random_alone": list(map(_number, evidence.random_alone[target])),
        "random_without": list(map(_number, evidence.random_without[target])),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
