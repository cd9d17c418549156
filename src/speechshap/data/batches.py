"""Batches of any DataLoader, read as utterances."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechshap.data.dataset import UNKNOWN_LABEL, Batch
from speechshap.errors import UserError

_WAVEFORMS = ("waveforms", "waveform", "input_values", "audio")
_LABELS = ("labels", "label")
_IDS = ("ids", "id")
_PATHS = ("paths", "path")

_WAY_OUT = "give `inputs`, a function from a batch to its waveforms or to a dict"


def read_batch(batch: Any, takes_lengths: bool, prefix: str = "") -> Batch:
    """Read the batch of a DataLoader.

    Args:
        batch: A :class:`~speechshap.data.Batch`; waveforms ``(batch, time)``; a tuple of waveforms and labels, of
            waveforms and lengths where the model takes lengths, or of all three in the order waveforms, lengths,
            labels; or a dict with ``waveforms`` or ``input_values``, and, where it has them, ``lengths`` or
            ``attention_mask``, ``labels``, ``ids`` and ``paths``.
        takes_lengths: Whether the model does: what the second of two tensors is then.
        prefix: Of the ids of utterances that have none.

    Raises:
        UserError: The batch cannot be read.

    Example:
        >>> read_batch((torch.zeros(2, 8), torch.tensor([1, 0])), takes_lengths=False, prefix="0-")
        Batch(waveforms=tensor([[0., 0., 0., 0., 0., 0., 0., 0.],
                [0., 0., 0., 0., 0., 0., 0., 0.]]), lengths=tensor([8, 8]), labels=tensor([1, 0]),
              ids=['0-0', '0-1'], paths=['', ''])
    """
    if isinstance(batch, Batch):
        return batch
    if isinstance(batch, Tensor):
        batch = {"waveforms": batch}
    elif isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
        batch = _named(batch, takes_lengths)
        _refuse_labels_as_lengths(batch)
    if not isinstance(batch, Mapping):
        raise UserError(f"a batch is a {type(batch).__name__}; expected a tensor, a tuple or a dict; {_WAY_OUT}")
    waveforms = _first(batch, _WAVEFORMS)
    if not isinstance(waveforms, Tensor) or waveforms.ndim != 2 or not waveforms.is_floating_point():
        shape = tuple(waveforms.shape) if isinstance(waveforms, Tensor) else type(waveforms).__name__
        raise UserError(f"the waveforms of a batch are {shape}; expected floats (batch, time); {_WAY_OUT}")
    count, time = waveforms.shape
    labels = _first(batch, _LABELS)
    if not isinstance(labels, Tensor) or labels.shape != (count,) or labels.is_floating_point():
        labels = torch.full((count,), UNKNOWN_LABEL)
    ids = _first(batch, _IDS)
    paths = _first(batch, _PATHS)
    return Batch(
        waveforms=waveforms,
        lengths=_lengths(batch, count, time),
        labels=labels,
        ids=[f"{prefix}{row}" for row in range(count)] if ids is None else [str(name) for name in ids],
        paths=[""] * count if paths is None else [str(path) for path in paths],
    )


def alone(waveform: Tensor, name: str) -> Batch:
    """A waveform ``(time,)`` as a batch of its own."""
    return Batch(waveform[None], torch.tensor([len(waveform)]), torch.tensor([UNKNOWN_LABEL]), [name], [""])


def select_utterances(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some utterances of a batch, without padding that none of them needs."""
    return Batch(
        waveforms=pad_sequence([batch.waveforms[row, : int(batch.lengths[row])] for row in rows], batch_first=True),
        lengths=batch.lengths[list(rows)],
        labels=batch.labels[list(rows)],
        ids=[batch.ids[row] for row in rows],
        paths=[batch.paths[row] for row in rows],
    )


def _named(parts: Sequence[Any], takes_lengths: bool) -> dict[str, Any]:
    if len(parts) == 2:
        return dict(zip(("waveforms", "lengths" if takes_lengths else "labels"), parts, strict=True))
    return dict(zip(("waveforms", "lengths", "labels"), parts, strict=False))


def _refuse_labels_as_lengths(batch: Mapping[str, Any]) -> None:
    """Lengths reach about as far as the waveforms; the second of two tensors may be labels."""
    waveforms, lengths = batch["waveforms"], batch.get("lengths")
    if not isinstance(waveforms, Tensor) or not isinstance(lengths, Tensor) or lengths.is_floating_point():
        return
    if lengths.numel() and int(lengths.max()) < waveforms.shape[-1] / 4:
        raise UserError(
            f"the second tensor of a batch is {lengths.tolist()}, which is taken for the lengths of waveforms of "
            f"{waveforms.shape[-1]} samples; if these are labels, {_WAY_OUT}"
        )


def _first(batch: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((batch[name] for name in names if batch.get(name) is not None), None)


def _lengths(batch: Mapping[str, Any], count: int, time: int) -> Tensor:
    lengths, mask = batch.get("lengths"), batch.get("attention_mask")
    if lengths is None and mask is not None:
        lengths = mask.long().sum(1)
    if lengths is None:
        return torch.full((count,), time)
    lengths = torch.as_tensor(lengths)
    fits = lengths.shape == (count,) and not lengths.is_floating_point() and lengths.dtype != torch.bool
    if not fits or int(lengths.min()) < 1 or int(lengths.max()) > time:
        raise UserError(
            f"the lengths of a batch are {lengths.tolist()}; expected {count} numbers of samples, from 1 to {time}; "
            f"{_WAY_OUT}"
        )
    return lengths.long()
