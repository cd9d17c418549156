"""Sound files to waveforms: finding, decoding, checks, and normalisation."""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechshap.data.decoding import AUDIO_SUFFIXES, Sound, open_sound
from speechshap.data.decoding import AudioFileError as AudioFileError
from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE

MIN_SAMPLES = 400
"""Shortest sound that is read (25 ms): of less, the stem of WavLM, wav2vec2 and HuBERT makes no frame."""


def find_audio(root: Path) -> list[Path]:
    """Sound files below a folder, recursively, in an order that is the same on every machine.

    Hidden files (such as the ``._x.wav`` that some archives contain) and hidden folders are ignored.

    Raises:
        UserError: The folder is missing or holds no sound file.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder; give the folder of the corpus (`root`)")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; expected a folder of sound, or a .csv or .jsonl manifest")
    files = [path for path in _walk(root) if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise UserError(f"{root}: no sound files in this folder; expected {', '.join(AUDIO_SUFFIXES)} at any depth")
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder; links to folders are followed, except those that lead back to a parent."""
    for folder, subfolders, names in os.walk(root, followlinks=True):
        ancestors = {os.path.realpath(parent) for parent in (Path(folder), *Path(folder).parents)}
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(Path(folder, name)) not in ancestors
        ]
        yield from (Path(folder, name) for name in names)


