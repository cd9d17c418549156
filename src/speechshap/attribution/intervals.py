"""How far a confidence interval reaches."""

import math
from functools import cache


@cache
def interval_reach(degrees: float = math.inf, level: float = 0.95) -> float:
    """Standard errors on either side of a mean in its confidence interval, from Student's t (Student 1908).

    Few replicates tell their spread badly: the interval of two reaches 12.7 standard errors, that of many 1.96. This is
    exact for replicates of a normal distribution.

    Args:
        degrees: Degrees of freedom, those of a mean being its replicates less one; infinite, as where their number is
            unknown, the distribution is the normal one. So it is with 0, where an error is not one of replicates.
        level: Probability with which an interval holds the mean.

    Example:
        >>> [round(interval_reach(degrees), 2) for degrees in (1, 3, 15, math.inf)]
        [12.71, 3.18, 2.13, 1.96]
    """
    from scipy.stats import t  # slow to load, and needed by few commands

    return float(t.ppf((1 + level) / 2, degrees or math.inf))
