"""Arguments that do not fit each other, told before the model is asked anything."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.attribution.baselines import NAMED_BASELINES
from speechshap.attribution.sampling import POINTS_PER_REPLICATE
from speechshap.attribution.targets import NO_CLASS

_INTEGERS = (torch.int64, torch.int32)


def check_waveforms(inputs: Tensor) -> None:
    """Shape and type of the waveforms."""
    if not isinstance(inputs, Tensor):
        raise ValueError(f"inputs are a {type(inputs).__name__}; expected a tensor (batch, time)")
    if inputs.ndim != 2 or inputs.numel() == 0 or not inputs.is_floating_point():
        raise ValueError(f"inputs have shape {tuple(inputs.shape)} and {inputs.dtype}; expected float (batch, time)")


def check_batch(inputs: Tensor, lengths: Tensor, ids: Sequence[str]) -> None:
    """Lengths and names of the waveforms."""
    batch, time = inputs.shape
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"lengths have shape {tuple(lengths.shape)} and {lengths.dtype}; expected int64 ({batch},)")
    if int(lengths.min()) < 1 or int(lengths.max()) > time:
        raise ValueError(f"lengths are {lengths.tolist()}; expected {batch} numbers from 1 to {time}")
    if len(ids) != batch or len(set(ids)) != batch:
        raise ValueError(f"ids are {list(ids)}; expected {batch} different names")
    for name, waveform, length in zip(ids, inputs, lengths.tolist(), strict=True):
        if not bool(waveform[:length].isfinite().all()):
            raise ValueError(f"the waveform of utterance {name} is not finite")


def check_choice(name: str, value: object, legal: Sequence[object]) -> None:
    """One of a few words."""
    if value not in legal:
        raise ValueError(f"{name} is {value!r}; expected {', '.join(map(repr, legal))}")


def check_samples(n_samples: object, scheme: str, chunk_size: int | None, tolerance: float, max_samples: int) -> None:
    """Numbers of samples that make an error bar."""
    least = 2 * POINTS_PER_REPLICATE[scheme]
    if n_samples == "auto":
        if not tolerance > 0:
            raise ValueError(f"tolerance is {tolerance}; expected a relative error above 0")
        if max_samples < least:
            raise ValueError(
                f"max_samples is {max_samples}; an error bar needs {least} at least with {scheme} sampling"
            )
    elif not isinstance(n_samples, int) or n_samples < least:
        raise ValueError(
            f"n_samples is {n_samples!r}; expected 'auto', or {least} at least: an error bar needs two references, "
            f"each with {POINTS_PER_REPLICATE[scheme]} of the samples in {scheme} sampling"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; expected 1 at least, or None")


def check_baselines(baselines: str | Callable[..., Tensor] | Tensor, alphas: Tensor | None, time: int) -> None:
    """References, and the draws of the caller if there are any."""
    if not isinstance(baselines, str | Tensor) and not callable(baselines):
        raise ValueError(f"baselines are a {type(baselines).__name__}; expected a name, a callable or a tensor")
    if isinstance(baselines, str):
        check_choice("baselines", baselines, list(NAMED_BASELINES))
    if isinstance(baselines, Tensor) and (baselines.ndim != 2 or baselines.numel() == 0):
        raise ValueError(f"baselines have shape {tuple(baselines.shape)}; expected (references, time)")
    if isinstance(baselines, Tensor) and not bool(baselines.isfinite().all()):
        raise ValueError("baselines are not finite")
    if alphas is None:
        return
    if not isinstance(baselines, Tensor) or baselines.shape != (len(alphas), time):
        raise ValueError(f"given alphas take baselines as a tensor ({len(alphas)}, {time}), one for each")
    if alphas.ndim != 1 or not bool(((alphas >= 0) & (alphas <= 1)).all()):
        raise ValueError("alphas are not numbers from 0 to 1 in one dimension")


def check_layers(layers: Mapping[str, Any]) -> None:
    """Modules by name."""
    if not isinstance(layers, Mapping):
        raise ValueError(f"layers are a {type(layers).__name__}; expected modules by name, {{'last': module}}")
    for name, layer in layers.items():
        if not isinstance(layer, nn.Module):
            raise ValueError(f"layer {name!r} is a {type(layer).__name__}; expected a module that forward calls")


def check_targets(targets: Tensor, against: Tensor, output: str, logits: Tensor) -> None:
    """Classes that the model has; the only check that needs its output."""
    batch, classes = logits.shape
    if output != "logit" and classes < 2:
        raise ValueError(f"the model has one output; {output} needs two classes at least")
    for name, value, least in (("targets", targets, 0), ("against", against, NO_CLASS)):
        if value.ndim != 2 or len(value) != batch or value.shape[1] == 0 or value.dtype not in _INTEGERS:
            raise ValueError(f"{name} have shape {tuple(value.shape)} and {value.dtype}; expected int64 ({batch}, K)")
        if int(value.min()) < least or int(value.max()) >= classes:
            raise ValueError(f"{name} are {value.unique().tolist()}; the model has the classes 0 to {classes - 1}")
    if targets.shape != against.shape:
        raise ValueError(f"against has shape {tuple(against.shape)}; expected that of targets, {tuple(targets.shape)}")
    if bool((targets == against).any()):
        raise ValueError("a target is contrasted with itself")
