"""Mean of a measure over utterances, with an interval that knows that those of one speaker are alike."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from speechshap.bootstrap import N_RESAMPLES, Estimate, draw_speakers, percentile_interval

_MANY_SPEAKERS = 5_000


def mean_with_interval(
    values: np.ndarray, speakers: Sequence[str], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean of utterances with a percentile bootstrap over speakers (Efron & Tibshirani 1993, section 13.3).

    Whole speakers are drawn with replacement, since the utterances of one are no independent observations. With few
    speakers (below ten or so) such intervals are too narrow.

    Args:
        values: One for each utterance; those that are not a number are left out.
        speakers: Of each utterance.
        n_resamples: Draws of the speakers.
        seed: Of these.

    Example:
        >>> mean = mean_with_interval(np.array([0.0, 1.0, 2.0, np.nan]), ["a", "a", "b", "b"])
        >>> mean.value, mean.low, mean.high
        (1.0, 0.5, 2.0)
    """
    known = np.isfinite(values)
    if not known.any():
        return Estimate(np.nan, np.nan, np.nan)
    _, index = np.unique(np.asarray(speakers)[known], return_inverse=True)
    return mean_of_speakers(np.bincount(index, values[known]), np.bincount(index), n_resamples, seed)


def mean_of_speakers(sums: np.ndarray, counts: np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Estimate:
    """Mean of utterances with an interval, as :func:`mean_with_interval`, from what is summed up by speaker.

    From 5,000 speakers on, the interval is that of a normal distribution with the variance of a ratio of sums (Cochran
    1977, section 6.3), which the bootstrap comes to and would need gigabytes for.

    Args:
        sums: Sum of the values of each speaker, ``(speakers,)``.
        counts: How many these are, ``(speakers,)``, 1 at least.
        n_resamples: Draws of the speakers.
        seed: Of these.

    Example:
        >>> mean_of_speakers(np.array([1.0, 2.0]), np.array([2, 1]))
        Estimate(value=1.0, low=0.5, high=2.0)
    """
    if not len(sums):
        return Estimate(np.nan, np.nan, np.nan)
    value = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(value, np.nan, np.nan)
    if len(sums) >= _MANY_SPEAKERS:
        reach = NormalDist().inv_cdf(0.975) * float(np.linalg.norm(sums - value * counts) / counts.sum())
        return Estimate(value, value - reach, value + reach)
    drawn = draw_speakers(len(sums), n_resamples, seed)
    return Estimate(value, *percentile_interval(sums[drawn].sum(1) / counts[drawn].sum(1)))


class MeanOverUtterances(Metric):
    """A measure of this package as a metric of torchmetrics: gathers batches (and processes), then takes the mean.

    Args:
        measure: Function of tensors that returns one number for each utterance, ``(batch,)``.
        n_resamples: See :func:`mean_with_interval`.
        seed: Likewise.

    Example:
        >>> from speechshap.evaluation import area_under_curve
        >>> metric = MeanOverUtterances(area_under_curve)
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> metric.update(torch.tensor([[0.1, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth), speakers=["Anna"])
        >>> metric.compute().value
        0.875
    """

    full_state_update = False
    values: list[Tensor]
    speakers: list[Tensor]

    def __init__(self, measure: Callable[..., Tensor], n_resamples: int = N_RESAMPLES, seed: int = 0) -> None:
        super().__init__()
        self.measure = measure
        self.n_resamples = n_resamples
        self.seed = seed
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("speakers", default=[], dist_reduce_fx="cat")

    def update(self, *arguments: Any, speakers: Sequence[str]) -> None:
        """Measure a batch.

        Args:
            arguments: Of the measure.
            speakers: Of each utterance.
        """
        self.values.append(self.measure(*arguments))
        # Processes exchange tensors alone: names travel as numbers that are the same everywhere.
        self.speakers.append(torch.tensor([_number(name) for name in speakers], device=self.device))

    def compute(self) -> Estimate:
        """Mean over all utterances so far, with its interval."""
        if not self.values:
            return Estimate(np.nan, np.nan, np.nan)
        values = torch.cat(list(self.values)).double().cpu().numpy()
        speakers = [str(number) for number in torch.cat(list(self.speakers)).tolist()]
        return mean_with_interval(values, speakers, self.n_resamples, self.seed)


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1
