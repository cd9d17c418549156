"""GradientSHAP (expected gradients) of a classifier of waveforms.

Notation: B utterances, K targets, T samples, F frames, S Monte Carlo samples, R rows of a chunk.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import NAMED_BASELINES, Baseline, from_references
from speechshap.attribution.draws import sample_generator
from speechshap.data.frames import FrameGrid

Forward = Callable[[Tensor, Tensor], Tensor]
"""Differentiable classifier: waveforms ``(batch, time)`` and lengths ``(batch,)`` to logits ``(batch, classes)``."""

DEFAULT_CHUNK_SIZE = 8


def gradient_shap(
    forward: Forward,
    inputs: Tensor,
    baselines: str | Baseline | Tensor = "noise",
    targets: Tensor | None = None,
    lengths: Tensor | None = None,
    ids: Sequence[str] | None = None,
    n_samples: int = 50,
    chunk_size: int | None = None,
    seed: int = 0,
    alphas: Tensor | None = None,
    grid: FrameGrid = FrameGrid(),  # noqa: B008 - immutable
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    r"""Attribute logits to the samples and frames of waveforms.

    .. math:: \phi_c[t] = E_{b, \alpha}\left[(x[t] - b[t]) \,
              \frac{\partial f_c}{\partial x[t]}\big(b + \alpha (x - b)\big)\right]

    with references :math:`b` and :math:`\alpha \sim U(0, 1)` (expected gradients, Erion et al. 2021, equation 3;
    GradientSHAP, Lundberg & Lee 2017). The expectation is a mean over ``n_samples`` independent draws, which depend
    on the seed, the utterance's id and the number of the draw alone. Works inside ``torch.inference_mode``. Sums are
    kept in double precision where the device has it.

    Args:
        forward: Classifier. It must not mix the utterances of a batch, nor look at padding.
        inputs: ``(batch, time)`` float waveforms, zero-padded at the end.
        baselines: ``"noise"`` (Gaussian with the utterance's mean and standard deviation), ``"silence"``, a callable
            that draws a reference, or a tensor ``(references, time)`` to draw from.
        targets: ``(batch, targets)`` int64 classes to explain; None takes the predicted one.
        lengths: ``(batch,)`` int64 samples of each utterance; None takes all of ``time``.
        ids: Names of the utterances, unique within the batch; None numbers them.
        n_samples: Draws for each utterance, two at least.
        chunk_size: Points on the paths that go through the model at once; None takes 8. Memory grows with it, the
            result does not depend on it.
        seed: Of the draws.
        alphas: ``(n_samples,)`` given points on the path; ``baselines`` are then ``(n_samples, time)``, one for each,
            and every utterance takes these.
        grid: Frames that the samples are gathered in.
        progress: Called with the number of rows after each chunk.

    Returns:
        The attribution, on the device of ``inputs``.

    Raises:
        ValueError: An argument does not fit the others; nothing was evaluated then.
        RuntimeError: The output of ``forward`` does not depend on its input.
        FloatingPointError: A gradient is not finite; the message names the utterance.

    Example:
        >>> weight = torch.tensor([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])  # (time, classes)
        >>> result = gradient_shap(lambda x, lengths: x @ weight, torch.tensor([[1.0, 2.0, 3.0]]), "silence",
        ...                        grid=FrameGrid(hop=1, receptive_field=1))
        >>> result.targets, result.values  # a linear model: weight times (input - baseline)
        (tensor([[1]]), tensor([[[-1.,  0.,  6.]]]))
        >>> result.completeness_gap
        tensor([[0.]])
    """
    if alphas is not None:
        n_samples = len(alphas)
    lengths = torch.full((len(inputs),), inputs.shape[-1]) if lengths is None else lengths
    ids = [str(index) for index in range(len(inputs))] if ids is None else ids
    _check_arguments(inputs, baselines, lengths, ids, n_samples, chunk_size, alphas)

    # Lightning predicts in inference mode, where no graph can be built; tensors made there have to be copied.
    with torch.inference_mode(False):
        inputs, lengths = inputs.detach().clone(), lengths.to(inputs.device).clone()
        with torch.no_grad():
            logits = forward(inputs, lengths).float()
        targets = logits.argmax(1, keepdim=True) if targets is None else targets.to(inputs.device).clone()
        _check_targets(targets, logits)

        draw = _path_sampler(inputs.cpu(), lengths.tolist(), ids, baselines, alphas, seed)
        owners = _owners(lengths.tolist(), inputs.shape[1], grid).to(inputs.device)  # (B, T)
        frame_lengths = torch.tensor([max(1, grid.num_frames(length)) for length in lengths.tolist()])
        shape = targets.shape  # (B, K)
        values = _Moments((*shape, inputs.shape[1]), inputs.device)
        frames = _Moments((*shape, int(frame_lengths.max())), inputs.device)
        sums = inputs.new_zeros(*shape, n_samples, dtype=values.total.dtype)  # of the attributions of a row
        # The output at the references varies little: some of them tell its mean, at least 16 its standard error.
        num_baseline_outputs = min(n_samples, max(16, math.ceil(n_samples / 10)))
        baseline_outputs = sums.new_zeros(*shape, num_baseline_outputs)

        for row_utterances, samples in _chunks(len(inputs), n_samples, chunk_size or DEFAULT_CHUNK_SIZE):
            points, differences, references = (part.to(inputs.device) for part in draw(row_utterances, samples))
            rows = torch.tensor(row_utterances, device=inputs.device)
            width = points.shape[1]
            gradients = _gradients(forward, points, lengths[rows], targets[rows])  # (R, K, T)
            attributions = differences[:, None] * gradients
            _check_finite(attributions, row_utterances, ids)
            values.add(rows, attributions)
            frames.add(rows, _gather_frames(attributions, owners[rows, :width], frames.total.shape[-1]))
            sums[rows, :, samples] = attributions.sum(-1, dtype=sums.dtype)
            early = [row for row, sample in enumerate(samples) if sample < num_baseline_outputs]
            if early:
                with torch.no_grad():
                    outputs = forward(references[early], lengths[rows[early]])
                chosen = outputs.to(sums.dtype).gather(1, targets[rows[early]])
                baseline_outputs[rows[early], :, [samples[row] for row in early]] = chosen
            if progress is not None:
                progress(len(samples))

        gap, gap_error = _completeness(sums, baseline_outputs, logits.gather(1, targets))
        return Attribution(
            *values.mean_and_standard_error(n_samples),
            *frames.mean_and_standard_error(n_samples),
            frame_lengths=frame_lengths.to(inputs.device),
            targets=targets,
            logits=logits,
            completeness_gap=gap,
            completeness_gap_standard_error=gap_error,
            n_samples=n_samples,
        )


def _chunks(num_utterances: int, n_samples: int, chunk_size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Utterance and sample of each row, a chunk at a time; a chunk may span several utterances."""
    rows = [(utterance, sample) for utterance in range(num_utterances) for sample in range(n_samples)]
    for start in range(0, len(rows), chunk_size):
        utterances, samples = zip(*rows[start : start + chunk_size], strict=True)
        yield list(utterances), list(samples)


Sampler = Callable[[list[int], list[int]], tuple[Tensor, Tensor, Tensor]]


def _path_sampler(
    inputs: Tensor,
    lengths: list[int],
    ids: Sequence[str],
    baselines: str | Baseline | Tensor,
    alphas: Tensor | None,
    seed: int,
) -> Sampler:
    """Make the function that draws the rows of a chunk: points, differences and references, ``(R, T)`` each."""
    baseline = (
        NAMED_BASELINES[baselines]
        if isinstance(baselines, str)
        else from_references(baselines)
        if isinstance(baselines, Tensor)
        else baselines
    )

    def draw_row(utterance: int, sample: int) -> tuple[Tensor, Tensor]:
        waveform = inputs[utterance, : lengths[utterance]]
        if alphas is not None and isinstance(baselines, Tensor):
            return alphas[sample].cpu(), baselines[sample, : lengths[utterance]].detach().cpu()
        generator = sample_generator(seed, ids[utterance], sample)
        alpha = torch.rand((), generator=generator, dtype=torch.float64)
        return alpha, baseline(waveform, generator)

    def draw(utterances: list[int], samples: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        width = max(lengths[utterance] for utterance in utterances)
        points, differences, references = torch.zeros(3, len(utterances), width, dtype=inputs.dtype)
        for row, (utterance, sample) in enumerate(zip(utterances, samples, strict=True)):
            own = slice(lengths[utterance])
            alpha, reference = draw_row(utterance, sample)
            references[row, own] = reference
            differences[row, own] = inputs[utterance, own] - reference
            points[row, own] = reference + alpha.to(inputs.dtype) * differences[row, own]
        return points, differences, references

    return draw


def _gradients(forward: Forward, points: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """Gradient of each target's output with respect to the points: ``(R, T), (R,), (R, K) -> (R, K, T)``."""
    with torch.enable_grad():
        points.requires_grad_()
        outputs = forward(points, lengths).gather(1, targets)  # (R, K)
        if not outputs.requires_grad:
            raise RuntimeError(
                "the output of forward does not depend on its input in a way that autograd can follow; "
                "it must not detach the waveforms, convert them to numpy, or run under no_grad"
            )
        last = targets.shape[1] - 1
        gradients = [
            torch.autograd.grad(outputs[:, target].sum(), points, retain_graph=target < last)[0]
            for target in range(targets.shape[1])
        ]
    return torch.stack(gradients, dim=1)


def _owners(lengths: list[int], width: int, grid: FrameGrid) -> Tensor:
    """Frame that owns each sample, ``(B, T)``; 0 in the padding, where attributions are 0."""
    owners = torch.zeros(len(lengths), width, dtype=torch.int64)
    for utterance, length in enumerate(lengths):
        owners[utterance, :length] = grid.owner(length)
    return owners


def _gather_frames(attributions: Tensor, owners: Tensor, num_frames: int) -> Tensor:
    """Sum samples into the frames that own them: ``(R, K, T), (R, T) -> (R, K, F)``."""
    index = owners[:, None].expand(attributions.shape)
    frames = attributions.new_zeros(*attributions.shape[:2], num_frames, dtype=_sum_dtype(attributions.device))
    return frames.scatter_add_(2, index, attributions.to(frames.dtype))


class _Moments:
    """Sum and sum of squares over the samples of each utterance, ``(B, ...)``."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.total = torch.zeros(shape, dtype=_sum_dtype(device), device=device)
        self.squares = torch.zeros_like(self.total)

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Add values ``(R, ..., width)`` to the utterances ``rows`` ``(R,)``."""
        values = values.to(self.total.dtype)
        self.total[..., : values.shape[-1]].index_add_(0, rows, values)
        self.squares[..., : values.shape[-1]].index_add_(0, rows, values.square())

    def mean_and_standard_error(self, count: int) -> tuple[Tensor, Tensor]:
        """Mean and the standard error of the mean of independent samples, float32."""
        mean = self.total / count
        variance = (self.squares / count - mean.square()).clamp_min(0) * count / (count - 1)
        return mean.float(), (variance / count).sqrt().float()


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no double precision


def _completeness(sums: Tensor, baseline_outputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Gap of the mean and its standard error.

    With ``n`` row sums ``A_s`` and the outputs ``f(b_s)`` at the first ``m`` of the same references, the gap is
    ``mean_n(A) + mean_m(f(b)) - f(x)``, and its variance ``Var(A)/n + Var(f(b))/m + 2 Cov(A, f(b))/n``.

    Args:
        sums: ``(B, K, n)``.
        baseline_outputs: ``(B, K, m)``.
        outputs: ``f(x)``, ``(B, K)``.
    """
    n, m = sums.shape[-1], baseline_outputs.shape[-1]
    gap = sums.mean(-1) + baseline_outputs.mean(-1) - outputs
    paired = sums[..., :m]
    centred = (paired - paired.mean(-1, keepdim=True)) * (baseline_outputs - baseline_outputs.mean(-1, keepdim=True))
    covariance = centred.sum(-1) / (m - 1)
    variance = sums.var(-1) / n + baseline_outputs.var(-1) / m + 2 * covariance / n
    return gap.float(), variance.clamp_min(0).sqrt().float()


def _check_arguments(
    inputs: Tensor,
    baselines: str | Baseline | Tensor,
    lengths: Tensor,
    ids: Sequence[str],
    n_samples: int,
    chunk_size: int | None,
    alphas: Tensor | None,
) -> None:
    if inputs.ndim != 2 or not inputs.is_floating_point():
        raise ValueError(f"inputs have shape {tuple(inputs.shape)} and {inputs.dtype}; expected float (batch, time)")
    batch, time = inputs.shape
    if lengths.shape != (batch,) or int(lengths.min()) < 1 or int(lengths.max()) > time:
        raise ValueError(f"lengths are {lengths.tolist()}; expected {batch} numbers from 1 to {time}")
    if len(ids) != batch or len(set(ids)) != batch:
        raise ValueError(f"ids are {list(ids)}; expected {batch} different names")
    if n_samples < 2:
        raise ValueError(f"n_samples is {n_samples}; a standard error needs 2 at least")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; expected 1 at least, or None")
    if isinstance(baselines, str) and baselines not in NAMED_BASELINES:
        raise ValueError(f"baselines is {baselines!r}; expected {', '.join(map(repr, NAMED_BASELINES))}")
    if isinstance(baselines, Tensor) and (baselines.ndim != 2 or baselines.numel() == 0):
        raise ValueError(f"baselines have shape {tuple(baselines.shape)}; expected (references, time)")
    if alphas is not None and (not isinstance(baselines, Tensor) or baselines.shape != (len(alphas), time)):
        raise ValueError(f"given alphas take baselines as a tensor ({len(alphas)}, {time}), one for each")


def _check_targets(targets: Tensor, logits: Tensor) -> None:
    batch, classes = logits.shape
    if targets.ndim != 2 or len(targets) != batch or targets.is_floating_point():
        raise ValueError(f"targets have shape {tuple(targets.shape)} and {targets.dtype}; expected int64 ({batch}, K)")
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(f"targets are {targets.unique().tolist()}; the model has the classes 0 to {classes - 1}")


def _check_finite(attributions: Tensor, utterances: list[int], ids: Sequence[str]) -> None:
    finite = attributions.isfinite().flatten(1).all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise FloatingPointError(f"the gradient of utterance {ids[utterances[row]]} is not finite")
