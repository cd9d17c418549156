"""Numbers with intervals that know that the utterances of one speaker are alike."""

from typing import NamedTuple

import numpy as np

N_RESAMPLES = 2000
"""Draws of the speakers."""


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN where there is no utterance, or for the interval one speaker.

    Attributes:
        value: The number.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def draw_speakers(num_speakers: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw whole speakers with replacement, since the utterances of one are no independent observations.

    Args:
        num_speakers: How many there are, and how many are drawn each time.
        n_resamples: How often.
        seed: Of the draws.

    Returns:
        Places of the speakers, ``(resamples, speakers)``.

    Example:
        >>> draw_speakers(3, n_resamples=2).shape
        (2, 3)
    """
    return np.random.default_rng(seed).integers(num_speakers, size=(n_resamples, num_speakers))


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval (Efron & Tibshirani 1993, section 13.3) of what was computed of each resample.

    Args:
        resampled: ``(resamples,)``; those that are NaN are left out.

    Example:
        >>> percentile_interval(np.arange(101.0))
        (2.5, 97.5)
    """
    known = resampled[~np.isnan(resampled)]
    if not known.size:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def number(estimate: Estimate) -> str:
    """An estimate with its interval; empty where there is none.

    Example:
        >>> number(Estimate(0.9234, 0.88, 0.951)), number(Estimate(12.3, float("nan"), float("nan")))
        ('0.92 (0.88 to 0.95)', '12.3')
        >>> number(Estimate(3e-16, 0, 1e-15))
        '3e-16 (0 to 1e-15)'
    """
    if np.isnan(estimate.value):
        return ""
    size = abs(estimate.value)
    form = ".3g" if size >= 10 else ".2f" if size >= 0.01 or size == 0 else ".2g"
    value = f"{estimate.value:{form}}"
    if np.isnan(estimate.low):
        return value
    low, high = f"{estimate.low:{form}}", f"{estimate.high:{form}}"
    return value if low == high == value else f"{value} ({low} to {high})"
