"""Which of many values differ from 0, with the number looked at accounted for."""

import numpy as np

FALSE_DISCOVERIES = 0.05
"""Expected share of the values called significant that are 0 in truth."""


def significant(values: np.ndarray, standard_error: np.ndarray, degrees: float) -> np.ndarray:
    """Which values differ from 0, with the false discovery rate controlled (Benjamini & Hochberg 1995).

    Each value is tested against 0 by a two-sided t-test. Of 1,000 values that are 0, 50 would have a 95 % interval
    without 0; here the threshold falls with the number of values, so that of those called significant no more than
    5 % are expected to be 0. This is proved for independent tests. Those of frames are none: neighbours vary together,
    and a sum may be fixed; simulations of both keep to it.

    Args:
        values: Means of replicates, ``(rows, ...)``; each row is a family of its own.
        standard_error: Of each.
        degrees: Degrees of freedom of the errors; infinite where their number is unknown.

    Returns:
        Bool, of the same shape; False for what is 0 or not finite. A value without error is significant unless it is 0.

    Example:
        >>> significant(np.array([[9.0, 2.5, 0.1, 0.2]]), np.ones((1, 4)), np.inf)
        array([[ True,  True, False, False]])
        >>> significant(np.array([[9.0, 2.5, *[0.1] * 98]]), np.ones((1, 100)), np.inf).sum()
        np.int64(1)
    """
    from scipy.special import stdtr  # slow to load, and needed by few commands
    from scipy.stats import false_discovery_control

    result = np.zeros(values.shape, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(np.asarray(values, np.float64)) / standard_error  # 0 / 0 is NaN: a value that is exactly 0
    chance = 2 * stdtr(degrees, -size)
    for row, own in enumerate(chance):
        known = ~np.isnan(own)
        if known.any():
            result[row][known] = false_discovery_control(own[known]) <= FALSE_DISCOVERIES
    return result
