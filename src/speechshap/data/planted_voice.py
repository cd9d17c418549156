"""A synthetic voice of harmonics and formants, and noise behind it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from speechshap.frames import SAMPLE_RATE

CONTROL_RATE = 200
"""Points a second at which prosody is described (Hz)."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """How a voice speaks, apart from how loud.

    Attributes:
        pitch: Pitch level as a factor of the speaker's own.
        pitch_range: Height of the accents in semitones.
        pitch_slope: Glide of the pitch within a syllable in semitones, negative when it falls.
        rate: Syllables a second.
        tilt_db: Fall of the source spectrum for each octave.
        jitter: Standard deviation of the pitch from one instant to the next, as a share of the pitch.
    """

    pitch: float
    pitch_range: float
    pitch_slope: float
    rate: float
    tilt_db: float
    jitter: float

    def towards(self, other: "Prosody", share: np.ndarray) -> dict[str, np.ndarray]:
        """Course of each attribute, from this prosody (0) to another one (1)."""
        own, its = asdict(self), asdict(other)
        return {name: own[name] + share * (its[name] - own[name]) for name in own}


# First three formants (Hz) of a, e, i, o, u and schwa for an adult voice; a speaker scales them.
_VOWELS = np.array(
    [[750, 1250, 2550], [480, 1900, 2550], [290, 2250, 2950], [480, 850, 2450], [320, 800, 2300], [500, 1450, 2500]]
)
_BANDWIDTHS = np.array([90.0, 120.0, 180.0])


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice.

    Attributes:
        pitch_hz: Its pitch.
        formant_scale: Factor of the formants.
        rate: Factor of the syllables a second.
        tilt_db: What its source spectrum falls more for each octave than that of others.
    """

    pitch_hz: float
    formant_scale: float
    rate: float
    tilt_db: float


def make_speaker(index: int, seed: int) -> Speaker:
    """A speaker of a corpus; even ones have low voices, odd ones high voices."""
    generator = np.random.default_rng([seed, 0, index])
    high = index % 2
    return Speaker(
        pitch_hz=generator.uniform(165, 215) if high else generator.uniform(95, 130),
        formant_scale=generator.uniform(1.08, 1.2) if high else generator.uniform(0.92, 1.05),
        rate=generator.uniform(0.92, 1.08),
        tilt_db=generator.uniform(-1, 1),
    )


def speak(
    prosody: Mapping[str, np.ndarray], speaker: Speaker, generator: np.random.Generator, num_samples: int
) -> np.ndarray:
    """Syllables of random vowels and accents.

    Args:
        prosody: Course of each attribute of :class:`Prosody`, ``(points,)`` at ``CONTROL_RATE``.
        speaker: Whose voice it is.
        generator: Draws vowels, accents, jitter and breath.
        num_samples: Length.

    Returns:
        Waveform ``(num_samples,)`` at 16 kHz, of any level.
    """
    # Each syllable has a vowel, an accent and a phase that runs from 0 to 1.
    syllables = np.cumsum(prosody["rate"] * speaker.rate) / CONTROL_RATE + generator.uniform()
    number, phase = np.divmod(syllables, 1.0)
    number = number.astype(int)
    vowels = generator.integers(len(_VOWELS), size=number[-1] + 1)[number]
    accents = generator.uniform(-1, 1, size=number[-1] + 1)[number]
    stress_db = 4 * generator.standard_normal(number[-1] + 1)[number]
    loudness = np.sin(np.pi * np.clip((phase - 0.12) / 0.88, 0, 1)) ** 0.7 * 10 ** (stress_db / 20)

    semitones = prosody["pitch_range"] * accents + prosody["pitch_slope"] * (phase - 0.5)
    pitch_hz = speaker.pitch_hz * prosody["pitch"] * 2 ** (semitones / 12)
    pitch_hz *= 1 + prosody["jitter"] * generator.standard_normal(len(pitch_hz))
    formants_hz = _smooth(_VOWELS[vowels] * speaker.formant_scale, points=9)
    tilt_db = prosody["tilt_db"]

    voice = _harmonics(pitch_hz, formants_hz, tilt_db + speaker.tilt_db, loudness, num_samples)
    breath = to_samples(0.03 * (phase < 0.12) + 0.002 * loudness * tilt_db, num_samples)
    return voice + 0.25 * breath * np.diff(generator.standard_normal(num_samples), prepend=0.0)


def _harmonics(
    pitch_hz: np.ndarray, formants_hz: np.ndarray, tilt_db: np.ndarray, gain: np.ndarray, num_samples: int
) -> np.ndarray:
    """Sum of harmonics weighted by source tilt and formants (control points in, samples out)."""
    harmonics = np.arange(1, int(5000 / pitch_hz.min()) + 1)[:, None]
    frequency = harmonics * pitch_hz  # (harmonics, points)
    tilt = 10 ** (-tilt_db * np.log2(harmonics) / 20)
    resonance = np.zeros_like(frequency)
    for formant, (bandwidth, level) in enumerate(zip(_BANDWIDTHS, (1.0, 0.7, 0.4), strict=True)):
        distance = (frequency - formants_hz[:, formant]) / bandwidth
        resonance += level / (1 + distance**2)
    amplitude = gain * tilt * (resonance + 0.02) * (frequency < 5000)

    position = np.arange(num_samples) * CONTROL_RATE / SAMPLE_RATE
    left = position.astype(int)
    right_share = (position - left).astype(np.float32)
    amplitude = amplitude.astype(np.float32)
    turn = np.exp(2j * np.pi * np.cumsum(to_samples(pitch_hz, num_samples)) / SAMPLE_RATE)
    rotation, voice = np.ones(num_samples, complex), np.zeros(num_samples)
    for row in amplitude:  # the k-th harmonic turns k times as fast: one complex product each
        rotation *= turn
        voice += rotation.imag * (row[left] + right_share * (row[left + 1] - row[left]))
    return voice


def background(generator: np.random.Generator, num_samples: int) -> np.ndarray:
    """Noise with the long-term spectrum of speech, whose level wanders.

    The spectrum is flat up to 500 Hz and falls 9 dB an octave above, about as that of speech does (Byrne et al. 1994).
    The level is drawn every 0.3 s with a standard deviation of 5 dB around that of the clip.

    Returns:
        Waveform ``(num_samples,)`` at 16 kHz, relative to a voice of root mean square 1: -18 to -8 dB on average.
    """
    spectrum = np.fft.rfft(generator.standard_normal(num_samples))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / (1 + (frequency_hz / 500) ** 1.5), num_samples)
    position = np.arange(num_samples) / (0.3 * SAMPLE_RATE)
    knots_db = generator.uniform(-18, -8) + 5 * generator.standard_normal(int(position[-1]) + 2)
    level_db = np.interp(position, np.arange(len(knots_db)), knots_db)
    return noise / noise.std() * 10 ** (level_db / 20)


def to_samples(points: np.ndarray, num_samples: int) -> np.ndarray:
    """Points at ``CONTROL_RATE``, interpolated at the samples."""
    return np.interp(np.arange(num_samples) * CONTROL_RATE / SAMPLE_RATE, np.arange(len(points)), points)


def _smooth(columns: np.ndarray, points: int) -> np.ndarray:
    padded = np.pad(columns, ((points // 2, points // 2), (0, 0)), mode="edge")
    kernel = np.ones(points) / points
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
