"""KernelSHAP: Shapley values of stretches and bands, from a linear regression over coalitions."""

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


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: SurrogateSettings) -> Attribution:
    r"""Attribute a batch by KernelSHAP (Lundberg & Lee 2017, equation 8), with forward passes alone.

    The value of a coalition :math:`S` is :math:`v(S) = E_b[f_c(x \text{ with all but } S \text{ of } b)]`. Its Shapley
    values solve a weighted least-squares problem over all coalitions under the constraint that they sum to
    :math:`f_c(x) - E_b[f_c(b)]`. Coalitions are drawn by its weights, each together with the one of all other features
    and the same reference (Covert & Lee 2021, section 4). Under the constraint, what such a pair sums to says
    nothing of the values, so that only its difference is fitted.

    Where every coalition can be asked for with every reference, the values are exact for these references; else they
    are within the error of sampling. Either way they sum to what they must, with the mean over the references in
    place of the expectation. The gap's standard error is that of this mean. Those of the attributions are of the
    regression, with the coalitions of a reference as one replicate.

    The value of a feature is spread evenly over its frames. With ``bands`` the frames are equal, and say nothing of
    time.

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
        >>> product = lambda waveforms: waveforms[:, :1] * waveforms[:, 1:2]
        >>> evaluator = Evaluator(product, torch.tensor([[2.0, 3.0, 4.0]]), grid=FrameGrid(1, 1))
        >>> silence = lambda waveform, generator: torch.zeros_like(waveform)
        >>> settings = SurrogateSettings(stretch_frames=1, n_divisions=1)
        >>> explain(evaluator, Targets.from_classes(1, 0), silence, settings).frames.round(decimals=4)
        tensor([[[3., 3., 0.]]])
    """

    def draw(num_features: int, count: int, generator: torch.Generator) -> Coalitions:
        is_drawn = (2**num_features - 2) * settings.n_draws > count
        if not is_drawn:
            half = all_halves(num_features).repeat_interleave(settings.n_draws, 0)
        else:
            half = sampled_coalitions(num_features, count // 2, generator)
        own = torch.arange(len(half)) % settings.n_draws
        return Coalitions(torch.cat([half, ~half]), torch.cat([own, own]), is_drawn)

    def fit(coalitions: Coalitions, outputs: Tensor, totals: Tensor) -> Fit:
        pairs = len(outputs) // 2
        half, references = coalitions.present[:pairs], coalitions.references[:pairs]
        differences = outputs[:pairs] - outputs[pairs:]
        coefficients, deviations = shapley_regression(
            half, differences, totals, references, is_drawn=coalitions.is_drawn
        )
        return Fit(
            coefficients=coefficients,
            deviations=deviations,
            gap=coefficients.sum(1) - totals.mean(0),
            gap_standard_error=totals.std(0) / settings.n_draws**0.5 if settings.n_draws > 1 else None,
        )

    surrogate = Surrogate(draw, fit, needs_references=True)
    return explain_by_surrogate(evaluator, targets, baseline, settings, surrogate)


def all_halves(num_features: int) -> Tensor:
    """One coalition of each pair but the empty one's, ``(2 ** (num_features - 1) - 1, num_features)`` bool.

    Example:
        >>> all_halves(3).int()
        tensor([[1, 0, 0],
                [0, 1, 0],
                [1, 1, 0]], dtype=torch.int32)
    """
    numbers = torch.arange(1, 2 ** (num_features - 1))
    return (numbers[:, None] >> torch.arange(num_features)) % 2 == 1


def sampled_coalitions(num_features: int, count: int, generator: torch.Generator) -> Tensor:
    """Coalitions ``(count, num_features)`` bool, drawn by their weights in the regression.

    All coalitions of a size have the same weight; all of size :math:`s` together have one proportional to
    :math:`1 / (s (d - s))` (Covert & Lee 2021, equation 6).
    """
    sizes = torch.arange(1, num_features)
    drawn = 1 + torch.multinomial(_size_weights(num_features, sizes), count, replacement=True, generator=generator)
    ranks = torch.rand(count, num_features, generator=generator).argsort(1).argsort(1)
    return ranks < drawn[:, None]


def shapley_regression(
    present: Tensor, differences: Tensor, totals: Tensor, references: Tensor, *, is_drawn: bool
) -> tuple[Tensor, Tensor | None]:
    r"""Shapley values from the differences between coalitions and their complements.

    With :math:`z` a coalition in signs, the difference of a pair is :math:`z^\top \phi` where the game is additive.
    Centring each :math:`z` puts the constraint in force: what is fitted then is how :math:`\phi` differs from its mean.

    Args:
        present: A coalition of each pair, ``(pairs, features)`` bool.
        differences: Output for it less that for the complement, ``(pairs, targets)``.
        totals: Output for the utterance less that for each reference, ``(references, targets)``.
        references: Of each pair, ``(pairs,)``.
        is_drawn: Whether the coalitions were drawn by their weights; else they are all there are, and get these.

    Returns:
        Values ``(targets, features)``, and the deviations of :class:`speechshap.attribution.surrogate.Fit`.
    """
    num_features = present.shape[1]
    signs = 2 * present.double() - 1  # (pairs, features)
    means = signs.mean(1, keepdim=True)
    weights = torch.ones_like(means)
    if not is_drawn:
        sizes = present.sum(1, keepdim=True).double()
        weights = _size_weights(num_features, sizes) / _choose(num_features, sizes)
    roots = weights.sqrt()
    design = roots * (signs - means)
    inverse = torch.linalg.pinv(design)  # (features, pairs)
    scaled = roots * (differences - means * totals.mean(0))
    centred = inverse @ scaled  # (features, targets)
    residuals = scaled - design @ centred
    if is_drawn:  # a residual is smaller than the error that it shows: HC2 of MacKinnon & White 1985
        leverages = (design * inverse.T).sum(1, keepdim=True)
        residuals = residuals / (1 - leverages).clamp_min(1e-6).sqrt()
    count = len(totals)
    # How the values change with the total; its error is that of the references, too.
    slopes = 1 / num_features - inverse @ (roots * means)  # (features, 1)
    influences = torch.cat(
        [
            residuals[:, :, None] * inverse.T[:, None],
            ((totals - totals.mean(0)) / count)[:, :, None] * slopes[:, 0],
        ]
    )  # (pairs + references, targets, features)
    clusters = torch.cat([references, torch.arange(count)])
    values = centred + totals.mean(0) / num_features
    return values.T, clustered(influences, clusters, count)


def _size_weights(num_features: int, sizes: Tensor) -> Tensor:
    """Weight of all coalitions of a size together."""
    return 1 / (sizes * (num_features - sizes))


def _choose(n: int, k: Tensor) -> Tensor:
    """Binomial coefficients."""
    one = torch.tensor(1.0, dtype=torch.float64)
    return (torch.lgamma((n + 1) * one) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)).exp()


METHOD = Method(SurrogateSettings, explain)
