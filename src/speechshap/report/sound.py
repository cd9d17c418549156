"""An attribution made audible: the sound of the evidence alone, and the sound without it."""

import base64
import io
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile

from speechshap.results.explanation import Explanation

FADE_SECONDS = 0.01
"""Length of the fade between sound and silence; shorter ones click."""

PEAK = 0.89  # -1 dB of full scale
LOUDNESS = 0.1  # -20 dB of full scale, a usual level of speech
SILENCE = 10 ** (-80 / 20)
"""Amplitude below which a sound counts as silent and is not made louder."""

LONGEST_SOUND_SECONDS = 120
"""Longer sounds are left out of event files and notebooks, which hold three of each; the report holds them all."""

WORDS = {
    "original": "the sound",
    "kept": "the evidence alone",
    "removed": "all but the evidence",
    "weighted": "loud as the attribution",
}
"""What is heard, in words, by its name."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Gain over time, linear between breakpoints.

    Attributes:
        seconds: Times of the breakpoints, ascending, ``(points,)``.
        gains: Gain at each, from 0 to 1, ``(points,)``.
    """

    seconds: np.ndarray
    gains: np.ndarray

    def at(self, num_samples: int, sample_rate: int) -> np.ndarray:
        """Gain of each sample, ``(time,)``."""
        return np.interp(np.arange(num_samples) / sample_rate, self.seconds, self.gains).astype(np.float32)

    def apply(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """The waveform ``(time,)`` with this gain."""
        return (waveform * self.at(len(waveform), sample_rate)).astype(np.float32)


def heard(explanation: Explanation, target: int = 0) -> dict[str, Envelope]:
    """Gains over time that turn the sound into what is played of an explanation, by the names of :data:`WORDS`.

    Where nothing speaks for the target, the sound itself is all there is.

    Args:
        explanation: What is played.
        target: Of which of its targets.
    """
    edges, windows = explanation.frame_edges, explanation.evidence_windows(target)
    found = {"original": Envelope(edges[[0, -1]], np.ones(2))}
    if not len(windows):
        return found
    weights = explanation.evidence_weights(target)
    return found | {
        "kept": kept(windows, explanation.duration),
        "removed": removed(windows, explanation.duration),
        "weighted": weighted(weights, edges),
    }


def kept(windows: np.ndarray, duration: float) -> Envelope:
    """Gain that keeps only some windows of a sound.

    Args:
        windows: Bounds in seconds, sorted and without overlap, ``(windows, 2)``.
        duration: Length of the sound in seconds.

    Returns:
        Gain 1 within the windows; the fades lie outside of them.

    Example:
        >>> kept(np.array([[0.1, 0.2]]), 0.4).apply(np.ones(4), 10)
        array([0., 1., 1., 0.], dtype=float32)
    """
    bounds = [0.0, *windows.ravel().tolist(), duration]
    seconds: list[float] = []
    gains: list[float] = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        is_window = number % 2 == 1
        if begin == end:  # windows side by side, or at an end of the sound
            continue
        if not is_window:
            fade = min(FADE_SECONDS, (end - begin) / 2)
            begin, end = begin + fade * (number > 0), end - fade * (number < len(bounds) - 2)
        seconds += [begin, end]
        gains += [float(is_window)] * 2
    return Envelope(np.array(seconds), np.array(gains))


def removed(windows: np.ndarray, duration: float) -> Envelope:
    """Gain that silences the windows: 1 minus that of :func:`kept`, so that the two add up to the sound."""
    envelope = kept(windows, duration)
    return Envelope(envelope.seconds, 1.0 - envelope.gains)


def weighted(weights: np.ndarray, edges: np.ndarray) -> Envelope:
    """Gain that follows what speaks for a target: 1 where it is greatest, 0 where it is 0 or negative.

    Args:
        weights: Of each frame, ``(frames,)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
    """
    for_target = np.maximum(weights, 0.0)
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
