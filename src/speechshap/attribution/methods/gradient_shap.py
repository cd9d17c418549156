"""GradientSHAP (expected gradients) of a classifier of waveforms."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from speechshap.attribution import validation
from speechshap.attribution.attribution import Attribution, relative_error
from speechshap.attribution.baselines import NAMED_BASELINES, Baseline, from_references
from speechshap.attribution.chunks import ChunkSize
from speechshap.attribution.estimator import Estimator
from speechshap.attribution.layers import LAYER_METHODS, LayerMethod
from speechshap.attribution.path_gradients import Forward
from speechshap.attribution.sampling import SCHEMES, GivenDraws, PathDensity, PathSampler, Scheme
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import NO_CLASS, OUTPUTS, Output, Targets
from speechshap.frames import FrameGrid

_FIRST_ROUND = 16  # samples; each round doubles what there is

NO_LAYERS: Mapping[str, nn.Module] = MappingProxyType({})


def gradient_shap(
    forward: Forward,
    inputs: Tensor,
    baselines: str | Baseline | Tensor = "noise",
    targets: Tensor | None = None,
    lengths: Tensor | None = None,
    ids: Sequence[str] | None = None,
    n_samples: int | Literal["auto"] = 50,
    chunk_size: int | None = None,
    seed: int = 0,
    layers: Mapping[str, nn.Module] = NO_LAYERS,
    *,
    layer_method: LayerMethod = "endpoint",
    against: Tensor | None = None,
    output: Output = "logit",
    scheme: Scheme = "adaptive",
    density: PathDensity = PathDensity.base(),  # noqa: B008 - immutable
    alphas: Tensor | None = None,
    tolerance: float = 0.1,
    max_samples: int = 2000,
    spectrum: SpectralGrid | None = None,
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
        forward: Classifier. It must not mix the utterances of a batch, nor look at padding.
        inputs: ``(batch, time)`` float waveforms; what lies beyond their lengths is taken as 0.
        baselines: ``"noise"`` (Gaussian with the utterance's mean and standard deviation), ``"silence"``, a callable
            that draws a reference, or a tensor ``(references, time)`` to draw from.
        targets: ``(batch, targets)`` int64 classes to explain; None takes the predicted one.
        lengths: ``(batch,)`` int64 samples of each utterance; None takes all of ``time``.
        ids: Names of the utterances, unique within the batch; None numbers them.
        n_samples: Points on the paths of each utterance, rounded up to whole replicates; ``"auto"`` draws until the
            relative error of every target is within ``tolerance``.
        chunk_size: Points that go through the model at once; None finds what the device does well. The result does
            not depend on it. Halved when the device runs out of memory.
        seed: Of the draws.
        layers: Modules that ``forward`` calls, by name, whose output's neurons are explained.
        layer_method: ``"endpoint"`` multiplies a layer's gradient by the difference of its outputs for utterance and
            reference (LayerGradientShap of Captum); ``"path"`` by its slope along the path (conductance, Dhamdhere et
            al. 2018), whose sum is that of the input attribution wherever all information passes through the layer.
        against: ``(batch, targets)`` int64 classes whose output is subtracted from that of the target, -1 for none.
        output: Explain the ``"logit"``, the ``"log_odds"`` (Bolanos et al. 2025) or the ``"probability"``.
        scheme: How alphas are drawn; all keep the expectation. ``"uniform"``: one alpha and one reference a sample.
            ``"antithetic"``: pairs that mirror each other about 1/2, with one reference. ``"stratified"``: two to a
            reference, one in each half. ``"adaptive"``: importance sampling, stratified; first with more points
            towards the ends of the path, then, round by round, where the gradients of the same utterance were large.
        density: What the first round of ``"adaptive"`` draws from, for instance that of like utterances
            (:meth:`PathDensity.learnt` from their :attr:`Attribution.path_second_moments`).
        alphas: ``(n_samples,)`` given points on the path; ``baselines`` are then ``(n_samples, time)``, one for each,
            and every utterance takes these.
        tolerance: Relative error to reach with ``n_samples="auto"``.
        max_samples: Where ``"auto"`` gives up; the attribution says for which utterances it did.
        spectrum: Carry the attributions to this time-frequency transform too.
        keep_samples: Keep the frame attributions of every sample.
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
    validation.check_waveforms(inputs)
    lengths = torch.full((len(inputs),), inputs.shape[1]) if lengths is None else lengths
    ids = [str(index) for index in range(len(inputs))] if ids is None else ids
    validation.check_batch(inputs, lengths, ids)
    for name, value, legal in (
        ("scheme", scheme, SCHEMES), ("output", output, OUTPUTS), ("layer_method", layer_method, LAYER_METHODS),
    ):  # fmt: skip
        validation.check_choice(name, value, legal)
    validation.check_samples(n_samples, scheme, chunk_size, tolerance, max_samples)
    validation.check_baselines(baselines, alphas, inputs.shape[1])
    validation.check_layers(layers)

    # Lightning predicts in inference mode, where no graph can be built; tensors made there have to be copied.
    with torch.inference_mode(False):
        own_lengths: list[int] = lengths.tolist()
        inside = torch.arange(inputs.shape[1]) < torch.tensor(own_lengths)[:, None]
        inputs = torch.where(inside.to(inputs.device), inputs.detach().clone(), 0)
        baseline = as_baseline(baselines)
        sampler = (
            PathSampler(inputs.cpu(), own_lengths, ids, baseline, scheme, seed, density)
            if alphas is None or not isinstance(baselines, Tensor)
            else GivenDraws(inputs.cpu(), own_lengths, alphas, baselines)
        )
        estimator = Estimator(
            forward, inputs, own_lengths, ids, sampler, ChunkSize(chunk_size, inputs.device), grid, layers,
            layer_method, spectrum, keep_samples, progress,
        )  # fmt: skip
        logits = estimator.outputs.logits
        targets = logits.argmax(1, keepdim=True) if targets is None else targets.to(inputs.device).clone()
        against = torch.full_like(targets, NO_CLASS) if against is None else against.to(inputs.device).clone()
        validation.check_targets(targets, against, output, logits)
        estimator.start(Targets(targets, against, output))
        if n_samples == "auto":
            converged = _advance_to_tolerance(estimator, tolerance, max_samples)
        else:
            _advance_to(estimator, n_samples)
            converged = None
        return _attribution(estimator, converged)


def as_baseline(baselines: str | Baseline | Tensor) -> Baseline:
    """The distribution that a name, a tensor of references or a callable stands for."""
    if isinstance(baselines, str):
        return NAMED_BASELINES[baselines]
    return from_references(baselines) if isinstance(baselines, Tensor) else baselines


def _advance_to(estimator: Estimator, n_samples: int) -> None:
    """Draw ``n_samples``, in rounds."""
    sampler, batch = estimator.sampler, len(estimator.ids)
    goal = min(_FIRST_ROUND, n_samples)
    while True:
        estimator.advance([math.ceil(goal / sampler.points_per_replicate)] * batch)
        if goal == n_samples:
            return
        goal = min(2 * goal, n_samples)
        for utterance in range(batch):
            sampler.next_round(utterance)


def _advance_to_tolerance(estimator: Estimator, tolerance: float, max_samples: int) -> Tensor:
    """Draw until each utterance's relative error is within the tolerance; tell which ones made it, ``(B,)``.

    The next round is as long as the error of the last one asks for, but at most doubles the samples.
    """
    sampler, batch = estimator.sampler, len(estimator.ids)
    points = sampler.points_per_replicate
    most = max_samples // points
    goals = [min(_FIRST_ROUND // points, most)] * batch
    converged = torch.zeros(batch, dtype=torch.bool)
    while True:
        estimator.advance(goals)
        error = relative_error(estimator.frames.mean, estimator.frames.standard_error()).amax(1).cpu()  # (B,)
        converged = error <= tolerance
        active = [u for u in range(batch) if not converged[u] and estimator.replicates[u] < most]
        if not active:
            return converged
        for utterance in active:
            done = estimator.replicates[utterance]
            # A tenth more than the square-root law says, so that one more round is mostly enough.
            needed = min(2.0 * done, 1.1 * done * float(error[utterance] / tolerance) ** 2)
            goals[utterance] = min(most, max(done + 1, math.ceil(needed)))
            sampler.next_round(utterance)


def _attribution(estimator: Estimator, converged: Tensor | None) -> Attribution:
    device, dtype = estimator.device, estimator.inputs.dtype
    targets = estimator.targets
    outputs = targets(estimator.outputs.logits)
    gap, gap_error = estimator.completeness.gap(outputs)
    replicates = torch.tensor(estimator.replicates, device=device)
    bands = estimator.time_frequency
    batch = range(len(estimator.ids))
    return Attribution(
        values=estimator.values.mean.to(dtype),
        values_standard_error=estimator.values.standard_error().to(dtype),
        frames=estimator.frames.mean.to(dtype),
        frames_standard_error=estimator.frames.standard_error().to(dtype),
        frame_lengths=estimator.frame_lengths,
        targets=targets,
        logits=estimator.outputs.logits,
        outputs=outputs,
        completeness_gap=gap.to(device, dtype),
        completeness_gap_standard_error=gap_error.to(device, dtype),
        n_samples=replicates * estimator.sampler.points_per_replicate,
        n_replicates=replicates,
        path_second_moments=torch.stack([estimator.sampler.second_moments(utterance) for utterance in batch]),
        converged=None if converged is None else converged.to(device),
        layers={name: moments.mean for name, moments in estimator.neurons.items()},
        layers_standard_error={name: moments.standard_error() for name, moments in estimator.neurons.items()},
        time_frequency=None if bands is None else bands.mean.to(dtype),
        time_frequency_standard_error=None if bands is None else bands.standard_error().to(dtype),
        sample_frames=[torch.stack(rows) for rows in estimator.sample_frames] if estimator.sample_frames else None,
    )
