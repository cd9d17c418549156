"""Several explanations of an utterance as strips over time that can be compared."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speechshap.report.wording import variant_names
from speechshap.results.explanation import Explanation

CAPTION = "methods, each as a share of its largest value; pale: not significant"


class Strip(NamedTuple):
    """Attributions of one explanation to a target, in units of the largest of them: of frames, or of longer stretches.

    Attributes:
        name: What tells the explanation from the others.
        label: That, and what the largest amount is, or why the strip should not be relied on.
        is_warning: Whether the label says the latter.
        edges: Bounds of the stretches in seconds, ``(stretches + 1,)``.
        shares: From -1 to 1, and from 0 where signs say nothing of the target, ``(stretches,)``; NaN where unknown.
        is_unsure: Whether it is not significant, ``(stretches,)``; False where that is unknown.
    """

    name: str
    label: str
    is_warning: bool
    edges: np.ndarray
    shares: np.ndarray
    is_unsure: np.ndarray


def strips(explanations: Sequence[Explanation], target: str) -> list[Strip]:
    """One strip for each explanation of an utterance.

    Units differ between methods, so that the size of the largest attribution is no evidence: each is brought to 1.

    Args:
        explanations: Of one utterance.
        target: What the attributions speak for; all is unknown of an explanation that lacks it.
    """
    names = variant_names(explanations)
    return [_strip(name, explanation, target) for name, explanation in zip(names, explanations, strict=True)]


def _strip(name: str, explanation: Explanation, target: str) -> Strip:
    targets = [str(each) for each in explanation.targets]
    if target not in targets:
        count = explanation.frames.values.shape[1]
        unknown = np.full(count, np.nan), np.zeros(count, dtype=bool)
        return Strip(name, f"{name}: does not explain {target}", False, explanation.frame_edges, *unknown)
    index = targets.index(target)
    shown = explanation.resolution(index)
    own = shown.estimate.of(index)
    (frames,), is_significant = own.values, own.significant
    finite = np.where(np.isfinite(frames), np.abs(frames), 0.0)
    largest = float(finite.max(initial=0.0))
    shares = np.where(np.isfinite(frames), frames, np.nan) / (largest or 1.0)
    is_unsure = np.zeros(len(frames), dtype=bool) if is_significant is None else ~is_significant[0]
    reservation = explanation.reservation(index)
    sign = "" if explanation.is_signed else ", without sign"
    each = "" if shown.is_frames else f" {shown.each}"
    scale = f"largest {float(f'{largest:.2g}'):g} {explanation.unit}{each}{sign}"  # no power of ten for hundreds
    return Strip(name, f"{name}: {reservation or scale}", reservation is not None, shown.edges, shares, is_unsure)
