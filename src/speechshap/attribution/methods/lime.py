"""LIME: a local linear model of stretches and bands."""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.surrogate import (
    Coalitions,
    Fit,
    Surrogate,
    SurrogateSettings,
    clustered,
    explain_by_surrogate,
)
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LIMESettings(SurrogateSettings):
    """Settings of LIME.

    Attributes:
        kernel_width: How far from the utterance a coalition may be, in cosine distance, before it counts little.
        ridge: Penalty on the squared coefficients, which draws them towards 0.

    Raises:
        UserError: A value is not legal.
    """

    kernel_width: float = 0.25
    ridge: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kernel_width > 0:
            raise UserError(f"`kernel_width` is {self.kernel_width}; expected a distance above 0")
        if not self.ridge >= 0:
            raise UserError(f"`ridge` is {self.ridge}; expected 0 at least")


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: LIMESettings) -> Attribution:
    r"""Attribute a batch by LIME (Ribeiro et al. 2016; of sound Mishra et al. 2017), with forward passes alone.

    Each feature is in a coalition with probability 1/2. A linear model with an intercept is fitted to the outputs by
    ridge regression, where a coalition at the cosine distance :math:`D` from that of all features weighs
    :math:`\exp(-D^2 / 2 \sigma^2)`, as in the authors' program. A feature's coefficient is its attribution, spread
    evenly over its frames. With ``bands`` the frames are equal, and say nothing of time.

    The coefficients have no sum that they must come to: the completeness gap is not a number. Their standard errors
    are those of the regression, with the coalitions of a reference as one replicate; by how much the penalty moves
    them is not in these.

    Args:
        evaluator: Has the batch and the model, which need not be differentiable.
        targets: What is explained.
        baseline: Draws the references.
        settings: Of the method.

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        UtteranceError: An utterance has too many features for ``n_samples``, or an output of the model for it is not
            finite; the error names it.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2], torch.tensor([[2.0, 4.0]]), grid=FrameGrid(1, 1))
        >>> silence = lambda waveform, generator: torch.zeros_like(waveform)
        >>> settings = LIMESettings(stretch_frames=1, n_divisions=1, ridge=0.0)
        >>> explain(evaluator, Targets.from_classes(1, 1), silence, settings).frames.round(decimals=4).abs()
        tensor([[[0., 4.]]])
    """

    def draw(num_features: int, count: int, generator: torch.Generator) -> Coalitions:
        present = torch.rand(count, num_features, generator=generator) < 0.5
        return Coalitions(present, torch.arange(count) % settings.n_draws)

    def fit(coalitions: Coalitions, outputs: Tensor, totals: Tensor) -> Fit:
        weights = proximity(coalitions.present, settings.kernel_width)
        coefficients, influences = ridge_regression(coalitions.present.double(), outputs, weights, settings.ridge)
        deviations = clustered(influences, coalitions.references, settings.n_draws)
        return Fit(coefficients, deviations, gap=outputs.new_full(totals.shape[1:], torch.nan))

    surrogate = Surrogate(draw, fit, needs_references=False)
    return explain_by_surrogate(evaluator, targets, baseline, settings, surrogate)


def proximity(present: Tensor, kernel_width: float) -> Tensor:
    """Weights of coalitions ``(rows, features)``, ``(rows,)``; 1 for that of all features.

    Example:
        >>> proximity(torch.tensor([[True, True], [True, False], [False, False]]), 0.5)
        tensor([1.0000, 0.8423, 0.1353], dtype=torch.float64)
    """
    distance = 1 - present.double().mean(1).sqrt()  # the cosine with a vector of ones
    return torch.exp(-distance.square() / (2 * kernel_width**2))


def ridge_regression(design: Tensor, outputs: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Coefficients of a weighted regression with an intercept, which is not penalised.

    Args:
        design: ``(rows, features)``.
        outputs: ``(rows, targets)``.
        weights: ``(rows,)``.
        ridge: Penalty on the squared coefficients.

    Returns:
        Coefficients ``(targets, features)``, and each row's influence on them ``(rows, targets, features)``, from
        residuals that are corrected for their leverage (HC2 of MacKinnon & White 1985).
    """
    shares = (weights / weights.sum())[:, None]
    roots = weights.sqrt()[:, None]
    design = roots * (design - (shares * design).sum(0))
    outputs = roots * (outputs - (shares * outputs).sum(0))
    penalty = ridge * torch.eye(design.shape[1], dtype=design.dtype)
    inverse = torch.linalg.pinv(design.T @ design + penalty, hermitian=True) @ design.T  # (features, rows)
    coefficients = inverse @ outputs  # (features, targets)
    leverages = (design * inverse.T).sum(1, keepdim=True) + shares
    residuals = (outputs - design @ coefficients) / (1 - leverages).clamp_min(1e-6).sqrt()
    return coefficients.T, residuals[:, :, None] * inverse.T[:, None]


METHOD = Method(LIMESettings, explain)
