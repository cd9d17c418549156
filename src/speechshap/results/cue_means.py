"""What lies where the evidence lies: means of cues over the frames that speak for a target, and over the rest."""

from collections.abc import Mapping

import numpy as np

from speechshap.results.explanation import CueMeans

TOP_SHARE = 0.2
"""Share of the frames that count as evidence where none is significant."""


def evidence_frames(values: np.ndarray, significant: np.ndarray | None) -> tuple[np.ndarray, str | None]:
    """Which frames speak for a target, and by which rule.

    ``significant``: frames whose significant attribution is above 0. Where it is unknown what is significant, or
    nothing is, ``top_fifth``: the fifth of the frames with the greatest attribution.

    Args:
        values: Frame attributions, ``(frames,)``.
        significant: The same, 0 where not significant; None where unknown, and where the sign says nothing.

    Returns:
        ``(frames,)`` bool, and the rule; no frame and None where all attributions are the same, or one is not finite.

    Example:
        >>> evidence_frames(np.array([2.0, 1.0, -1.0, 0.5]), np.array([2.0, 1.0, -1.0, 0.0]))
        (array([ True,  True, False, False]), 'significant')
    """
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return np.zeros(len(values), bool), None
    if significant is not None and (significant > 0).any():
        return significant > 0, "significant"
    is_top = np.zeros(len(values), bool)
    is_top[np.argsort(-values, kind="stable")[: max(1, round(TOP_SHARE * len(values)))]] = True
    return is_top, "top_fifth"


def cue_means(frames: np.ndarray, significant: np.ndarray | None, cues: Mapping[str, np.ndarray]) -> CueMeans:
    """Mean of each cue over the evidence and over the rest, for each target.

    All frames of a side count alike: weighted by the attribution, the evidence would be that of its few strongest
    frames, and the rest, where attributions are of both signs, would have no weights. Frames in which a cue is not
    defined are left out of its mean.

    Args:
        frames: Frame attributions, ``(targets, frames)``.
        significant: The same, 0 where not significant; None where unknown, and where the sign says nothing.
        cues: By name, ``(frames,)`` each (:func:`speechshap.data.cues.cues`).

    Example:
        >>> means = cue_means(np.array([[2.0, 1.0, -1.0]]), None, {"f0": np.array([3.0, np.nan, 1.0])})
        >>> means.evidence, means.rest, means.rules
        (array([[3.]], dtype=float32), array([[1.]], dtype=float32), ('top_fifth',))
    """
    values = np.stack(list(cues.values())).astype(np.float64)
    known = [None] * len(frames) if significant is None else significant
    chosen = [evidence_frames(*own) for own in zip(frames, known, strict=True)]
    sides = [[_means(values, mask), _means(values, ~mask & (rule is not None))] for mask, rule in chosen]
    evidence, rest = np.array(sides, np.float32).swapaxes(0, 1)
    return CueMeans(tuple(cues), evidence, rest, tuple(rule for _, rule in chosen))


def _means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means ``(cues,)`` of the finite values ``(cues, frames)`` within the mask; NaN where there is none."""
    known = np.isfinite(values) & mask
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(1) / known.sum(1)
