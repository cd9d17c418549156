"""Integrated gradients from one fixed reference to the utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.completeness import FixedCompleteness
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.feature_evaluator import in_space
from speechshap.attribution.methods import Method
from speechshap.attribution.path import PathEstimator
from speechshap.attribution.quadrature import NestedRules, NestedSums
from speechshap.attribution.replicates import PathPoint, ReferenceKey
from speechshap.attribution.sampling import Replicate
from speechshap.attribution.settings import PathSettings
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError, is_integer

_SIZES = tuple(2**power - 1 for power in range(1, 13))  # 1, 3, 7, 15, ...
_FIRST = 7  # points of the smallest rule with ``auto``: two smaller ones may agree by chance


@dataclass(frozen=True, kw_only=True)
class IntegratedGradientsSettings(PathSettings):
    """Settings of integrated gradients.

    Attributes:
        n_points: Points on the path: 3, 7, 15, 31, 63, ..., each rule having the points of the one before. ``auto``
            goes from one rule to the next until they differ by no more than the ``tolerance``.
        tolerance: Relative error to reach with ``auto``.
        max_points: Where ``auto`` gives up.

    Raises:
        UserError: A value is not legal.
    """

    n_points: int | Literal["auto"] = 31
    tolerance: float = 0.1
    max_points: int = 255

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_points != "auto":
            _require_size("n_points", self.n_points, 3)
        _require_size("max_points", self.max_points, 2 * _FIRST + 1)
        if not self.tolerance > 0:
            raise UserError(f"`tolerance` is {self.tolerance}; expected a relative error above 0")

    @property
    def sizes(self) -> list[int]:
        """Points of the rules that are compared, the smallest first."""
        if self.n_points == "auto":
            return [size for size in _SIZES if _FIRST <= size <= self.max_points]
        return [self.n_points // 2, self.n_points]


def _require_size(name: str, value: int, least: int) -> None:
    if not is_integer(value) or value not in _SIZES or value < least:
        sizes = [size for size in _SIZES if size >= least]
        near = min(sizes, key=lambda size: abs(size - value)) if is_integer(value) else sizes[0]
        raise UserError(
            f"`{name}` is {value!r}; expected one less than a power of two, from {least} on, such as {near}: rules of "
            "these sizes have their points in common, so that two of them cost no more than one"
        )


class Quadrature:
    """A single replicate for each utterance: its first reference, and the nodes of nested rules on the path."""

    def __init__(self, evaluator: Evaluator, baseline: Baseline, seed: int, sizes: Sequence[int]) -> None:
        self._rules = NestedRules.of(sizes)
        self.points_per_replicate = len(self._rules.nodes)
        self._references = [evaluator.reference(baseline, utterance, seed) for utterance in range(len(evaluator))]

    def points(self, utterance: int, done: int, goal: int) -> list[PathPoint]:
        """The nodes from the one number to the other."""
        return [PathPoint(utterance, 0, number) for number in range(done, goal)]

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """The only replicate of an utterance."""
        weights = self._rules.weights * self.points_per_replicate  # of a mean over the points
        return Replicate(self._rules.nodes, weights)

    def reference_key(self, point: PathPoint) -> ReferenceKey:
        """The only one of an utterance."""
        return point.utterance, 0, 0

    def reference(self, key: ReferenceKey) -> Tensor:
        """The reference of an utterance."""
        return self._references[key[0]]

    def needs_output(self, key: ReferenceKey) -> bool:
        """Whether the output at the reference is asked for: there is one alone."""
        return True

    def running_estimate(
        self, num_utterances: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> NestedSums:
        """Integrals by the rules."""
        return NestedSums(self._rules.sizes, num_utterances, shape, dtype, device)

    def running_gap(self, num_utterances: int, num_targets: int) -> FixedCompleteness:
        """The gap by the rules."""
        return FixedCompleteness(self._rules.sizes, num_utterances, num_targets)

    def observe(self, utterance: int, alphas: Tensor, squared_norms: Tensor) -> None:
        """Nothing is learnt: the nodes are fixed."""


def explain(
    evaluator: Evaluator,
    targets: Targets,
    baseline: Baseline,
    settings: IntegratedGradientsSettings,
    *,
    keep_values: bool = False,
) -> Attribution:
    r"""Attribute a batch by integrated gradients (Sundararajan et al. 2017, equation 1).

    .. math:: \phi_c[t] = (x[t] - b[t]) \int_0^1 \frac{\partial f_c}{\partial x[t]}\big(b + \alpha (x - b)\big) d\alpha

    The reference :math:`b` is the one that the seed and the utterance's id draw first, or a mean feature. The integral
    is taken by nested quadrature (:func:`speechshap.attribution.quadrature.fejer`), exact where the gradient on the
    path is a polynomial in :math:`\alpha` of a degree below the number of points. Nothing else is random: what stands
    for the standard errors are the differences to the rule with half the points, which are mostly greater than the
    errors themselves. How much another reference would change is not known.

    With silence as the reference, a model that normalises the level of its input receives the same sound at every
    :math:`\alpha > 0`. All of the change then happens at the very start of the path, between the nodes: the
    attributions are near 0 throughout, and the gap is nearly the whole change.

    Args:
        evaluator: Has the batch, the model and its layers.
        targets: What is explained.
        baseline: Draws the reference.
        settings: Of the method.
        keep_values: Keep the attributions of single samples.

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        GradientError: An utterance's gradients are all 0, or one is not finite; the error names the utterance.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: waveforms.pow(3), torch.tensor([[1.0, 2.0]]))
        >>> targets = Targets.from_classes(1, 1)
        >>> silence = lambda waveform, generator: torch.zeros_like(waveform)
        >>> result = explain(evaluator, targets, silence, IntegratedGradientsSettings(n_points=3), keep_values=True)
        >>> result.values.round(decimals=3)
        tensor([[[0., 8.]]])
    """
    evaluator = in_space(evaluator, settings.space)
    sampler = Quadrature(evaluator, baseline, settings.seed, settings.sizes)
    estimator = PathEstimator(
        evaluator, targets, sampler, settings.layer_method, settings.spectrum, keep_values=keep_values
    )
    if settings.n_points != "auto":
        estimator.advance([settings.n_points] * len(evaluator))
        return estimator.attribution()
    goals = [_FIRST] * len(evaluator)
    converged = torch.zeros(len(evaluator), dtype=torch.bool)
    for size in settings.sizes[1:]:
        goals = [goal if done else size for goal, done in zip(goals, converged.tolist(), strict=True)]
        estimator.advance(goals)
        converged = (estimator.relative_error() <= settings.tolerance).all(1).cpu()
        if converged.all():
            break
    return replace(estimator.attribution(), converged=converged.to(evaluator.device))


METHOD = Method(IntegratedGradientsSettings, explain)
