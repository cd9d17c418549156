"""An attribution made audible: the sound of the strongest frames, and the sound without them."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

FADE_SECONDS = 0.01
"""Length of the fade between sound and silence; shorter ones click."""

PEAK = 0.89  # -1 dB of full scale
LOUDNESS = 0.1  # -20 dB of full scale, a usual level of speech
SILENCE = 10 ** (-80 / 20)
"""Amplitude below which a sound counts as silent and is not made louder."""

LONGEST_SOUND_SECONDS = 120
"""Longer sounds are left out of event files and notebooks, which hold three of each; the report holds them all."""

WORDS: dict[str, str] = {
    "original": "the sound",
    "kept": "the evidence alone",
    "removed": "all but the evidence",
    "weighted": "loud as the attribution",
}
"""What people call the sounds of :func:`heard`."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Gain over time, linear between breakpoints.

    Attributes:
        seconds: Times of the breakpoints, ascending, ``(points,)``.
        gains: Gain at each, from 0 to 1, ``(points,)``.
    """

    seconds: np.ndarray
    gains: np.ndarray

    def apply(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """The waveform ``(time,)`` with this gain."""
        time = np.arange(len(waveform)) / sample_rate
        return (waveform * np.interp(time, self.seconds, self.gains)).astype(np.float32)


def heard(frames: np.ndarray, edges: np.ndarray) -> dict[str, Envelope]:
    """Gains over time that turn the sound into what the report plays for an attribution.

    Args:
        frames: ``(frames,)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.

    Returns:
        The ``original``, only the evidence (``kept``), all but the evidence (``removed``), and the sound with a
        loudness that follows the attribution (``weighted``).

    Example:
        >>> gains = heard(np.array([0.0, 2.0, 0.0, 0.0, 0.0]), np.arange(6) / 10)
        >>> gains["kept"].apply(np.ones(6), 10)
        array([0., 1., 1., 0., 0., 0.], dtype=float32)
    """
    mask = evidence(frames)
    return {
        "original": Envelope(edges[[0, -1]], np.ones(2)),
        "kept": kept(mask, edges),
        "removed": removed(mask, edges),
        "weighted": weighted(frames, edges),
    }


def evidence(frames: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Mask ``(frames,)`` of the strongest ``share`` of the frames, as far as they speak for the target.

    Frames with a negative, zero or non-finite attribution are never selected, so that there may be fewer.

    Example:
        >>> evidence(np.array([0.1, 3.0, -5.0, 2.0, 1.0]), 0.4)
        array([False,  True, False,  True, False])
    """
    for_target = np.where(np.isfinite(frames) & (frames > 0), frames, 0.0)
    strongest = np.argsort(-for_target, kind="stable")[: max(1, round(share * frames.size))]
    mask = np.zeros(frames.shape, dtype=bool)
    mask[strongest] = for_target[strongest] > 0
    return mask


def kept(mask: np.ndarray, edges: np.ndarray) -> Envelope:
    """Gain that keeps only the masked frames.

    Args:
        mask: ``(frames,)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.

    Returns:
        Gain 1 within the masked frames; the fades lie outside of them.
    """
    changes = np.flatnonzero(np.diff(mask)) + 1
    starts, stops = np.concatenate([[0], changes]), np.concatenate([changes, [len(mask)]])
    seconds: list[float] = []
    gains: list[float] = []
    for start, stop in zip(starts, stops, strict=True):
        begin, end, gain = float(edges[start]), float(edges[stop]), float(mask[start])
        if not gain:
            fade = min(FADE_SECONDS, (end - begin) / 2)
            begin, end = begin + fade * (start > 0), end - fade * (stop < len(mask))
        seconds += [begin, end]
        gains += [gain, gain]
    return Envelope(np.array(seconds), np.array(gains))


def removed(mask: np.ndarray, edges: np.ndarray) -> Envelope:
    """Gain that silences the masked frames: 1 minus that of :func:`kept`, so that the two add up to the sound."""
    envelope = kept(mask, edges)
    return Envelope(envelope.seconds, 1.0 - envelope.gains)


def weighted(frames: np.ndarray, edges: np.ndarray) -> Envelope:
    """Gain that follows the attribution: 1 where it is greatest, 0 where it is 0 or negative."""
    for_target = np.where(np.isfinite(frames) & (frames > 0), frames, 0.0)
    gains = np.sqrt(for_target / max(float(for_target.max(initial=0.0)), np.finfo(float).tiny))
    centers = (edges[:-1] + edges[1:]) / 2
    return Envelope(np.concatenate([edges[:1], centers, edges[-1:]]), np.concatenate([gains[:1], gains, gains[-1:]]))


def equal_loudness(waveforms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scale sounds to the same loudness: a usual level of speech, or less where one would clip.

    Loudness is the root mean square over the samples that are not silent, so that a short stretch surrounded by silence
    is as loud as the same stretch within speech. A silent sound stays silent.

    Args:
        waveforms: ``(time,)`` each.

    Returns:
        The scaled sounds, ``float32`` within ``±0.89``.

    Example:
        >>> tone = np.sin(np.arange(1600.0))
        >>> sounds = equal_loudness({"loud": tone, "quiet": tone / 100, "silent": 0 * tone})
        >>> [f"{sound.std():.3f}" for sound in sounds.values()]
        ['0.100', '0.100', '0.000']
    """
    gains = equal_loudness_gains(waveforms)
    return {name: (gains[name] * np.nan_to_num(sound)).astype(np.float32) for name, sound in waveforms.items()}


def equal_loudness_gains(waveforms: dict[str, np.ndarray]) -> dict[str, float]:
    """Factors that :func:`equal_loudness` applies; 0 for a silent sound."""
    levels = {name: _loudness(np.nan_to_num(sound)) for name, sound in waveforms.items()}
    audible = {name: level for name, level in levels.items() if level > 0}
    headroom = [PEAK / float(np.abs(np.nan_to_num(waveforms[name])).max()) * level for name, level in audible.items()]
    target = min([LOUDNESS, *headroom])
    return {name: target / level if level > 0 else 0.0 for name, level in levels.items()}


def flac_base64(waveform: np.ndarray, sample_rate: int) -> str:
    """A sound as HTML holds it: FLAC, which is lossless and played by every browser, in base64.

    Args:
        waveform: ``(time,)`` within ±1.
        sample_rate: Hz.

    Example:
        >>> base64.b64decode(flac_base64(np.zeros(160), 16000))[:4]
        b'fLaC'
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode()


def _loudness(waveform: np.ndarray) -> float:
    audible = waveform[np.abs(waveform) > SILENCE]
    return float(np.sqrt(np.mean(np.square(audible, dtype=np.float64)))) if audible.size else 0.0
