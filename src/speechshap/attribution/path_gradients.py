"""Gradients at points on the paths from references to utterances: what one chunk of rows costs."""

from collections.abc import Callable, Mapping
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
    with torch.enable_grad():
        if layers and layer_method == "path":
            # The fused attention kernels have no forward-mode derivative.
            with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
                logits, hidden = outputs_of(forward, forward_ad.make_dual(points, differences), lengths, layers)
                slopes = {name: _tangent(layer) for name, layer in hidden.items()}
                logits = forward_ad.unpack_dual(logits).primal
        else:
            logits, hidden = outputs_of(forward, points, lengths, layers)
            slopes = {}
        explained = targets(logits, utterances)  # (R, K)
        require_gradient(explained)
        sources = [points, *hidden.values()]
        last = explained.shape[1] - 1
        gradients = [
            torch.autograd.grad(explained[:, target].sum(), sources, retain_graph=target < last, allow_unused=True)
            for target in range(explained.shape[1])
        ]
    of_inputs, *of_layers = (
        torch.stack([torch.zeros_like(source) if part is None else part for part in parts], dim=1).detach()
        for source, *parts in zip(sources, *gradients, strict=True)
    )
    return PathGradients(of_inputs, {name: part.float() for name, part in zip(layers, of_layers, strict=True)}, slopes)


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
