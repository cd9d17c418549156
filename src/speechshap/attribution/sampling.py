"""Where on the paths the gradients are taken: references and alphas of every draw, and their weights.

A *replicate* is a few points in different parts of paths; replicates are the independent repetitions that a standard
error is computed from. Every scheme keeps the expectation: the weighted mean over the points of a replicate has the
expectation of one uniformly drawn point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from speechshap.attribution.baselines import Baseline
from speechshap.attribution.completeness import Completeness, RunningGap
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.replicates import PathPoint, ReferenceKey, ReplicateMoments, RunningEstimate

Scheme = Literal["uniform", "antithetic", "stratified", "adaptive"]
SCHEMES: tuple[str, ...] = get_args(Scheme)

POINTS_PER_REPLICATE: dict[str, int] = {"uniform": 1, "antithetic": 2, "stratified": 2, "adaptive": 2}

_ENDS = (1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.5)
EDGES: tuple[float, ...] = (
    0.0, *_ENDS, *(tenth / 10 for tenth in range(1, 10)), *(1 - end for end in reversed(_ENDS)), 1.0
)  # fmt: skip
"""Bins of [0, 1] in which the variance along the path is estimated: half a decade wide towards both ends.

Where a silent stretch meets a little of the other sound, a model that normalises levels changes with the logarithm of
how much: the integrand grows like 1 / (1 - alpha) towards the utterance, or 1 / alpha towards the reference.
"""

NUM_BINS = len(EDGES) - 1

PILOT = -1
"""Number of the replicate that is asked first, where there is a pilot; it is no part of the estimate."""

PILOT_ALPHAS = (3e-4, 0.5, 1 - 3e-4)
"""Points of the pilot: near the ends, where few others fall, and one that these are compared with."""

_SPIKE = 20.0  # times the norm in the middle: an end with more may hold most of the variance
_GAIN = 1.25  # times less variance is what a density has to promise to be worth its unequal weights

_END_SHARE = 0.15  # of the base density, spread evenly over the bins of the ends; no weight exceeds 1 / 0.85
_DEFENSIVE_SHARE = 0.2  # of the base density in every learnt one
_HALFWAY = 16  # observations after which half of the rest follows what was learnt: few show little of heavy tails
_GRID = 2**0.25  # learnt heights are rounded to its powers, so that rounding errors of gradients move no alpha


@dataclass(frozen=True, slots=True)
class PathDensity:
    """Density of alpha that is constant on each bin of :data:`EDGES`.

    Attributes:
        heights: Density in each bin, relative to each other.

    Raises:
        ValueError: There is not one positive and finite height for each bin.

    Example:
        >>> alphas, weights = PathDensity.uniform().points(torch.tensor([0.25, 0.5], dtype=torch.float64))
        >>> alphas, weights  # alphas, and 1 / density there
        (tensor([0.2500, 0.5000], dtype=torch.float64), tensor([1., 1.], dtype=torch.float64))
        >>> PathDensity.base().points(torch.tensor([0.01], dtype=torch.float64))[0]  # near 0 there are more
        tensor([9.2599e-05], dtype=torch.float64)
    """

    heights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.heights) != NUM_BINS or not all(0 < height < math.inf for height in self.heights):
            raise ValueError(f"heights are {self.heights}; expected {NUM_BINS} positive numbers")

    @classmethod
    def uniform(cls) -> "PathDensity":
        """The density of the expectation itself."""
        return cls((1.0,) * NUM_BINS)

    @classmethod
    def base(cls) -> "PathDensity":
        """Mostly uniform, with a share for the ends where the integrand may grow like 1 over the distance to them."""
        end_bins = 2 * (len(_ENDS) + 1)
        return cls(
            tuple(
                1 - _END_SHARE + (_END_SHARE / end_bins / (right - left) if left < 0.1 or right > 0.9 else 0.0)
                for left, right in pairwise(EDGES)
            )
        )

    @classmethod
    def learnt(cls, ratios: Tensor, observations: float = math.inf) -> "PathDensity":
        r"""Density with the least variance for an integrand with these second moments.

        :math:`q(\alpha) \propto \sqrt{E \lVert \Phi(\alpha) \rVert^2}` (Owen 2013, "Monte Carlo theory, methods and
        examples", section 9.1), mixed with the base density so that no point gets a great weight (Hesterberg 1995).
        Unequal weights have a variance of their own, also where the integrand has none: the density is uniform unless
        the second moment of a point is to be a fifth less than with uniform points.

        Args:
            ratios: :math:`E \lVert \Phi(\alpha) \rVert^2 / q_0(\alpha)^2` in each bin, ``(bins,)``, with the base
                density :math:`q_0`.
            observations: How many they come from; the fewer, the greater the share of the base density.
        """
        base = torch.tensor(cls.base().heights, dtype=torch.float64)
        best = base * ratios.double().clamp_min(0).sqrt()
        share = 1 - (1 - _DEFENSIVE_SHARE) / (1 + _HALFWAY / observations)
        heights = share * base + (1 - share) * best / (best * _WIDTHS).sum()  # integrate to 1
        moments = base.square() * ratios.double() * _WIDTHS
        if _GAIN * (moments / heights).sum() > moments.sum():
            return cls.uniform()
        return cls(tuple((_GRID ** (heights.log() / math.log(_GRID)).round()).tolist()))

    def at(self, alphas: Tensor) -> Tensor:
        """Density at alphas, like them."""
        heights = torch.tensor(self.heights, dtype=torch.float64)
        return (heights / (heights * _WIDTHS).sum())[bin_of(alphas)].to(alphas.dtype)

    def points(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Carry uniform numbers to alphas of this density; the weights are its inverse there (both like uniforms)."""
        heights = torch.tensor(self.heights, dtype=torch.float64)
        masses = heights * _WIDTHS / (heights * _WIDTHS).sum()
        rises = torch.cat([masses.new_zeros(1), masses.cumsum(0)])
        bins = torch.searchsorted(rises, uniforms.double(), right=True).clamp(1, NUM_BINS) - 1
        left = torch.tensor(EDGES, dtype=torch.float64)[bins]
        alphas = (left + (uniforms - rises[bins]) / masses[bins] * _WIDTHS[bins]).clamp(0, 1)
        return alphas.to(uniforms.dtype), (_WIDTHS / masses)[bins].to(uniforms.dtype)


_WIDTHS = torch.tensor(EDGES, dtype=torch.float64).diff()
_CENTRES = torch.tensor(EDGES[:-1], dtype=torch.float64) + _WIDTHS / 2


def bin_of(alphas: Tensor) -> Tensor:
    """Bin of :data:`EDGES` that each alpha lies in, int64."""
    return torch.bucketize(alphas.double(), torch.tensor(EDGES[1:-1], dtype=torch.float64), right=True)


class Replicate(NamedTuple):
    """Points on paths.

    Attributes:
        alphas: ``(points,)`` float64.
        weights: ``(points,)`` float64; the replicate's estimate is the mean of weight times integrand. Of nested rules
            ``(points, rules)``.
    """

    alphas: Tensor
    weights: Tensor


class Sampler(Protocol):
    """Places the points on the paths.

    Attributes:
        points_per_replicate: Points of a replicate.
    """

    points_per_replicate: int

    def points(self, utterance: int, done: int, goal: int) -> list[PathPoint]:
        """The points that an utterance lacks for its goal, of which so much is done."""

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """The replicate of this number for an utterance of the batch; the same one each time within a round."""

    def reference_key(self, point: PathPoint) -> ReferenceKey:
        """Which reference the path of a point begins at."""

    def reference(self, key: ReferenceKey) -> Tensor:
        """That reference, as :meth:`Evaluator.draw_reference` draws it, ``(time, ...)``; the same one each time."""

    def needs_output(self, key: ReferenceKey) -> bool:
        """Whether the output at a reference is asked for, for the completeness gap."""

    def running_estimate(
        self, num_utterances: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> RunningEstimate:
        """What the points come to, with its error; nothing so far."""

    def running_gap(self, num_utterances: int, num_targets: int) -> RunningGap:
        """How far that is from completeness; nothing so far."""

    def observe(self, utterance: int, alphas: Tensor, squared_norms: Tensor) -> None:
        """Take note of the squared norms ``(points,)`` of the integrand at alphas ``(points,)``."""


class PathSampler:
    """Draws the replicates of each utterance of a batch.

    The random numbers of a replicate depend on the seed, the utterance's id and the number of the replicate alone.
    With the ``adaptive`` scheme alphas follow a density that is learnt, from a pilot and from one round to the next,
    from the gradients of the same utterance; it stays uniform where another one promises little.

    Args:
        evaluator: Has the batch.
        baseline: Draws the references.
        scheme: How the alphas of a replicate are drawn.
        seed: Of all draws.
        density: What the first round of ``adaptive`` draws from; what is observed is pooled with it. Where it is
            uniform, a pilot decides.

    Attributes:
        points_per_replicate: Points of a replicate.
        has_pilot: Whether :meth:`after_pilot` has something to decide.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        baseline: Baseline,
        scheme: Scheme,
        seed: int,
        density: PathDensity,
    ) -> None:
        self.points_per_replicate = POINTS_PER_REPLICATE[scheme]
        self._evaluator = evaluator
        self._baseline = baseline
        self._scheme = scheme
        self._seed = seed
        base = PathDensity.base()
        expected = density if scheme == "adaptive" else base
        self.has_pilot = expected == PathDensity.uniform()
        # A learnt density weighs as much as a few observations of each bin, others next to nothing.
        self._prior = 0.5 if expected in (PathDensity.uniform(), base) else 4.0
        self._expected = expected.at(_CENTRES).square().repeat(len(evaluator), 1)
        # What neighbouring bins have in common is the integrand relative to these.
        self._shape = (expected if self.has_pilot else base).at(_CENTRES).square().repeat(len(evaluator), 1)
        self._densities = [density if scheme == "adaptive" else PathDensity.uniform()] * len(evaluator)
        self._sums = torch.zeros(len(evaluator), NUM_BINS, dtype=torch.float64)
        self._counts = torch.zeros(len(evaluator), NUM_BINS, dtype=torch.float64)

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """Draw a replicate, or the pilot; the same one each time within a round."""
        if replicate == PILOT:
            alphas = torch.tensor(PILOT_ALPHAS, dtype=torch.float64)
            return Replicate(alphas, torch.zeros_like(alphas))
        references = range(self._num_references)
        uniforms = torch.cat([self._start((utterance, replicate, number))[1] for number in references])
        if self._scheme == "antithetic":
            return Replicate(torch.cat([uniforms, 1 - uniforms]), torch.ones(2, dtype=torch.float64))
        strata = (torch.arange(len(uniforms)) + uniforms) / len(uniforms)
        return Replicate(*self._densities[utterance].points(strata))

    def reference_key(self, point: PathPoint) -> ReferenceKey:
        """One for each point, but for points that mirror each other, and a pilot: what they share varies with it."""
        number = 0 if point.replicate == PILOT else point.number % self._num_references
        return point.utterance, point.replicate, number

    def reference(self, key: ReferenceKey) -> Tensor:
        """Draw a reference; the same one each time."""
        return self._evaluator.draw_reference(self._baseline, key[0], self._start(key)[0])

    @property
    def _num_references(self) -> int:
        return 1 if self._scheme == "antithetic" else self.points_per_replicate

    def _start(self, key: ReferenceKey) -> tuple[torch.Generator, Tensor]:
        """Generator of a reference, and what it draws before, the uniform number of an alpha ``(1,)``."""
        utterance, replicate, number = key
        draw = replicate * self._num_references + number
        generator = draw_generator(self._seed, self._evaluator.ids[utterance], draw)
        return generator, torch.rand(1, generator=generator, dtype=torch.float64)

    def points(self, utterance: int, done: int, goal: int) -> list[PathPoint]:
        """Those of the replicates from the one number to the other."""
        numbers = range(self.points_per_replicate)
        return [PathPoint(utterance, replicate, number) for replicate in range(done, goal) for number in numbers]

    def needs_output(self, key: ReferenceKey) -> bool:
        """True for the first reference of a few replicates.

        The output at the references varies much less than the sums of the points: a twentieth as many references as
        points, two at least, suffice for its mean, and cost a fortieth of the gradients.
        """
        _, replicate, number = key
        is_one_of_few = replicate * self.points_per_replicate % 20 < self.points_per_replicate
        return number == 0 and (0 <= replicate < 2 or is_one_of_few)

    def running_estimate(
        self, num_utterances: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> ReplicateMoments:
        """Mean over the replicates, and its standard error."""
        return ReplicateMoments(num_utterances, shape, dtype, device)

    def running_gap(self, num_utterances: int, num_targets: int) -> Completeness:
        """The gap, with a standard error over the replicates."""
        return Completeness(num_utterances)

    def observe(self, utterance: int, alphas: Tensor, squared_norms: Tensor) -> None:
        """Take note of the squared norms ``(points,)`` of the integrand at alphas ``(points,)``."""
        bins = bin_of(alphas)
        self._sums[utterance].index_add_(0, bins, squared_norms.double())
        self._counts[utterance].index_add_(0, bins, torch.ones_like(alphas))

    def second_moments(self, utterance: int) -> Tensor:
        """Second moment of the integrand relative to the squared base density in each bin, ``(bins,)``.

        A bin is pooled with its neighbours, and with some observations of what the first density expects there.
        """
        distance = torch.arange(NUM_BINS, dtype=torch.float64)[:, None] - torch.arange(NUM_BINS)
        kernel = torch.exp(-0.5 * distance.square())
        counts, shape = self._counts[utterance], self._shape[utterance]
        sums, expected = self._sums[utterance] / shape, self._expected[utterance] / shape
        # The level of the expectation is that of the observations.
        level = sums.sum() / (expected * counts).sum().clamp_min(1e-300)
        pooled = (kernel @ sums + self._prior * level * expected) / (kernel @ counts + self._prior)
        return pooled * shape / PathDensity.base().at(_CENTRES).square()

    def after_pilot(self, utterance: int) -> None:
        """Draw from the base density from now on, if the integrand was far larger at an end than in the middle."""
        bins = bin_of(torch.tensor(PILOT_ALPHAS, dtype=torch.float64))
        start, middle, end = self._sums[utterance][bins].sqrt().tolist()
        if max(start, end) > _SPIKE * middle:
            self._densities[utterance] = PathDensity.base()
            self._expected[utterance] = self._shape[utterance] = PathDensity.base().at(_CENTRES).square()

    def next_round(self, utterance: int) -> None:
        """Draw from what was observed from now on; other schemes than ``adaptive`` stay as they are."""
        if self._scheme != "adaptive":
            return
        moments = self.second_moments(utterance)
        if moments.max() > 0:
            observations = float(self._counts[utterance].sum())
            if self._prior > 1:
                observations += self._prior * NUM_BINS
            self._densities[utterance] = PathDensity.learnt(moments, observations)


class GivenDraws(PathSampler):
    """Draws that the caller made: alphas ``(draws,)`` and references ``(draws, time)``, the same for all.

    Raises:
        ValueError: They do not fit each other or the inputs, or an alpha is not from 0 to 1.
    """

    def __init__(self, evaluator: Evaluator, alphas: Tensor, references: Tensor) -> None:
        expected = (len(alphas), evaluator.num_samples)
        if references.shape != expected:
            raise ValueError(f"given `alphas` take `baselines` as a tensor {expected}, one for each")
        if alphas.ndim != 1 or not bool(((alphas >= 0) & (alphas <= 1)).all()):
            raise ValueError("`alphas` are not numbers from 0 to 1 in one dimension")
        super().__init__(evaluator, lambda waveform, _: waveform, "uniform", 0, PathDensity.base())
        self._alphas = alphas.detach().double().cpu()
        self._references = references.detach().cpu()

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """Pick the draw with the number of the replicate."""
        return Replicate(self._alphas[replicate : replicate + 1], torch.ones(1, dtype=torch.float64))

    def reference(self, key: ReferenceKey) -> Tensor:
        """Pick the reference with the number of the replicate."""

        def given(waveform: Tensor, _: torch.Generator) -> Tensor:
            return self._references[key[1], : len(waveform)].to(waveform)

        return self._evaluator.draw_reference(given, key[0], torch.Generator())
