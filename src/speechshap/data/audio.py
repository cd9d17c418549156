"""Sound files to waveforms: finding, decoding, checks, and normalisation."""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE

MIN_SAMPLES = 400
"""Receptive field of the convolutional stem of WavLM, wav2vec2 and HuBERT: nothing shorter makes a frame."""

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")


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


class AudioFileError(UserError):
    """A sound file that cannot be used; ``path`` and ``reason`` say which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def load_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Decode a sound file to mono float32.

    Channels are averaged; integer formats are scaled to [-1, 1).

    Args:
        path: WAV, FLAC, MP3 or OGG of any sample rate, sample format and number of channels.
        sample_rate: Samples a second of the result (Hz).

    Returns:
        Array of shape ``(time,)``.

    Raises:
        AudioFileError: The file is missing, empty, truncated, not sound, silent, not finite, or shorter than 25 ms.
    """
    import librosa

    samples, native_rate = _decode(Path(path))
    return librosa.resample(samples, orig_sr=native_rate, target_sr=sample_rate)


class AudioFacts(NamedTuple):
    """Properties of a decoded sound file.

    Attributes:
        seconds: Length.
        digest: Digest of the decoded samples and their rate; FLAC and WAV files of the same samples share it.
        envelope: Rises and falls of the energy, see :func:`energy_envelope`; resampled, louder and re-encoded copies of
            a recording have nearly the same.
    """

    seconds: float
    digest: str
    envelope: str


def inspect_audio(path: Path) -> AudioFacts:
    """Properties of a sound file, without the cost of resampling.

    Raises:
        AudioFileError: As :func:`load_audio`.
    """
    samples, rate = _decode(Path(path))
    digest = hashlib.blake2b(samples.astype("<f4").tobytes(), digest_size=8, key=str(rate).encode())
    return AudioFacts(len(samples) / rate, digest.hexdigest(), energy_envelope(samples))


def energy_envelope(samples: np.ndarray) -> str:
    """Whether the energy rises from each of 65 equal parts of a recording to the next: 64 bits, as hexadecimal digits.

    Args:
        samples: ``(time,)``.

    Example:
        >>> energy_envelope(np.arange(1000.0)), energy_envelope(np.arange(1000.0, 0.0, -1.0))
        ('ffffffffffffffff', '0000000000000000')
    """
    starts = np.arange(65) * len(samples) // 65
    counts = np.maximum(1, np.diff([*starts, len(samples)]))
    energies = np.add.reduceat(samples.astype(np.float64) ** 2, starts) / counts
    return np.packbits(np.diff(energies) > 0).tobytes().hex()


def envelope_distance(one: str, other: str) -> int:
    """Number of the 64 bits in which two envelopes of :func:`energy_envelope` differ; about 32 for unrelated sounds.

    Example:
        >>> envelope_distance("00000000000000ff", "000000000000000f")
        4
    """
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _decode(path: Path) -> tuple[np.ndarray, int]:
    import librosa
    import soundfile

    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # Parquet and HTML cannot store such a name.
        shown = Path(os.fsencode(path).decode(errors="replace"))
        raise AudioFileError(shown, "a name that is not UTF-8; rename it") from error
    if path.is_dir():
        raise AudioFileError(path, "a folder, not a sound file")
    if not path.is_file():
        raise AudioFileError(path, "no such file")
    if path.stat().st_size == 0:
        raise AudioFileError(path, "the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(path) as file:
            declared_frames, container = file.frames, file.format
            # With an open file librosa does not fall back to other decoders, whose messages are worse.
            channels, rate = librosa.load(file, sr=None, mono=False, dtype=np.float32)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        known = ", ".join(AUDIO_SUFFIXES)
        reason = str(error).split(": ", 1)[-1].strip().rstrip(".")
        raise AudioFileError(path, f"cannot be decoded as sound ({reason}); expected an intact {known}") from error
    except OSError as error:
        raise AudioFileError(path, f"cannot be read ({error.strerror or error})") from error
    num_samples = channels.shape[-1]
    # The length in the header of an MP3 may be an estimate, that of the others is exact.
    promised = 0.9 * declared_frames if container == "MP3" else declared_frames
    if num_samples < promised or _lacks_wav_bytes(path) or _lacks_ogg_end(path):
        raise AudioFileError(path, "truncated: the file ends before its sound does; copy it again")
    if num_samples * SAMPLE_RATE < MIN_SAMPLES * rate:
        milliseconds = 1000 * num_samples / rate
        raise AudioFileError(path, f"too short: {milliseconds:.1f} ms, while the model needs at least 25 ms")
    if not np.isfinite(channels).all():
        raise AudioFileError(path, "holds samples that are not finite (NaN or infinity)")
    samples = librosa.to_mono(channels)
    if np.ptp(samples) == 0:
        raise AudioFileError(path, "silent: every sample has the same value")
    return samples, int(rate)


def _lacks_wav_bytes(path: Path) -> bool:
    """Whether a RIFF file is shorter than its data chunk declares (libsndfile does not check this)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return False
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                # Programs that write to a pipe do not know the length and write the largest value.
                return length < 0x7FFFFFFF and file.tell() + length > size
            file.seek(length + length % 2, 1)
    return False


def _lacks_ogg_end(path: Path) -> bool:
    """Whether the last page of an Ogg file is not marked as the last one (RFC 3533, section 6)."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - 2 * 65307))  # a page has 65307 bytes at most
        tail = file.read()
    last_page = tail.rfind(b"OggS")
    return last_page < 0 or len(tail) < last_page + 6 or not tail[last_page + 5] & 4


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
