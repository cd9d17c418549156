"""Where on the paths the gradients are taken: references and alphas of every sample, and their weights.

A *replicate* is one reference with the points on its path; replicates are the independent repetitions that a standard
error is computed from. Every scheme keeps the expectation: the weighted mean over the points of a replicate has the
expectation of one uniformly drawn point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from speechshap.attribution.baselines import Baseline
from speechshap.attribution.draws import sample_generator

Scheme = Literal["uniform", "antithetic", "stratified", "adaptive"]
SCHEMES: tuple[str, ...] = get_args(Scheme)

POINTS_PER_REPLICATE: dict[str, int] = {"uniform": 1, "antithetic": 2, "stratified": 2, "adaptive": 2}

NUM_BINS = 16
"""Bins of [0, 1] in which the variance along the path is told apart."""

_DEFENSIVE_SHARE = 0.2  # of a uniform density in every learnt one: no weight exceeds 1 / 0.2
_HALFWAY = 16  # observations after which half of the rest follows what was learnt: few say little of heavy tails
_GRID = 1 / 16  # densities are rounded to it, so that rounding errors of gradients move no alpha


@dataclass(frozen=True, slots=True)
class PathDensity:
    """Piecewise constant density of alpha on equal bins of [0, 1].

    Attributes:
        heights: Density in each bin, with mean 1.

    Raises:
        ValueError: A height is not positive and finite, or their mean is not 1.

    Example:
        >>> density = PathDensity((0.5, 1.5))
        >>> density.points(torch.tensor([0.25, 0.5], dtype=torch.float64))  # alphas, and 1 / density there
        (tensor([0.5000, 0.6667], dtype=torch.float64), tensor([0.6667, 0.6667], dtype=torch.float64))
    """

    heights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not all(0 < height < math.inf for height in self.heights) or abs(self._mean() - 1) > 1e-6:
            raise ValueError(f"heights are {self.heights}; expected positive numbers with mean 1")

    def _mean(self) -> float:
        return sum(self.heights) / max(1, len(self.heights))

    @classmethod
    def from_second_moments(cls, moments: Tensor, observations: float = math.inf) -> "PathDensity":
        r"""Density with the least variance where the integrand has these second moments.

        :math:`q(\alpha) \propto \sqrt{E \lVert \Phi(\alpha) \rVert^2}` (Owen 2013, "Monte Carlo theory, methods and
        examples", section 9.1), mixed with a uniform share so that no point gets a great weight (Hesterberg 1995).

        Args:
            moments: ``(bins,)``, at least one of them positive.
            observations: How many they come from; the fewer, the greater the uniform share.
        """
        heights = moments.double().clamp_min(0).sqrt()
        uniform = 1 - (1 - _DEFENSIVE_SHARE) / (1 + _HALFWAY / observations)
        heights = uniform + (1 - uniform) * heights / heights.mean()
        heights = (heights / _GRID).round() * _GRID
        return cls(tuple((heights / heights.mean()).tolist()))

    def points(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Carry uniform numbers to alphas of this density; the weights are its inverse there (both like uniforms)."""
        heights = torch.tensor(self.heights, dtype=uniforms.dtype)
        rises = torch.cat([heights.new_zeros(1), heights.cumsum(0)]) / heights.sum()
        bins = torch.searchsorted(rises, uniforms, right=True).clamp(1, len(heights)) - 1
        alphas = (bins + (uniforms - rises[bins]) / (rises[bins + 1] - rises[bins])) / len(heights)
        return alphas.clamp(0, 1), 1 / heights[bins]


class Replicate(NamedTuple):
    """A reference and points on its path.

    Attributes:
        reference: ``(time,)`` of the utterance.
        alphas: ``(points,)`` float64.
        weights: ``(points,)`` float64; the replicate's estimate is the mean of weight times integrand.
    """

    reference: Tensor
    alphas: Tensor
    weights: Tensor


class PathSampler:
    """Draws the replicates of each utterance of a batch.

    The random numbers of a replicate depend on the seed, the utterance's id and the number of the replicate alone.
    With the ``adaptive`` scheme alphas follow a density that is learnt, from one round to the next, from the
    gradients of the same utterance.

    Args:
        inputs: ``(batch, time)`` on the CPU.
        lengths: Samples of each utterance.
        ids: Names of the utterances.
        baseline: Draws the references.
        scheme: How the alphas of a replicate are drawn.
        seed: Of all draws.
        density: What the first round of ``adaptive`` draws from; what is observed is pooled with it.
    """

    def __init__(
        self,
        inputs: Tensor,
        lengths: Sequence[int],
        ids: Sequence[str],
        baseline: Baseline,
        scheme: Scheme,
        seed: int,
        density: PathDensity,
    ) -> None:
        self.points_per_replicate = POINTS_PER_REPLICATE[scheme]
        self._inputs = inputs
        self._lengths = lengths
        self._ids = ids
        self._baseline = baseline
        self._scheme = scheme
        self._seed = seed
        self._first = density
        self._prior = 0.5 if len(density.heights) == 1 else 4.0  # observations a bin that the first density counts for
        self._densities = [density] * len(ids)
        self._sums = torch.zeros(len(ids), NUM_BINS, dtype=torch.float64)
        self._counts = torch.zeros(len(ids), NUM_BINS, dtype=torch.float64)

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """Draw a replicate; the same one each time within a round."""
        generator = sample_generator(self._seed, self._ids[utterance], replicate)
        uniforms = torch.rand(self._num_uniforms, generator=generator, dtype=torch.float64)
        reference = self._baseline(self._inputs[utterance, : self._lengths[utterance]], generator)
        if self._scheme == "antithetic":
            return Replicate(reference, torch.cat([uniforms, 1 - uniforms]), torch.ones(2, dtype=torch.float64))
        strata = (torch.arange(self._num_uniforms) + uniforms) / self._num_uniforms
        return Replicate(reference, *self._densities[utterance].points(strata))

    @property
    def _num_uniforms(self) -> int:
        return 1 if self._scheme == "antithetic" else self.points_per_replicate

    def observe(self, utterance: int, alphas: Tensor, squared_norms: Tensor) -> None:
        """Take note of the squared norms ``(points,)`` of the integrand at alphas ``(points,)``."""
        bins = (alphas * NUM_BINS).long().clamp_max(NUM_BINS - 1)
        self._sums[utterance].index_add_(0, bins, squared_norms.double())
        self._counts[utterance].index_add_(0, bins, torch.ones_like(squared_norms, dtype=torch.float64))

    def second_moments(self, utterance: int) -> Tensor:
        """Second moment of the integrand in each bin as far as it was observed, ``(bins,)``.

        A bin is pooled with its neighbours, and with some observations of what the first density expects there: few
        where that is uniform and knows nothing.
        """
        distance = torch.arange(NUM_BINS, dtype=torch.float64)[:, None] - torch.arange(NUM_BINS)
        kernel = torch.exp(-0.5 * distance.square())
        sums, counts = self._sums[utterance], self._counts[utterance]
        heights = torch.tensor(self._first.heights, dtype=torch.float64)
        expected = heights[torch.arange(NUM_BINS) * len(heights) // NUM_BINS].square()
        # The level of the expectation is that of the observations, bins seen often counting more.
        level = sums.sum() / (expected * counts).sum().clamp_min(1e-300)
        return (kernel @ sums + self._prior * level * expected) / (kernel @ counts + self._prior)

    def next_round(self, utterance: int) -> None:
        """Draw from what was observed from now on; other schemes than ``adaptive`` stay as they are."""
        moments = self.second_moments(utterance)
        if self._scheme == "adaptive" and moments.max() > 0:
            observations = float(self._counts[utterance].sum())
            if len(self._first.heights) > 1:
                observations += self._prior * NUM_BINS
            self._densities[utterance] = PathDensity.from_second_moments(moments, observations)


class GivenDraws(PathSampler):
    """Draws that the caller made: alphas ``(samples,)`` and references ``(samples, time)``, the same for all."""

    def __init__(self, inputs: Tensor, lengths: Sequence[int], alphas: Tensor, references: Tensor) -> None:
        super().__init__(inputs, lengths, [""] * len(lengths), lambda *_: inputs[0], "uniform", 0, PathDensity())
        self._alphas = alphas.detach().double().cpu()
        self._references = references.detach().cpu()

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """Pick the draw with the number of the replicate."""
        one = torch.ones(1, dtype=torch.float64)
        reference = self._references[replicate, : self._lengths[utterance]]
        return Replicate(reference, self._alphas[replicate : replicate + 1], one)
