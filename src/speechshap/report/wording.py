"""How an explanation is named in figures and pages."""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from speechshap.attribution.targets import Target
from speechshap.results.estimate import NOISY
from speechshap.results.explanation import Explanation, Provenance

SHARP = 0.2
"""Relative error of the frames below which a picture is called sharp."""

_MOST_OUTPUTS = 3


def shortened(name: str, letters: int) -> str:
    """A name of no more than these letters: an ellipsis stands for what is left out in the middle.

    Letters of Chinese, Japanese and Korean, and emoji, count twice, since they are twice as wide.

    Example:
        >>> shortened("pleasantly surprised", 11)
        'pleas…rised'
    """
    width = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)
    if width <= letters:
        return name
    kept = max(letters * len(name) // width, 1)
    half = (kept - 1) // 2
    return f"{name[: kept - 1 - half]}…{name[len(name) - half :]}"


def grade(relative_error: float) -> Literal["sharp", "fair", "noise"] | None:
    """How sharp a picture with this relative error of its frames is, in a word; None where the error is unknown.

    Example:
        >>> grade(0.1), grade(0.3), grade(0.8), grade(math.nan)
        ('sharp', 'fair', 'noise', None)
    """
    if math.isnan(relative_error):
        return None
    return "sharp" if relative_error < SHARP else "fair" if relative_error < NOISY else "noise"


def percent(probability: float) -> str:
    """A probability as people read it, which is not 100 % unless it is 1.

    Example:
        >>> percent(0.9991), percent(0.25), percent(0.001)
        ('>99 %', '25 %', '<1 %')
    """
    rounded = round(100 * probability)
    if rounded == 100 and probability < 1:
        return ">99 %"
    return "<1 %" if rounded == 0 and probability > 0 else f"{rounded} %"


def outputs_text(explanation: Explanation) -> str:
    """The first explained outputs, which a regression has in place of a prediction (``arousal 0.71``)."""
    outputs = zip(explanation.targets, explanation.outputs, strict=True)
    shown = list(outputs)[:_MOST_OUTPUTS]
    return ", ".join(f"{target} {round(float(output), 2) + 0.0:.2f}" for target, output in shown)  # no "-0.00"


def predicted_text(explanation: Explanation, letters: int = 1000) -> str:
    """What the model predicts: a class with its probability (``predicted happy (>99 %)``), or the outputs.

    A class name has no more than so many letters (:func:`shortened`).
    """
    if explanation.prediction is None or explanation.probability is None:
        return outputs_text(explanation)
    return f"predicted {shortened(explanation.prediction, letters)} ({percent(explanation.probability)})"


def explained_of_classes(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What rows explain of each class, by its name: the class, or a contrast, whose other class may vary.

    Example:
        >>> rows = [{"target": "sad", "against": "calm"}, {"target": "calm", "against": "sad"},
        ...         {"target": "calm", "against": "happy"}]
        >>> explained_of_classes(rows)
        {'sad': 'sad - calm', 'calm': 'calm - another class'}
    """
    against: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        against[row["target"]].add(row["against"])
    return {
        label: str(Target(label, *others)) if len(others) == 1 else f"{Target(label)} - another class"
        for label, others in against.items()
    }


def variant_names(explanations: Sequence[Explanation]) -> list[str]:
    """Name explanations of one utterance by the settings in which they differ (``n_samples 200``).

    A setting that another method lacks does not count as a difference. Explanations that differ in neither settings,
    method, model nor precision (but in their references, say) are named by the time of computation.
    """
    settings = [_settings(explanation.provenance) for explanation in explanations]
    names = [differences(own, settings) or own["method"] for own in settings]
    return [
        f"{name}, {explanation.provenance.explained_at:%Y-%m-%d %H:%M:%S}" if names.count(name) > 1 else name
        for name, explanation in zip(names, explanations, strict=True)
    ]


def differences(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """The settings whose value differs in some of the others, in words.

    Args:
        own: Settings, and ``method``.
        others: Those of all, these ones among them. A setting that another method lacks does not count.

    Example:
        >>> lime = {"method": "lime", "seed": 0, "kernel_width": 1}
        >>> differences(lime, [lime, {"method": "energy", "seed": 1}])
        'lime, seed 0'
    """
    return ", ".join(
        str(own[name]) if name == "method" else f"{name} {in_words(own[name])}" for name in differing(own, others)
    )


def differing(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings whose value differs in some of the others; arguments are those of :func:`differences`.

    Example:
        >>> differing({"method": "lime", "seed": 0}, [{"method": "lime", "seed": 0}, {"method": "lime", "seed": 1}])
        ['seed']
    """
    return [
        name
        for name, value in own.items()
        if any(other[name] != value if name in other else other["method"] == own["method"] for other in others)
    ]


def _settings(provenance: Provenance) -> dict[str, Any]:
    """Everything that may tell explanations apart."""
    return {
        "method": provenance.method,
        **provenance.settings,
        "model": provenance.model,
        "precision": provenance.precision,
    }


def in_words(value: Any) -> str:
    """A value of a setting in words; the fields of a nested one are named.

    Example:
        >>> in_words(None), in_words({"bands": 32, "floor": None})
        ('none', 'bands 32')
    """
    if isinstance(value, Mapping):
        return " ".join(f"{name} {in_words(part)}" for name, part in value.items() if part is not None)
    return "none" if value is None else str(value)
