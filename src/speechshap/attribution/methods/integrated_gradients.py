"""Integrated gradients from one fixed reference to the utterance."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.path import PathEstimator
from speechshap.attribution.sampling import Replicate
from speechshap.attribution.settings import PathSettings
from speechshap.attribution.targets import Targets
from speechshap.errors import require_at_least


@dataclass(frozen=True, kw_only=True)
class IntegratedGradientsSettings(PathSettings):
    """Settings of integrated gradients.

    Attributes:
        n_points: Gauss-Legendre nodes on the path.

    Raises:
        UserError: A value is not legal.
    """

    n_points: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, n_points=self.n_points)


class Quadrature:
    """A single replicate for each utterance: its first reference, and Gauss-Legendre nodes on the path."""

    def __init__(self, evaluator: Evaluator, baseline: Baseline, seed: int, n_points: int) -> None:
        self.points_per_replicate = n_points
        nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(n_points))
        self._alphas = (1 + nodes) / 2
        self._weights = weights / 2 * n_points  # of a mean over the points
        self._references = [evaluator.reference(baseline, utterance, seed) for utterance in range(len(evaluator))]

    def draw(self, utterance: int, replicate: int) -> Replicate:
        """The only replicate of an utterance."""
        return Replicate(self._references[utterance], self._alphas, self._weights)

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

    The reference :math:`b` is the one that the seed and the utterance's id draw first. The integral is taken by
    Gauss-Legendre quadrature, which is exact where the gradient on the path is a polynomial in :math:`\alpha` of a
    degree below twice the number of nodes. Nothing else is random, so that there are no standard errors. The
    completeness gap is the error of the quadrature; how much another reference would change is not known.

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
        >>> explain(evaluator, targets, silence, IntegratedGradientsSettings(n_points=2), keep_values=True).values
        tensor([[[0., 8.]]])
    """
    sampler = Quadrature(evaluator, baseline, settings.seed, settings.n_points)
    estimator = PathEstimator(
        evaluator, targets, sampler, settings.layer_method, settings.spectrum, keep_values=keep_values
    )
    estimator.advance([1] * len(evaluator))
    return estimator.attribution()


METHOD = Method(IntegratedGradientsSettings, explain)
