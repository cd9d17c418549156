"""One call of the model: outputs of rows, and their gradients."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechshap.attribution.layers import caught_outputs
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError

Forward = Callable[[Tensor, Tensor], Tensor]
"""Classifier: waveforms ``(batch, time)`` and lengths ``(batch,)`` int64 to logits ``(batch, classes)``."""


class Outputs(NamedTuple):
    """Logits ``(R, classes)`` and layer outputs ``(R, ...)`` of rows."""

    logits: Tensor
    layers: dict[str, Tensor]


class Gradients(NamedTuple):
    """Gradients of one explained output at points.

    Attributes:
        inputs: ``(R, T)``.
        layers: ``(R, ...)`` for each layer.
        layer_slopes: How the layers change in the given directions, ``(R, ...)`` each, the same for every output; empty
            without directions.
    """

    inputs: Tensor
    layers: dict[str, Tensor]
    layer_slopes: dict[str, Tensor]


def outputs_of(forward: Forward, waveforms: Tensor, lengths: Tensor, layers: Mapping[str, nn.Module]) -> Outputs:
    """Call ``forward`` for rows ``(R, T)`` and keep the outputs of the layers.

    Raises:
        ValueError: The output is no tensor ``(R, classes)``, a layer did not run, or its output does not have the rows
            first.
    """
    with caught_outputs(layers) as caught:
        logits = forward(waveforms, lengths)
    _check_logits(logits, len(waveforms))
    for name in layers:
        if name not in caught:
            raise UserError(f"`layers`: layer {name} did not run within forward; give a module that the model calls")
        if caught[name].shape[:1] != waveforms.shape[:1]:
            raise ValueError(
                f"the output of layer {name} has shape {tuple(caught[name].shape)} for {len(waveforms)} waveforms; "
                "expected these in its first dimension (recurrent layers have `batch_first=True`)"
            )
    return Outputs(logits.float(), {name: caught[name] for name in layers})


def gradients_of(
    forward: Forward,
    points: Tensor,
    lengths: Tensor,
    utterances: Tensor,
    targets: Targets,
    layers: Mapping[str, nn.Module],
    directions: Tensor | None = None,
) -> Iterator[Gradients]:
    """Gradients for all layers from one forward pass, and one backward pass for each target.

    Those of a target are computed when they are asked for, so that memory need not hold those of all.

    Args:
        forward: Classifier.
        points: ``(R, T)``.
        lengths: ``(R,)``.
        utterances: ``(R,)`` utterance of each row.
        targets: What is explained.
        layers: Modules to take gradients at.
        directions: ``(R, T)``; how the layers change in these is computed in the same forward pass.

    Yields:
        The gradients of one target after the other.

    Raises:
        RuntimeError: The output does not depend on the points.
        UserError: There are directions and autocast.
    """
    points = points.detach().requires_grad_()
    slopes: dict[str, Tensor] = {}
    with torch.enable_grad():
        if layers and directions is not None:
            refuse_autocast(points.device)
            # The fused attention kernels have no forward-mode derivative.
            with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
                logits, hidden = outputs_of(forward, forward_ad.make_dual(points, directions), lengths, layers)
                slopes = {name: _tangent(layer) for name, layer in hidden.items()}
                logits = forward_ad.unpack_dual(logits).primal
        else:
            logits, hidden = outputs_of(forward, points, lengths, layers)
        explained = targets(logits, utterances).unbind(1)
        if not explained[0].requires_grad:
            raise RuntimeError(
                "the output of forward does not depend on its input in a way that autograd can follow; "
                "it must not detach the waveforms, convert them to numpy, or run under no_grad"
            )
    # A layer that does not hear the points is no part of the graph, and its gradient is 0.
    heard = [layer if layer.requires_grad else layer.detach().requires_grad_() for layer in hidden.values()]
    sources = [points, *heard]
    for number, output in enumerate(explained, start=1):
        of_inputs, *of_layers = torch.autograd.grad(
            output.sum(), sources, retain_graph=number < len(explained), allow_unused=True, materialize_grads=True
        )
        yield Gradients(of_inputs, {name: part.float() for name, part in zip(layers, of_layers, strict=True)}, slopes)
        del of_inputs, of_layers  # before those of the next target are computed


def refuse_autocast(device: torch.device) -> None:
    """Raise a UserError where autocast is on, whose casts have no forward-mode derivative (``layer_method`` path)."""
    if torch.is_autocast_enabled(device.type):
        raise UserError(
            '`layer_method` is "path", whose forward-mode derivatives PyTorch does not have under autocast; '
            'expected "endpoint", or a precision of 32 bits'
        )


def _check_logits(logits: Any, rows: int) -> None:
    if not isinstance(logits, Tensor):
        way_out = "lambda waveforms, lengths: model(waveforms, lengths)"
        if hasattr(logits, "logits"):
            way_out += ".logits"
        elif isinstance(logits, tuple | list):
            way_out += "[0]"
        raise ValueError(
            f"forward gave a {type(logits).__name__}; expected the logits alone, a tensor (batch, classes). Wrap the "
            f"model in a function that picks them, such as `{way_out}`"
        )
    if logits.ndim != 2 or len(logits) != rows or logits.shape[1] == 0:
        raise ValueError(f"forward gave {tuple(logits.shape)} for {rows} waveforms; expected ({rows}, classes)")


def _tangent(tensor: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(tensor).tangent
    return torch.zeros_like(tensor) if tangent is None else tangent.detach().float()
