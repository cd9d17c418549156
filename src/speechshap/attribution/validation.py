"""Checks of arguments, before the first evaluation of the model."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.attribution.errors import NonFiniteWaveformError
from speechshap.attribution.gradients import Forward
from speechshap.attribution.segments import Segments

_INTEGERS = (torch.int64, torch.int32)


def check_waveforms(waveforms: Tensor) -> None:
    """Look at the shape and the type of waveforms.

    Raises:
        ValueError: They are no float tensor ``(batch, time)``.
    """
    if not isinstance(waveforms, Tensor):
        raise ValueError(f"the waveforms are a {type(waveforms).__name__}; expected a tensor (batch, time)")
    if waveforms.ndim != 2 or waveforms.numel() == 0 or not waveforms.is_floating_point():
        raise ValueError(
            f"the waveforms have shape {tuple(waveforms.shape)} and {waveforms.dtype}; expected float (batch, time)"
        )


def as_lengths(lengths: Tensor | Sequence[int] | None, waveforms: Tensor) -> list[int]:
    """Samples of each utterance; all of ``time`` where none are given.

    Args:
        lengths: ``(batch,)`` integers, or None.
        waveforms: ``(batch, time)``.

    Raises:
        ValueError: They are of another shape or type, or an utterance has none or more than ``time``.

    Example:
        >>> as_lengths(torch.tensor([2, 3]), torch.zeros(2, 3)), as_lengths(None, torch.zeros(2, 3))
        ([2, 3], [3, 3])
    """
    batch, time = waveforms.shape
    if lengths is None:
        return [time] * batch
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch,) or lengths.dtype not in _INTEGERS:
        raise ValueError(f"`lengths` have shape {tuple(lengths.shape)} and {lengths.dtype}; expected int64 ({batch},)")
    if int(lengths.min()) < 1 or int(lengths.max()) > time:
        raise ValueError(f"`lengths` are {lengths.tolist()}; expected {batch} numbers from 1 to {time}")
    return lengths.tolist()


def as_ids(ids: Sequence[str] | None, batch: int) -> list[str]:
    """Names of the utterances; their numbers where none are given.

    Args:
        ids: Names, or None.
        batch: Utterances.

    Raises:
        ValueError: There are not as many different names.

    Example:
        >>> as_ids(["b", "a"], 2), as_ids(None, 2)
        (['b', 'a'], ['0', '1'])
    """
    if ids is None:
        return [str(index) for index in range(batch)]
    if isinstance(ids, str):
        raise ValueError(f"`ids` is the string {ids!r}; expected a list of {batch} different names")
    if len(ids) != batch or len(set(ids)) != batch:
        raise ValueError(f"`ids` are {list(ids)}; expected {batch} different names")
    return list(ids)


def check_finite(waveforms: Tensor, lengths: Sequence[int], ids: Sequence[str]) -> None:
    """Look whether every sample is a number.

    Args:
        waveforms: ``(batch, time)``.
        lengths: Samples of each utterance; the padding is not looked at.
        ids: Names of the utterances.

    Raises:
        NonFiniteWaveformError: One is not; the error names the utterance.
    """
    for name, waveform, length in zip(ids, waveforms, lengths, strict=True):
        if not bool(waveform[:length].isfinite().all()):
            raise NonFiniteWaveformError(name)


def check_layers(layers: Mapping[str, Any]) -> None:
    """Look whether layers are modules by name.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(layers, Mapping):
        raise ValueError(f"`layers` are a {type(layers).__name__}; expected modules by name, {{'last': module}}")
    for name, layer in layers.items():
        if not isinstance(layer, nn.Module):
            raise ValueError(f"layer {name!r} is a {type(layer).__name__}; expected a module that forward calls")


def as_segments(segments: Sequence[Segments] | None, batch: int) -> list[list[tuple[int, int]]]:
    """Segments of each utterance; none where None is given.

    Raises:
        ValueError: They are not for as many utterances.

    Example:
        >>> as_segments([[(0, 2)], []], 2), as_segments(None, 1)
        ([[(0, 2)], []], [[]])
    """
    if segments is None:
        return [[] for _ in range(batch)]
    if len(segments) != batch:
        raise ValueError(f"`segments` are of {len(segments)} utterances; expected those of {batch}")
    return [list(own) for own in segments]


def as_forward(forward: Callable[..., Tensor], lengths: Sequence[int]) -> Forward:
    """The classifier as a function of waveforms and lengths.

    One that takes waveforms alone is called with these: it does not know where padding begins, so that the
    utterances have to be equally long.

    Args:
        forward: As the caller gave it.
        lengths: Samples of each utterance.

    Raises:
        ValueError: It takes other arguments, or waveforms alone where the utterances differ in length.

    Example:
        >>> forward = as_forward(lambda waveforms: waveforms.mean(1, keepdim=True), [3, 3])
        >>> forward(torch.ones(2, 3), torch.tensor([3, 3])).shape
        torch.Size([2, 1])
    """
    if not callable(forward):
        raise ValueError(f"`forward` is a {type(forward).__name__}; expected a function of waveforms and lengths")
    try:
        signature = inspect.signature(forward.forward if isinstance(forward, nn.Module) else forward)
    except (TypeError, ValueError):  # some callables have no signature
        return forward
    positional = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if positional[1:2] == ["attention_mask"]:
        raise ValueError(
            "`forward` takes an attention_mask as its second argument; wrap it in a function of waveforms and lengths "
            "that makes the mask and returns the logits"
        )
    if _takes(signature, 2):
        return forward
    if not _takes(signature, 1):
        raise ValueError(f"`forward` takes {signature}; expected (waveforms, lengths), or (waveforms) alone")
    if len(set(lengths)) > 1:
        raise ValueError(
            f"`forward` takes {signature}, no lengths, and the utterances are of different lengths, {list(lengths)}; "
            "give a function of waveforms and lengths that does not look at padding, or one utterance at a time"
        )
    return partial(_without_lengths, forward)


def _without_lengths(forward: Callable[[Tensor], Tensor], waveforms: Tensor, _: Tensor) -> Tensor:
    return forward(waveforms)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
