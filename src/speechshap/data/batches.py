"""Batches of any DataLoader, read as utterances."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechshap.data.audio import MIN_SAMPLES
from speechshap.data.dataset import UNKNOWN_LABEL, Batch
from speechshap.errors import UserError

_WAVEFORMS = ("waveforms", "waveform", "input_values", "audio")
_LABELS = ("labels", "label")
_IDS = ("ids", "id")
_PATHS = ("paths", "path")
_SPEAKERS = ("speakers", "speaker")

_WAY_OUT = "give `inputs`, a function from a batch to its waveforms or to a dict"


def read_batch(batch: Any, takes_lengths: bool, prefix: str = "") -> Batch:
    """Read the batch of a DataLoader.

    Args:
        batch: A :class:`speechshap.data.Batch`; waveforms ``(batch, time)``; a tuple of waveforms and labels, of
            waveforms and lengths, or of all three in the order waveforms, lengths, labels; or a dict with ``waveforms``
            or ``input_values``, and, where it has them, ``lengths`` or ``attention_mask``, ``labels``, ``ids``,
            ``paths`` and ``speakers``.
        takes_lengths: Whether the model does. Of two tensors the second is then taken for lengths if it has integers
            up to ``time`` of which the largest is ``time`` (the longest utterance of a batch has no padding) or none is
            below 400 (25 ms, and no label is as large); in all other cases it is taken for labels.
        prefix: Of the ids of utterances that have none.

    Returns:
        The batch, with lengths and labels on the device of the waveforms. Labels other than one integer for each
        utterance are unknown.

    Raises:
        UserError: The batch cannot be read, is padded elsewhere than at the end, or has an id twice.

    Example:
        >>> read_batch((torch.zeros(2, 8), torch.tensor([1, 0])), takes_lengths=False, prefix="0-")
        Batch(waveforms=tensor([[0., 0., 0., 0., 0., 0., 0., 0.],
                [0., 0., 0., 0., 0., 0., 0., 0.]]), lengths=tensor([8, 8]), labels=tensor([1, 0]),
              ids=['0-0', '0-1'], paths=['', ''], speakers=['', ''], stretches=())
    """
    if isinstance(batch, Batch):
        _names(batch.ids, "ids", len(batch.waveforms), unique=True)
        return batch
    if isinstance(batch, Tensor):
        batch = {"waveforms": batch}
    elif isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
        batch = _named(batch, takes_lengths)
    if not isinstance(batch, Mapping):
        raise UserError(f"a batch is a {type(batch).__name__}; expected a tensor, a tuple or a dict; {_WAY_OUT}")
    waveforms = _first(batch, _WAVEFORMS)
    is_sound = isinstance(waveforms, Tensor) and waveforms.is_floating_point() and waveforms.numel()
    if not is_sound or waveforms.ndim != 2:
        shape = tuple(waveforms.shape) if isinstance(waveforms, Tensor) else type(waveforms).__name__
        raise UserError(f"the waveforms of a batch are {shape}; expected floats (batch, time); {_WAY_OUT}")
    count, time = waveforms.shape
    labels = _integers(_first(batch, _LABELS), count)
    ids = _first(batch, _IDS)
    paths, speakers = _first(batch, _PATHS), _first(batch, _SPEAKERS)
    return Batch(
        waveforms=waveforms,
        lengths=_lengths(batch, count, time).to(waveforms.device),
        labels=(torch.full((count,), UNKNOWN_LABEL) if labels is None else labels).to(waveforms.device),
        ids=[f"{prefix}{row}" for row in range(count)] if ids is None else _names(ids, "ids", count, unique=True),
        paths=[""] * count if paths is None else _names(paths, "paths", count),
        speakers=[""] * count if speakers is None else _names(speakers, "speakers", count),
    )


def alone(waveform: Tensor, name: str) -> Batch:
    """A waveform ``(time,)`` as a batch of its own."""
    return read_batch({"waveforms": waveform[None], "ids": [name]}, takes_lengths=True)


def select_utterances(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some utterances of a batch, without padding that none of them needs; the batch itself where that is all of it."""
    if list(rows) == list(range(len(batch.ids))) and int(batch.lengths.max()) == batch.waveforms.shape[1]:
        return batch
    return Batch(
        waveforms=pad_sequence([batch.waveforms[row, : int(batch.lengths[row])] for row in rows], batch_first=True),
        lengths=batch.lengths[list(rows)],
        labels=batch.labels[list(rows)],
        ids=[batch.ids[row] for row in rows],
        paths=[batch.paths[row] for row in rows],
        speakers=[batch.speakers[row] for row in rows],
        stretches=[batch.stretches[row] for row in rows] if batch.stretches else (),
    )


def _named(parts: Sequence[Any], takes_lengths: bool) -> dict[str, Any]:
    names: tuple[str, ...] = ("waveforms", "lengths", "labels")
    if len(parts) == 2 and not (takes_lengths and _are_lengths(parts[1], parts[0])):
        names = ("waveforms", "labels")
    return dict(zip(names, parts, strict=False))


def _are_lengths(values: Any, waveforms: Any) -> bool:
    """Whether values are numbers of samples rather than labels, see :func:`read_batch`."""
    if not isinstance(waveforms, Tensor) or not waveforms.numel():
        return False
    integers = _integers(values, len(waveforms))
    if integers is None:
        return False
    smallest, largest, time = integers.min().item(), integers.max().item(), waveforms.shape[-1]
    return largest == time or (smallest >= MIN_SAMPLES and largest < time)


def _first(batch: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((batch[name] for name in names if batch.get(name) is not None), None)


def _integers(values: Any, count: int) -> Tensor | None:
    """Values as int64 ``(count,)``; None if they are anything else than an integer for each utterance."""
    try:
        integers = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    is_integer = not integers.is_floating_point() and not integers.is_complex() and integers.dtype != torch.bool
    return integers.long() if is_integer and integers.shape == (count,) else None


def _lengths(batch: Mapping[str, Any], count: int, time: int) -> Tensor:
    given, mask = batch.get("lengths"), batch.get("attention_mask")
    if given is None and mask is not None:
        given = _lengths_of_mask(torch.as_tensor(mask), count, time)
    if given is None:
        return torch.full((count,), time)
    lengths = _integers(given, count)
    if lengths is None or lengths.min().item() < 1 or lengths.max().item() > time:
        shown = given.tolist() if isinstance(given, Tensor) else given
        raise UserError(
            f"the lengths of a batch are {shown}; expected {count} numbers of samples, from 1 to {time}; {_WAY_OUT}"
        )
    return lengths


def _lengths_of_mask(mask: Tensor, count: int, time: int) -> Tensor:
    if mask.shape != (count, time):
        raise UserError(
            f"the attention_mask of a batch is {tuple(mask.shape)}; expected {(count, time)} as the waveforms; "
            f"{_WAY_OUT}"
        )
    lengths = mask.bool().sum(1)
    if not torch.equal(mask.bool(), torch.arange(time, device=mask.device) < lengths[:, None]):
        raise UserError(
            "the attention_mask of a batch has zeros before ones; utterances have to start at the first sample of "
            'their row: pad them at the end (`padding_side="right"` of a feature extractor)'
        )
    return lengths


def _names(given: Any, what: str, count: int, unique: bool = False) -> list[str]:
    names = [] if isinstance(given, str) else [str(name) for name in given]
    if len(names) != count or (unique and len(set(names)) != count):
        different = "different " if unique else ""
        raise UserError(f"the {what} of a batch are {given!r}; expected {count} {different}names; {_WAY_OUT}")
    return names
