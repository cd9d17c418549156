"""Rounds of draws: until there are as many as were asked for, or until the error is small enough.

Between two rounds the sampler learns from what was drawn. The rounds depend on nothing but the numbers asked for and
the attributions, so that a run that is repeated has the same.
"""

import math

from torch import Tensor

from speechshap.attribution.path import PathEstimator
from speechshap.attribution.sampling import PILOT_ALPHAS, PathSampler

_FIRST_ROUND = 16  # points
_PILOT_FROM = 32  # points: a pilot is not to take more than a tenth of them


def advance_to(estimator: PathEstimator, sampler: PathSampler, n_samples: int) -> None:
    """Draw ``n_samples`` points for each utterance, rounded up to whole replicates; each round doubles what there is.

    The points of a pilot are among them.

    Raises:
        GradientError: An utterance's gradients are all 0, or one is not finite.
    """
    batch = len(estimator.done)
    n_samples -= _pilot(estimator, sampler, n_samples)
    goal = min(_FIRST_ROUND, n_samples)
    while True:
        estimator.advance([math.ceil(goal / sampler.points_per_replicate)] * batch)
        if goal == n_samples:
            return
        goal = min(2 * goal, n_samples)
        for utterance in range(batch):
            sampler.next_round(utterance)


def advance_to_tolerance(
    estimator: PathEstimator, sampler: PathSampler, tolerance: float, max_samples: int, *, of_segments: bool = False
) -> Tensor:
    """Draw until each utterance's relative error is within the tolerance for every target.

    The next round is as long as the error of the last one asks for, but at most doubles the draws.

    Args:
        estimator: Of the batch.
        sampler: Its own.
        tolerance: Relative error to reach.
        max_samples: Points of an utterance, those of a pilot included, at which it is given up.
        of_segments: Whether the error is that of segments (:meth:`PathEstimator.relative_error`).

    Returns:
        Which utterances are within the tolerance, ``(B,)`` bool on the CPU.

    Raises:
        GradientError: An utterance's gradients are all 0, or one is not finite.
    """
    batch = len(estimator.done)
    points = sampler.points_per_replicate
    most = (max_samples - _pilot(estimator, sampler, max_samples)) // points
    goals = [min(_FIRST_ROUND // points, most)] * batch
    while True:
        estimator.advance(goals)
        error = estimator.relative_error(of_segments=of_segments).amax(1).cpu()  # (B,)
        converged = error <= tolerance
        active = [u for u in range(batch) if not converged[u] and estimator.done[u] < most]
        if not active:
            return converged
        for utterance in active:
            done = estimator.done[utterance]
            # A tenth more than the square-root law says, so that one more round is mostly enough.
            needed = min(2.0 * done, 1.1 * done * float(error[utterance] / tolerance) ** 2)
            goals[utterance] = min(most, max(done + 1, math.ceil(needed)))
            sampler.next_round(utterance)


def _pilot(estimator: PathEstimator, sampler: PathSampler, n_samples: int) -> int:
    """Let the sampler choose for each utterance what it draws from first; returns the points that this takes."""
    if not sampler.has_pilot or n_samples < _PILOT_FROM:
        return 0
    estimator.probe()
    for utterance in range(len(estimator.done)):
        sampler.after_pilot(utterance)
    return len(PILOT_ALPHAS)
