"""DeepLIFT: differences from a reference, carried back through a network layer by layer."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _triple

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.errors import NonFiniteGradientError
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.settings import ReferenceSettings
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError

_LINEAR = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Flatten, nn.Unflatten, nn.Identity, nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d,
)  # fmt: skip
_LINEAR_IN_EVAL_MODE = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout,
)  # fmt: skip
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_RESCALED = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, *_POOLS)
"""What Captum has a rule for, but for softmax, whose rule mixes the rows of a batch."""
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NOT_CALLED = ("torch.nn.modules.loss", "torchmetrics.")
"""Where the parts of a LightningModule come from that its forward pass has no use for."""

_SOUND = {*_LINEAR, *_LINEAR_IN_EVAL_MODE, *_RESCALED, *_CONTAINERS}


def obstacle(module: nn.Module | None) -> str | None:
    """Why the rescale rule does not serve a module; None where nothing is known against it.

    Example:
        >>> obstacle(nn.Sequential(nn.Linear(8, 8), nn.GELU()))
        'the rescale rule has no sound form for GELU (its part 1); take integrated_gradients or gradient_shap'
    """
    if find_spec("captum") is None:
        return "Captum is missing; install it with pip install 'speechshap[captum]'"
    if module is None:
        return "it is not known; give the evaluator the `module`"
    for name, part in module.named_modules():
        if not _is_sound(part):
            where = f" (its part {name})" if name else ""
            return (
                f"the rescale rule has no sound form for {type(part).__name__}{where}; take integrated_gradients or "
                "gradient_shap"
            )
    return None


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: ReferenceSettings) -> Attribution:
    r"""Attribute a batch by DeepLIFT with its rescale rule (Shrikumar et al. 2017, section 3.5.1), as Captum has it.

    Each nonlinearity passes on what it gets times :math:`\Delta y / \Delta z`, its own difference between sound and
    reference, in place of its slope; all else is linear. What arrives at a sample is multiplied by
    :math:`x[t] - b[t]`, so that the attributions sum to :math:`f_c(x) - f_c(b)`.

    The reference is the one that the seed and the utterance's id draw first, and there are no standard errors, as for
    integrated gradients. The rule looks at modules alone: a nonlinearity that is called as a function
    (``functional.relu``, ``exp``, a product of two paths, log-odds or a probability as output) is taken for linear at
    the sound. The attributions then miss the sum, and the completeness gap shows by how much.

    Args:
        evaluator: Has the batch, the model, and the module in it.
        targets: What is explained.
        baseline: Draws the reference.
        settings: Of the method.

    Raises:
        UserError: Captum is missing, or the rule does not serve the module.
        ValueError: The model does not have the targets, or a reference does not fit.
        NonFiniteGradientError: An attribution is not finite; the error names the utterance.

    Example:
        >>> from speechshap.attribution.baselines import silence
        >>> from speechshap.frames import FrameGrid
        >>> model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.ReLU())
        >>> _ = nn.init.constant_(model[0].weight, 0.5)
        >>> evaluator = Evaluator(model, torch.tensor([[1.0, 2.0, 3.0, -4.0]]), module=model, grid=FrameGrid(2, 2))
        >>> explain(evaluator, Targets.from_classes(1, 0), silence, ReferenceSettings()).frames
        tensor([[[ 1.5000, -0.5000]]])
    """
    reason = obstacle(evaluator.module)
    if reason:
        raise UserError(f"`module`: {reason}")
    targets = evaluator.targets(targets)
    outputs = targets(evaluator.logits)  # (batch, targets)
    frames = outputs.new_zeros(*outputs.shape, evaluator.num_frames)
    gaps = torch.zeros_like(outputs)

    def evaluate(rows: list[int]) -> list[tuple[Tensor, Tensor]]:
        return [_attribute(evaluator, targets, row, baseline, settings.seed) for row in rows]

    for rows, parts in evaluator.evaluate_with_gradients(range(len(evaluator)), evaluate):
        for row, (own, at_reference) in zip(rows, parts, strict=True):
            frames[row] = own.to(frames)
            gaps[row] = (own.sum(1) - (outputs[row] - at_reference)).to(gaps)
    counts = torch.ones(len(evaluator), dtype=torch.int64, device=evaluator.device)
    return Attribution(
        frames=frames,
        frame_lengths=evaluator.frame_lengths,
        targets=targets,
        logits=evaluator.logits,
        outputs=outputs,
        completeness_gap=gaps,
        n_samples=counts,
        n_replicates=counts,
    )


class _Explained(nn.Module):
    """A function of waveforms with the modules that it calls, on which Captum sets its hooks."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, waveforms: Tensor) -> Tensor:
        return self._function(waveforms)


