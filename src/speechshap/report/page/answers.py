"""What the model says to the evidence, as the page reads it."""

from typing import Any

from speechshap.report.page.plotly_values import number, numbers
from speechshap.results.explanation import Explanation

_DIGITS = 6


def answers_of(explanation: Explanation, target: int) -> dict[str, Any] | None:
    """What was asked of the model for a target, in words, and its answers; None where it was not asked.

    Answers have six significant digits; they are None where there is no evidence, and where not finite.
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
        "whole": number(evidence.whole[target], _DIGITS),
        "alone": number(evidence.alone[target], _DIGITS),
        "without": number(evidence.without[target], _DIGITS),
        "random_alone": numbers(evidence.random_alone[target], _DIGITS),
        "random_without": numbers(evidence.random_without[target], _DIGITS),
    }
