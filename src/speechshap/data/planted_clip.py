"""One clip of a planted-evidence corpus: a neutral voice in noise, but for stretches with the cue of an emotion."""

from typing import Literal, get_args

import numpy as np

from speechshap.data.planted_voice import CONTROL_RATE, Prosody, background, make_speaker, speak, to_samples
from speechshap.data.utterance import Stretch
from speechshap.frames import SAMPLE_RATE

PlantedKind = Literal["planted", "planted_band", "planted_pair"]
PLANTED_KINDS: tuple[PlantedKind, ...] = get_args(PlantedKind)

NEUTRAL = Prosody(pitch=1.0, pitch_range=1.5, pitch_slope=-0.5, rate=4.0, tilt_db=11, jitter=0.004)

PROSODIES: dict[str, Prosody] = {
    "angry": Prosody(pitch=1.1, pitch_range=4.0, pitch_slope=-3.0, rate=5.5, tilt_db=2, jitter=0.015),
    "fearful": Prosody(pitch=2.0, pitch_range=1.0, pitch_slope=0.5, rate=7.0, tilt_db=13, jitter=0.12),
    "happy": Prosody(pitch=1.5, pitch_range=8.0, pitch_slope=4.0, rate=4.8, tilt_db=8, jitter=0.006),
    "sad": Prosody(pitch=0.7, pitch_range=0.5, pitch_slope=-1.5, rate=2.0, tilt_db=20, jitter=0.01),
}
"""Prosody of the emotions, after the reviews of vocal expression (Juslin & Laukka 2003, Table 11; Scherer 2003)."""

BANDS_HZ: dict[str, tuple[float, float]] = {
    "angry": (4000, 4900),
    "fearful": (2800, 3700),
    "happy": (1800, 2500),
    "sad": (900, 1500),
}
"""Band of each emotion that is raised."""

RAISED_DB = -4.0
"""Level of the raised band, relative to that of the voice."""

LOWERED_DB = -3.0
"""What the voice is lowered by where a band may be raised, in neutral clips too.

Found by trial: the energies of 20 ms are then those of the rest, the raised band included.
"""

CLASSES = ["neutral", *PROSODIES]
"""Labels in the order of the class indices."""


def planted_stretches(
    emotion: str, duration_seconds: float, seed: int = 0, clip: int = 0, kind: PlantedKind = "planted"
) -> tuple[Stretch, ...]:
    """Where the cue of a clip is: the truth that belongs to :func:`synthesize`, with the same arguments.

    Example:
        >>> len(planted_stretches("happy", 2.0, kind="planted_pair")), planted_stretches("neutral", 2.0)
        (2, ())
    """
    if emotion == "neutral":
        return ()
    low_hz, high_hz = BANDS_HZ[emotion] if kind == "planted_band" else (None, None)
    return tuple(Stretch(start, end, low_hz, high_hz) for start, end in _draw_spans(duration_seconds, seed, clip, kind))


def _draw_spans(duration_seconds: float, seed: int, clip: int, kind: PlantedKind) -> list[tuple[float, float]]:
    """Start and end in seconds of each stretch: each has an equal part of the clip to lie in."""
    generator = np.random.default_rng([seed, 1, clip])
    num_parts = 2 if kind == "planted_pair" else 1
    part, spans = duration_seconds / num_parts, []
    for number in range(num_parts):
        length = part * generator.uniform(0.35, 0.5)
        start = number * part + generator.uniform(0.1, 0.9) * (part - length)
        spans.append((start, start + length))
    return spans


def synthesize(
    emotion: str,
    speaker_index: int,
    duration_seconds: float,
    seed: int = 0,
    clip: int = 0,
    kind: PlantedKind = "planted",
) -> tuple[np.ndarray, tuple[Stretch, ...]]:
    """Make one clip.

    Args:
        emotion: One of :data:`CLASSES`.
        speaker_index: Which voice; even ones are low, odd ones high.
        duration_seconds: Length of the clip.
        seed: Of the corpus.
        clip: Number of the clip, which varies everything that is not emotion or speaker.
        kind: Of the corpus: what the cue is, and in how many stretches. ``planted_band`` has the neutral clip of the
            same number but for the stretch and the band.

    Returns:
        Waveform ``(time,)`` float32 at 16 kHz, and where the cue is.
    """
    num_samples = round(duration_seconds * SAMPLE_RATE)
    time = np.arange(int(duration_seconds * CONTROL_RATE) + 2) / CONTROL_RATE
    share = np.zeros(len(time))
    for start, end in _draw_spans(duration_seconds, seed, clip, kind):
        # How emotional each instant is: 0 outside, 1 inside, with ramps of 20 ms that lie within the stretch.
        share = np.maximum(share, np.clip(np.minimum(time - start, end - time) / 0.02, 0, 1))
    inside = to_samples(share, num_samples)

    spoken = NEUTRAL if kind == "planted_band" else PROSODIES.get(emotion, NEUTRAL)
    generator = np.random.default_rng([seed, 2, clip])
    voice = speak(NEUTRAL.towards(spoken, share), make_speaker(speaker_index, seed), generator, num_samples)
    # The stretch is as loud as the rest, so that its energy does not reveal it.
    outside_level, inside_level = _level(voice, 1 - inside), _level(voice, inside)
    voice *= (1 + inside * (outside_level / inside_level - 1)) / outside_level
    if kind == "planted_band":
        voice *= 1 + inside * (10 ** (LOWERED_DB / 20) - 1)
    if kind == "planted_band" and emotion != "neutral":
        band = _pass(voice, *BANDS_HZ[emotion])
        voice += inside * band * (10 ** ((LOWERED_DB + RAISED_DB) / 20) / _level(band, inside) - 1)

    generator = np.random.default_rng([seed, 3, clip])
    sound = voice + background(generator, num_samples)
    sound *= 0.02 * 10 ** (generator.uniform(-6, 0) / 20)
    return sound.astype(np.float32), planted_stretches(emotion, duration_seconds, seed, clip, kind)


def _level(sound: np.ndarray, weight: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.average(sound**2, weights=weight)))


def _pass(sound: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """The part of a sound within a band, without what lies less than 100 Hz from its bounds."""
    frequency_hz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    passed = np.interp(frequency_hz, [low_hz, low_hz + 100, high_hz - 100, high_hz], [0, 1, 1, 0])
    return np.fft.irfft(np.fft.rfft(sound) * passed, len(sound))
