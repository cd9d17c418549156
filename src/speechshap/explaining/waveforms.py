"""Waveforms as people have them in Python, as one kind of array."""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechshap.data.audio import load_audio, resample
from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE

Waveform = Tensor | np.ndarray | Sequence[float] | str | Path

_LOWEST_RATE = 1000
_FULL_SCALE = {"int16": 2**15, "int32": 2**31}
"""What integers are divided by: those of a WAV file, as other programs read them."""


def read_waveform(waveform: Waveform, sample_rate: float = SAMPLE_RATE) -> np.ndarray:
    """A waveform as mono float32 at 16 kHz.

    Args:
        waveform: ``(time,)``, ``(1, time)`` or ``(time, 1)`` of floats from -1 to 1 or of 16-bit or 32-bit integers, as
            a tensor, an array or a list; or the path of a sound file.
        sample_rate: Of a tensor, an array or a list (Hz).

    Returns:
        ``(time,)``.

    Raises:
        UserError: It is none of these, empty, or not finite.
        AudioFileError: The file cannot be used.

    Example:
        >>> read_waveform(np.array([0, 16384, -32768], dtype=np.int16))
        array([ 0. ,  0.5, -1. ], dtype=float32)
        >>> read_waveform(torch.zeros(2, 8000))
        Traceback (most recent call last):
        speechshap.errors.UserError: `waveform` has shape (2, 8000); expected (time,): average the channels of a ...
    """
    is_rate = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
    if not is_rate or not _LOWEST_RATE <= sample_rate < float("inf"):
        raise UserError(f"`sample_rate` is {sample_rate!r}; expected samples a second (Hz), {_LOWEST_RATE} at least")
    if isinstance(waveform, str | Path):
        return load_audio(Path(waveform))
    samples = _as_float32(waveform)
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1:
        raise UserError(
            f"`waveform` has shape {samples.shape}; expected (time,): average the channels of a recording, and explain "
            "recordings one by one"
        )
    if not samples.size:
        raise UserError("`waveform` is empty; expected samples")
    if not np.isfinite(samples).all():
        raise UserError("`waveform` holds samples that are not finite (NaN or infinity)")
    return resample([samples], sample_rate)


def _as_float32(waveform: object) -> np.ndarray:
    if isinstance(waveform, Tensor):
        waveform = waveform.detach().cpu()
        waveform = waveform.to(torch.float32) if waveform.is_floating_point() else waveform
    try:
        samples = np.asarray(waveform)
    except ValueError:  # rows of different lengths
        samples = np.asarray(None)
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is told later
            return samples.astype(np.float32)
    if samples.dtype.name in _FULL_SCALE:
        return samples.astype(np.float32) / _FULL_SCALE[samples.dtype.name]
    kind = type(waveform).__name__ if samples.dtype.kind == "O" else samples.dtype.name
    raise UserError(
        f"`waveform` is of type {kind}; expected floats from -1 to 1, int16 or int32, or the path of a sound file"
    )