def load_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Decode a sound file to mono float32.

    Channels are averaged; integer formats are scaled to [-1, 1). What is kept of a long recording is the result alone.

    Args:
        path: Sound of any sample rate, sample format and number of channels: WAV, FLAC, MP3, Ogg, Opus, AIFF, CAF, W64,
            RF64 or AU; and, with the extra ``media``, M4A, AAC, AMR, WMA and the first sound track of MP4, MOV, WebM,
            MKV or 3GP, which starts at its own first sample.
        sample_rate: Samples a second of the result (Hz).

    Returns:
        Array of shape ``(time,)``.

    Raises:
        AudioFileError: The file is missing, empty, truncated, not sound, not finite, or shorter than 25 ms.
    """
    with open_sound(Path(path)) as sound:
        return resample(_mono_blocks(Path(path), sound), sound.rate, sample_rate)


def resample(blocks: Iterable[np.ndarray], rate: float, sample_rate: float = SAMPLE_RATE) -> np.ndarray:
    """Samples at another rate; what is kept beside the result does not grow with the length.

    Args:
        blocks: Samples ``(time,)`` float32, one block after the other.
        rate: Of the blocks (Hz).
        sample_rate: Of the result (Hz).

    Returns:
        ``(time,)``.

    Example:
        >>> resample([np.zeros(8000, np.float32), np.zeros(1, np.float32)], 8000, 16000).shape
        (16002,)
    """
    import soxr

    if rate == sample_rate:
        return np.concatenate(list(blocks))
    resampler = soxr.ResampleStream(rate, sample_rate, num_channels=1, dtype="float32", quality="HQ")
    count, parts = 0, []
    for block in blocks:
        count += len(block)
        parts.append(resampler.resample_chunk(block))
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    length = math.ceil(count * (sample_rate / rate))
    missing = max(0, length - sum(map(len, parts)))
    return np.concatenate([*parts, np.zeros(missing, np.float32)])[:length]


class AudioFacts(NamedTuple):
    """Properties of a decoded sound file.

    Attributes:
        seconds: Length.
        digest: Digest of the decoded samples and their rate; FLAC and WAV files of the same samples share it.
        envelope: Rises and falls of the energy, see :func:`energy_envelope`; resampled, louder and re-encoded copies of
            a recording have nearly the same.
        is_silent: Whether every sample has the same value.
    """

    seconds: float
    digest: str
    envelope: str
    is_silent: bool


def inspect_audio(path: Path) -> AudioFacts:
    """Properties of a sound file, without the cost of resampling.

    Raises:
        AudioFileError: As :func:`load_audio`.
    """
    path = Path(path)
    with open_sound(path) as sound:
        digest = hashlib.blake2b(digest_size=8, key=str(sound.rate).encode())
        count, low, high = 0, np.inf, -np.inf

        def digested() -> Iterator[np.ndarray]:
            nonlocal count, low, high
            for block in _mono_blocks(path, sound):
                digest.update(block.astype("<f4", copy=False).data)
                count += len(block)
                low, high = min(low, block.min()), max(high, block.max())
                yield block

        envelope = energy_envelope(digested(), sound.declared_samples)
    if count != sound.declared_samples:  # where the parts begin is known only now
        with open_sound(path) as again:
            envelope = energy_envelope(_mono_blocks(path, again), count)
    return AudioFacts(count / sound.rate, digest.hexdigest(), envelope, bool(low == high))


def _mono_blocks(path: Path, sound: Sound) -> Iterator[np.ndarray]:
    """Blocks ``(time,)`` of the mean of the channels.

    Raises:
        AudioFileError: After the last block, if the recording is too short or not finite.
    """
    count, is_finite = 0, True
    for block in sound.blocks:
        mono = np.ascontiguousarray(block[:, 0]) if block.shape[1] == 1 else block.mean(axis=1)
        count += len(mono)
        is_finite = is_finite and bool(np.isfinite(block).all())
        yield mono
    if count * SAMPLE_RATE < MIN_SAMPLES * sound.rate:
        milliseconds = 1000 * count / sound.rate
        raise AudioFileError(path, f"too short: {milliseconds:.1f} ms; expected 25 ms at least")
    if not is_finite:
        raise AudioFileError(path, "holds samples that are not finite (NaN or infinity)")


def energy_envelope(blocks: Iterable[np.ndarray], num_samples: int) -> str:
    """Whether the energy rises from each of 65 equal parts of a recording to the next: 64 bits, as hexadecimal digits.

    Args:
        blocks: Samples ``(time,)``, one block after the other.
        num_samples: Samples of all blocks.

    Example:
        >>> energy_envelope([np.arange(600.0), np.arange(600.0, 1000.0)], 1000)
        'ffffffffffffffff'
        >>> energy_envelope([np.arange(1000.0, 0.0, -1.0)], 1000)
        '0000000000000000'
    """
    bounds = np.arange(66) * num_samples // 65
    energies, first = np.zeros(65), 0
    for block in blocks:
        within = np.clip(bounds - first, 0, len(block))
        parts = np.flatnonzero(np.diff(within))
        if len(parts):
            squares = block[: within[-1]].astype(np.float64) ** 2
            energies[parts] += np.add.reduceat(squares, within[parts])
        first += len(block)
    return np.packbits(np.diff(energies / np.maximum(1, np.diff(bounds))) > 0).tobytes().hex()


def envelope_distance(one: str, other: str) -> int:
    """Number of the 64 bits in which two envelopes of :func:`energy_envelope` differ; about 32 for unrelated sounds.

    Example:
        >>> envelope_distance("00000000000000ff", "000000000000000f")
        4
    """
    return (int(one, 16) ^ int(other, 16)).bit_count()


def normalize_waveforms(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Scale each utterance to mean 0 and variance 1 over its own samples; padding stays 0.

    The same as ``do_normalize`` of the wav2vec2 feature extractor, but differentiable and independent of padding.

    Args:
        waveforms: ``(batch, time)``, zero-padded.
        lengths: ``(batch,)`` samples of each utterance.

    Returns:
        ``(batch, time)``.

    Example:
        >>> normalize_waveforms(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2])).round(decimals=3) + 0.0
        tensor([[-1.,  1.,  0.]])
    """
    mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]  # (batch, time)
    count = lengths[:, None].to(waveforms.dtype)
    mean = (waveforms * mask).sum(1, keepdim=True) / count
    centred = (waveforms - mean) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-7)