@torch.inference_mode(False)
def _attribute(
    evaluator: Evaluator, targets: Targets, utterance: int, baseline: Baseline, seed: int
) -> tuple[Tensor, Tensor]:
    """Attributions ``(targets, frames)`` of an utterance by itself, and the outputs ``(targets,)`` at its reference."""
    from captum.attr import DeepLift

    module = cast(nn.Module, evaluator.module)
    waveform = evaluator.waveform(utterance)[None].clone()
    reference = evaluator.reference(baseline, utterance, seed).to(waveform)[None]
    both = [utterance, utterance]  # Captum has the sound and its reference evaluated together

    def attribute(target: int) -> Tensor:
        def output(waveforms: Tensor) -> Tensor:
            logits = evaluator.forward(waveforms, evaluator.lengths_of(both)).float()
            return targets(logits, evaluator.indices(both))[:, target]

        with torch.enable_grad(), warnings.catch_warnings(), _apart(module):
            warnings.filterwarnings("ignore", "Setting forward, backward hooks")
            return DeepLift(_Explained(module, output)).attribute(waveform.requires_grad_(), reference).detach()

    try:
        values = torch.cat([attribute(target) for target in range(targets.classes.shape[1])])
    except RuntimeError as error:
        if "more than once" not in str(error):
            raise
        raise UserError(
            "the model calls a nonlinearity more than once, and DeepLIFT keeps what it saw of one call; give each "
            "place a module of its own, or take another `method`"
        ) from error
    if not bool(values.isfinite().all()):
        raise NonFiniteGradientError(evaluator.ids[utterance])
    frames = evaluator.sum_frames(values, torch.ones_like(values), [utterance] * len(values))
    at_reference = evaluator.outputs_at(reference, [utterance]).logits
    return frames, targets(at_reference, evaluator.indices([utterance]))[0]


@contextmanager
def _apart(module: nn.Module) -> Iterator[None]:
    """Give each nonlinearity a copy of its input.

    Where one directly follows another, Captum's hook at the output of the first would see the gradient before the rule
    of the second has changed it.
    """

    def copies(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in inputs)

    handles = [part.register_forward_pre_hook(copies) for part in module.modules() if type(part) in _RESCALED]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_sound(part: nn.Module) -> bool:
    """Whether the rule serves a module by itself; a container of the user's own is taken at its parts' word."""
    if isinstance(part, _BatchNorm) and part.running_mean is None:
        return False  # it takes the statistics of its input, in eval mode too
    if isinstance(part, _POOLS) and _overlaps(part):
        return False  # Captum keeps one of the windows that a sample is the maximum of
    origin = type(part).__module__
    is_own_container = any(True for _ in part.children()) and not origin.startswith("torch.nn.")
    return type(part) in _SOUND or origin.startswith(_NOT_CALLED) or is_own_container


def _overlaps(pool: Any) -> bool:
    """Whether the windows of a maximum have samples in common, or gaps."""
    sizes = zip(*map(_triple, (pool.kernel_size, pool.stride, pool.dilation)), strict=True)
    return any(kernel > stride or dilation != 1 for kernel, stride, dilation in sizes)


METHOD = Method(ReferenceSettings, explain, obstacle=obstacle)
