"""GradientSHAP (expected gradients) of a classifier of waveforms."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline, as_baseline
from speechshap.attribution.errors import GradientError
from speechshap.attribution.evaluator import NO_LAYERS, NO_SPACES, Evaluator
from speechshap.attribution.feature_evaluator import in_space
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.methods import Method
from speechshap.attribution.path import PathEstimator
from speechshap.attribution.rounds import advance_to, advance_to_tolerance
from speechshap.attribution.sampling import (
    POINTS_PER_REPLICATE,
    SCHEMES,
    GivenDraws,
    PathDensity,
    PathSampler,
    Scheme,
)
from speechshap.attribution.settings import WAVEFORM, PathSettings
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Output, Targets
from speechshap.errors import UserError, is_integer, require_at_least, require_choice
from speechshap.frames import FrameGrid
from speechshap.spaces import Space

logger = logging.getLogger(__name__)

_LEARNING_POINTS = 64  # on the paths of each utterance that the density is learnt from


@dataclass(frozen=True, kw_only=True)
class GradientSHAPSettings(PathSettings):
    """Settings of GradientSHAP.

    Attributes:
        n_samples: Points on the paths of each utterance; the error falls with the square root of their number.
            ``auto`` draws until the relative error is within ``tolerance``.
        tolerance: Relative error to reach with ``auto``.
        converge_on: Whether that is the error of the ``frames`` or of the ``segments`` that were asked for, which
            mostly takes fewer draws. Where an utterance has none of these it is that of the frames.
        max_samples: Where ``auto`` gives up.
        scheme: How the points on the paths are drawn.
        calibration: Utterances to learn first, before any is explained, where on the path the variance is; worth its
            cost where many are explained.
        density: What the first round of the ``adaptive`` scheme draws from, as learnt from such utterances.

    Raises:
        UserError: A value is not legal, or does not fit the others.

    Example:
        >>> GradientSHAPSettings(n_samples=3)
        Traceback (most recent call last):
        speechshap.errors.UserError: `n_samples` is 3; expected auto, or 4 at least: an error bar needs two ...
    """

    n_samples: int | Literal["auto"] = 50
    tolerance: float = 0.1
    converge_on: Literal["frames", "segments"] = "frames"
    max_samples: int = 2000
    scheme: Scheme = "adaptive"
    calibration: int = 0
    density: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("scheme", self.scheme, SCHEMES)
        require_choice("converge_on", self.converge_on, ("frames", "segments"))
        points = POINTS_PER_REPLICATE[self.scheme]
        least = 2 * points
        if self.n_samples != "auto" and not (is_integer(self.n_samples) and self.n_samples >= least):
            raise UserError(
                f"`n_samples` is {self.n_samples!r}; expected auto, or {least} at least: an error bar needs two "
                f"replicates, each with {points} of the points in {self.scheme} sampling"
            )
        require_at_least(least, max_samples=self.max_samples)
        if not self.tolerance > 0:
            raise UserError(f"`tolerance` is {self.tolerance}; expected a relative error above 0")
        require_at_least(0, calibration=self.calibration)
        if self.calibration and self.scheme != "adaptive":
            raise UserError(f"`calibration` is for the adaptive scheme; {self.scheme} sampling learns nothing")
        try:
            self.path_density  # noqa: B018 - checks the heights
        except ValueError as error:
            raise UserError(f"`density`: {error}") from error

    @property
    def path_density(self) -> PathDensity:
        """The density that the first round draws from."""
        return PathDensity.uniform() if self.density is None else PathDensity(tuple(self.density))


def gradient_shap(
    forward: Callable[..., Tensor],
    inputs: Tensor,
    baselines: str | Baseline | Tensor = "noise",
    targets: int | Sequence[Any] | Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
    n_samples: int | Literal["auto"] = 50,
    chunk_size: int | None = None,
    seed: int = 0,
    layers: Mapping[str, nn.Module] = NO_LAYERS,
    *,
    space: str | Space = WAVEFORM,
    layer_method: LayerMethod = "endpoint",
    against: int | Sequence[Any] | Tensor | None = None,
    output: Output = "logit",
    scheme: Scheme = "adaptive",
    density: PathDensity = PathDensity.uniform(),  # noqa: B008 - immutable
    alphas: Tensor | None = None,
    tolerance: float = 0.1,
    max_samples: int = 2000,
    spectrum: SpectralGrid | None = None,
    keep_values: bool = True,
    keep_samples: bool = False,
    grid: FrameGrid = FrameGrid(),  # noqa: B008 - immutable
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    r"""Attribute outputs of a classifier to the samples, frames, frequencies and neurons of waveforms.

    .. math:: \phi_c[t] = E_{b, \alpha}\left[(x[t] - b[t]) \,
              \frac{\partial f_c}{\partial x[t]}\big(b + \alpha (x - b)\big)\right]

    with references :math:`b` and :math:`\alpha \sim U(0, 1)` (expected gradients, Erion et al. 2021, equation 3;
    GradientSHAP, Lundberg & Lee 2017). The expectation is a Monte Carlo mean; its random numbers depend on the seed,
    the utterance's id and the number of the draw alone. Every target, layer and band is computed from the same draws.
    Works inside ``torch.inference_mode``. Sums are kept in double precision where the device has it, those over
    neurons in single precision.

    Args:
        forward: Differentiable classifier, as :class:`speechshap.attribution.Evaluator` takes it.
        inputs: ``(batch, time)`` float waveforms; what lies beyond their lengths is taken as 0.
        baselines: ``"noise"`` (Gaussian with the utterance's mean and standard deviation), ``"silence"``, a callable
            that draws a reference, or a tensor ``(references, time)`` to draw from.
        targets: Classes to explain: one for all utterances, one for each ``(batch,)``, or several for each
            ``(batch, targets)``; None takes the predicted one.
        lengths: ``(batch,)`` samples of each utterance; None takes all of ``time``.
        ids: Names of the utterances, unique within the batch; None numbers them.
        n_samples: Points on the paths of each utterance, a pilot included, rounded up to whole replicates; ``"auto"``
            draws until the relative error of every target is within ``tolerance``.
        chunk_size: Points that go through the model at once; None finds what the device does well. The result does
            not depend on it. Halved when the device runs out of memory.
        seed: Of the draws.
        layers: Modules that ``forward`` calls, by name, whose output's neurons are explained.
        space: Where the paths run: between the waveforms, or between the outputs that a module of the model has for
            them; of a model of :mod:`speechshap.models` also by its name (``"stem"``). There are frames and neurons
            then, and no samples.
        layer_method: ``"endpoint"`` multiplies a layer's gradient by the difference of its outputs for utterance and
            reference (LayerGradientShap of Captum); ``"path"`` by its slope along the path (conductance, Dhamdhere et
            al. 2018), whose sum is that of the input attribution wherever all information passes through the layer.
        against: Classes whose output is subtracted from that of the target, in the same shape; -1 for none.
        output: Explain the ``"logit"``, the ``"log_odds"`` (Bolanos et al. 2025) or the ``"probability"``.
        scheme: How alphas are drawn; all keep the expectation. ``"uniform"``: one alpha and one reference a draw.
            ``"antithetic"``: pairs that mirror each other about 1/2, with one reference. ``"stratified"``: two, one
            in each half, with a reference each. ``"adaptive"``: like these, or by importance sampling where that
            promises less variance: first with more points towards the ends of the path, if a pilot of three points
            finds large gradients there, then, round by round, where the gradients of the same utterance were large.
        density: What the first round of ``"adaptive"`` draws from, for instance that of like utterances
            (:meth:`PathDensity.learnt` from their :attr:`Attribution.path_second_moments`); no pilot then, unless it is
            uniform.
        alphas: ``(n_samples,)`` given points on the path; ``baselines`` are then ``(n_samples, time)``, one for each,
            and every utterance takes these.
        tolerance: Relative error to reach with ``n_samples="auto"``.
        max_samples: Where ``"auto"`` gives up; ``converged`` has the utterances for which it did.
        spectrum: Carry the attributions to this time-frequency transform too.
        keep_values: Keep the attributions of single samples; without them frames, bands and neurons of hours of sound
            fit into memory.
        keep_samples: Keep the frame attributions of every draw.
        grid: Frames that the samples are gathered in.
        progress: Called with the number of points after each chunk.

    Returns:
        The attribution, on the device of ``inputs`` but for its ``path_second_moments``, which are on the CPU.

    Raises:
        ValueError: An argument does not fit the others.
        RuntimeError: The output of ``forward`` does not depend on its input.
        GradientError: An utterance's gradients are all 0, or one is not finite; the error names the utterance.

    Example:
        >>> weight = torch.tensor([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])  # (time, classes)
        >>> result = gradient_shap(lambda x, lengths: x @ weight, torch.tensor([[1.0, 2.0, 3.0]]), "silence",
        ...                        scheme="stratified", grid=FrameGrid(hop=1, receptive_field=1))
        >>> result.targets.classes, result.values  # a linear model: weight times (input - baseline)
        (tensor([[1]]), tensor([[[-1.,  0.,  6.]]]))
        >>> result.completeness_gap
        tensor([[0.]])
    """
    if alphas is not None:
        n_samples, scheme = len(alphas), "uniform"
    spaces: Mapping[str, Space] = getattr(forward, "spaces", NO_SPACES)
    if isinstance(space, Space):
        spaces, space = {"given": space}, "given"
    settings = GradientSHAPSettings(
        n_samples=n_samples, seed=seed, space=space, layer_method=layer_method, output=output, scheme=scheme,
        density=density.heights, tolerance=tolerance, max_samples=max_samples, spectrum=spectrum,
    )  # fmt: skip
    evaluator = Evaluator(
        forward, inputs, lengths, ids, layers=layers, grid=grid, spaces=spaces, chunk_size=chunk_size,
        progress=progress,
    )  # fmt: skip
    evaluator = in_space(evaluator, space)
    baseline = as_baseline(baselines)
    sampler = _sampler(evaluator, baseline, settings)
    if alphas is not None:
        if not isinstance(baselines, Tensor):
            raise ValueError("given `alphas` take `baselines` as a tensor (n_samples, time), one for each")
        sampler = GivenDraws(evaluator, alphas, baselines)
    # A class stands in for the predicted ones, so that all shapes are looked at before the model is asked anything.
    asked = Targets.from_classes(len(evaluator), 0 if targets is None else targets, against, output)
    if targets is None:
        asked = replace(asked, classes=evaluator.logits.argmax(1, keepdim=True))
    return _attribute(evaluator, asked, sampler, settings, keep_values, keep_samples)


def explain(
    evaluator: Evaluator,
    targets: Targets,
    baseline: Baseline,
    settings: GradientSHAPSettings,
    *,
    keep_values: bool = False,
    keep_draws: bool = False,
) -> Attribution:
    """Attribute a batch by GradientSHAP, which :func:`gradient_shap` describes.

    Args:
        evaluator: Has the batch, the model and its layers.
        targets: What is explained.
        baseline: Draws the references.
        settings: Of the method.
        keep_values: Keep the attributions of single samples.
        keep_draws: Keep the frame attributions of every draw (``keep_samples`` of :func:`gradient_shap`).

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        GradientError: An utterance's gradients are all 0, or one is not finite; the error names the utterance.

    Example:
        >>> from speechshap.attribution import gaussian_noise
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2] ** 2, torch.randn(3, 800))
        >>> settings = GradientSHAPSettings(n_samples=8)
        >>> explain(evaluator, Targets.from_classes(3, 1), gaussian_noise(), settings).frames.shape
        torch.Size([3, 1, 2])
    """
    evaluator = in_space(evaluator, settings.space)
    return _attribute(evaluator, targets, _sampler(evaluator, baseline, settings), settings, keep_values, keep_draws)


def learn(evaluators: Iterable[Evaluator], baseline: Baseline, settings: GradientSHAPSettings) -> GradientSHAPSettings:
    """Learn where on the path the variance is, so that the first round of utterances like these draws there.

    Args:
        evaluators: One for each utterance to learn from, without layers; their predicted classes are explained.
        baseline: Draws the references.
        settings: Those of the run.

    Returns:
        The settings with the density that was learnt, or the base density where no utterance could be explained.
    """
    pilot = replace(settings, n_samples=_LEARNING_POINTS, density=None, spectrum=None)
    moments = []
    for evaluator in evaluators:
        predicted = Targets.from_classes(len(evaluator), evaluator.logits.argmax(1), output=settings.output)
        try:
            attribution = explain(evaluator, predicted, baseline, pilot)
        except GradientError as error:
            logger.warning("%s; nothing is learnt from it", error)
            continue
        assert attribution.path_second_moments is not None  # noqa: S101 - for the type checker
        moments += [own / own.mean() for own in attribution.path_second_moments]
    density = PathDensity.learnt(torch.stack(moments).mean(0)) if moments else PathDensity.uniform()
    return replace(settings, density=density.heights)


def _sampler(evaluator: Evaluator, baseline: Baseline, settings: GradientSHAPSettings) -> PathSampler:
    return PathSampler(evaluator, baseline, settings.scheme, settings.seed, settings.path_density)


def _attribute(
    evaluator: Evaluator,
    targets: Targets,
    sampler: PathSampler,
    settings: GradientSHAPSettings,
    keep_values: bool,
    keep_draws: bool,
) -> Attribution:
    estimator = PathEstimator(
        evaluator, targets, sampler, settings.layer_method, settings.spectrum,
        keep_values=keep_values, keep_draws=keep_draws,
    )  # fmt: skip
    converged = None
    if settings.n_samples == "auto":
        converged = advance_to_tolerance(
            estimator, sampler, settings.tolerance, settings.max_samples, of_segments=settings.converge_on == "segments"
        )
    else:
        advance_to(estimator, sampler, settings.n_samples)
    return replace(
        estimator.attribution(),
        path_second_moments=torch.stack([sampler.second_moments(number) for number in range(len(evaluator))]),
        converged=None if converged is None else converged.to(evaluator.device),
    )


METHOD = Method(GradientSHAPSettings, explain, learn)
