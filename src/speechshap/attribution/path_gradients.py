"""Gradients at points on the paths from references to utterances: what one chunk of rows costs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechshap.attribution.layers import LayerMethod, caught_outputs
from speechshap.attribution.targets import Targets

Forward = Callable[[Tensor, Tensor], Tensor]
"""Differentiable classifier: waveforms ``(batch, time)`` and lengths ``(batch,)`` to logits ``(batch, classes)``."""


class Outputs(NamedTuple):
    """Logits ``(R, classes)`` and layer outputs ``(R, ...)`` of rows."""

    logits: Tensor
    layers: dict[str, Tensor]


class PathGradients(NamedTuple):
    """Gradients of the explained outputs at points.

    Attributes:
        inputs: ``(R, K, T)``.
        layers: ``(R, K, ...)`` for each layer.
        layer_slopes: How the layers change along the path, ``(R, ...)`` each; only for the method ``path``.
    """

    inputs: Tensor
    layers: dict[str, Tensor]
    layer_slopes: dict[str, Tensor]


def outputs_of(forward: Forward, waveforms: Tensor, lengths: Tensor, layers: Mapping[str, nn.Module]) -> Outputs:
    """Evaluate ``forward`` for rows ``(R, T)`` and keep what the layers put out."""
    with caught_outputs(layers) as caught:
        logits = forward(waveforms, lengths).float()
    if logits.ndim != 2 or len(logits) != len(waveforms):
        raise ValueError(
            f"forward gave {tuple(logits.shape)} for {len(waveforms)} waveforms; expected ({len(waveforms)}, classes)"
        )
    for name in layers:
        if name not in caught:
            raise ValueError(f"layer {name} did not run within forward; give a module that the model calls")
    return Outputs(logits, {name: caught[name] for name in layers})


def path_gradients(
    forward: Forward,
    points: Tensor,
    differences: Tensor,
    lengths: Tensor,
    targets: Targets,
    utterances: Tensor,
    layers: Mapping[str, nn.Module],
    layer_method: LayerMethod,
) -> PathGradients:
    """Gradients for all targets and all layers from one forward pass, and one backward pass for each target.

    Args:
        forward: Classifier.
        points: ``(R, T)``.
        differences: ``(R, T)``, the direction of the path.
        lengths: ``(R,)``.
        targets: What is explained.
        utterances: ``(R,)`` utterance of each row.
        layers: Modules to take gradients at.
        layer_method: ``path`` differentiates the layers along the path too, in the same forward pass.

    Raises:
        RuntimeError: The output does not depend on the points.
    """
    points = points.detach().requires_grad_()
    along_path = bool(layers) and layer_method == "path"
    # The backward pass belongs inside: what a model computes again for it has to run as it did before.
    with torch.enable_grad(), _forward_mode() if along_path else nullcontext():
        inputs = forward_ad.make_dual(points, differences) if along_path else points
        logits, hidden = outputs_of(forward, inputs, lengths, layers)
        slopes = {name: _tangent(layer) for name, layer in hidden.items()} if along_path else {}
        explained = targets(_primal(logits), utterances)  # (R, K)
        require_gradient(explained)
        sources = [points, *hidden.values()]
        last = explained.shape[1] - 1
        gradients = [
            torch.autograd.grad(explained[:, target].sum(), sources, retain_graph=target < last, allow_unused=True)
            for target in range(explained.shape[1])
        ]
        of_inputs, *of_layers = (
            torch.stack([torch.zeros_like(source) if part is None else part for part in parts], dim=1)
            for source, *parts in zip(sources, *gradients, strict=True)
        )
        of_inputs, of_layers = _primal(of_inputs).detach(), [_primal(part).detach() for part in of_layers]
    return PathGradients(of_inputs, {name: part.float() for name, part in zip(layers, of_layers, strict=True)}, slopes)


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Derivatives along a direction, with attention that has them: its fused kernels do not."""
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        yield


def _primal(tensor: Tensor) -> Tensor:
    return forward_ad.unpack_dual(tensor).primal


def require_gradient(output: Tensor) -> None:
    """Refuse an output that autograd cannot follow to the input."""
    if not output.requires_grad:
        raise RuntimeError(
            "the output of forward does not depend on its input in a way that autograd can follow; "
            "it must not detach the waveforms, convert them to numpy, or run under no_grad"
        )


def _tangent(tensor: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(tensor).tangent
    return torch.zeros_like(tensor) if tangent is None else tangent.detach().float()
