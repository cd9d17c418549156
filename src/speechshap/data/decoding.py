"""Sound files to blocks of samples: through libsndfile or, what phones and browsers record, through FFmpeg."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechshap.data.containers import ends_early
from speechshap.errors import UserError

SNDFILE_SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc", ".caf", ".w64", ".rf64", ".au",
)  # fmt: skip
"""What libsndfile reads."""

MEDIA_SUFFIXES = (".m4a", ".aac", ".mp4", ".mov", ".webm", ".mkv", ".3gp", ".amr", ".wma")
"""What FFmpeg reads, which the package av brings along: the extra ``media``."""

AUDIO_SUFFIXES = SNDFILE_SUFFIXES + MEDIA_SUFFIXES

_BLOCK = 1 << 20
"""Samples of each channel that are decoded at a time; most recordings are one block."""

_FFMPEG_OPTIONS = {
    # No playlists, whose entries FFmpeg would open wherever they lead.
    "format_whitelist": "mov,matroska,aac,amr,asf,caf",
    "protocol_whitelist": "none",
}

_ESTIMATED = ("aac", "amr")
"""Formats without a length, for which FFmpeg estimates one."""

NO_FILE = "no such file"
"""Why a file is left out that is not there."""

NEEDS_MEDIA = "needs the decoder of speechshap[media]: pip install 'speechshap[media]'"
"""Why a file is left out that only FFmpeg reads, where it is not installed."""

_CUT_OFF = "truncated: the file ends before its sound does; copy it again"


class AudioFileError(UserError):
    """A sound file that cannot be used; ``path`` and ``reason`` say which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Sound(NamedTuple):
    """A sound file that is being decoded.

    Attributes:
        rate: Sample rate (Hz).
        declared_samples: Length as the file has it, which may be an estimate; 0 where it does not say.
        blocks: Samples ``(time, channels)`` float32, one block after the other, each channel in [-1, 1) if the format
            is an integer one.
    """

    rate: int
    declared_samples: int
    blocks: Iterator[np.ndarray]


@contextmanager
def open_sound(path: Path) -> Iterator[Sound]:
    """Open a sound file; its blocks are decoded as they are asked for, so that memory does not grow with its length.

    Raises:
        AudioFileError: The file is missing, empty, or cannot be decoded to its end; also while blocks are read.
    """
    _check_exists(path)
    try:
        if ends_early(path):
            raise AudioFileError(path, _CUT_OFF)
        with _open_media(path) if _needs_ffmpeg(path) else _open_sndfile(path) as sound:
            yield sound
    except OSError as error:
        raise AudioFileError(path, f"cannot be read ({error.strerror or error})") from error


def _check_exists(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # Parquet and HTML cannot store such a name.
        shown = Path(os.fsencode(path).decode(errors="replace"))
        raise AudioFileError(shown, "a name that is not UTF-8; rename it") from error
    if path.is_dir():
        raise AudioFileError(path, "a folder, not a sound file")
    if not path.is_file():
        raise AudioFileError(path, NO_FILE)
    if path.stat().st_size == 0:
        raise AudioFileError(path, "the file is empty (0 bytes)")


def _needs_ffmpeg(path: Path) -> bool:
    """Whether libsndfile cannot read a file by its kind; CAF may hold AAC, which it does not know."""
    import soundfile

    suffix = path.suffix.lower()
    if suffix != ".caf":
        return suffix in MEDIA_SUFFIXES
    try:
        soundfile.info(path)
    except soundfile.SoundFileError:
        return True
    return False


def _undecodable(path: Path, reason: str) -> AudioFileError:
    told = reason.strip().rstrip(".") or "damaged, or not what its name says"
    return AudioFileError(path, f"cannot be decoded as sound ({told}); expected an intact {', '.join(AUDIO_SUFFIXES)}")


@contextmanager
def _open_sndfile(path: Path) -> Iterator[Sound]:
    import soundfile

    if path.suffix.lower() == ".raw":
        raise AudioFileError(path, "raw samples without a header that tells their rate; expected a format with one")
    try:
        with soundfile.SoundFile(path) as file:
            yield Sound(file.samplerate, file.frames, _sndfile_blocks(path, file))
    except soundfile.SoundFileError as error:
        raise _undecodable(path, str(error).split(": ", 1)[-1]) from error


def _sndfile_blocks(path: Path, file: Any) -> Iterator[np.ndarray]:
    count = 0
    file.seekable = lambda: False  # else soundfile seeks after each block, which sets back the decoder of MP3
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        count += len(block)
        yield block
    # The length in the header of an MP3 may be an estimate, that of the others is exact.
    if count < (0.9 if file.format == "MP3" else 1) * file.frames:
        raise AudioFileError(path, _CUT_OFF)


@contextmanager
def _open_media(path: Path) -> Iterator[Sound]:
    try:
        import av
    except ImportError as error:
        raise AudioFileError(path, NEEDS_MEDIA) from error
    try:
        with path.open("rb") as file, av.open(file, options=_FFMPEG_OPTIONS) as container:
            if not container.streams.audio:
                raise AudioFileError(path, "has no sound track")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioFileError(path, "its sound is protected, or of a kind that FFmpeg does not know")
            yield Sound(stream.rate, 0, _joined(_media_blocks(path, container, stream)))
    except av.FFmpegError as error:
        raise _undecodable(path, str(error.strerror)) from error


def _media_blocks(path: Path, container: Any, stream: Any) -> Iterator[np.ndarray]:
    """Samples of the packets of a sound track, which starts where its first sample is."""
    from av import AudioResampler

    resampler = AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    end = 0.0  # of all that is there, in seconds
    for packet in container.demux():
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index == stream.index:
            for frame in packet.decode():
                try:
                    yield from (piece.to_ndarray().T for piece in resampler.resample(frame))
                except ValueError as error:
                    raise AudioFileError(path, "changes its sample rate or its channels midway") from error
    yield from (piece.to_ndarray().T for piece in resampler.resample(None))
    if container.format.name not in _ESTIMATED and end < 0.9e-6 * (container.duration or 0):
        raise AudioFileError(path, _CUT_OFF)


def _joined(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Small pieces ``(time, channels)`` as blocks."""
    kept: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        kept.append(piece)
        count += len(piece)
        if count >= _BLOCK:
            yield np.concatenate(kept)
            kept, count = [], 0
    if kept:
        yield np.concatenate(kept)
