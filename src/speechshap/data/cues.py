"""Prosody frame by frame: pitch, intensity, spectral tilt, voicing, speaking rate and pauses.

All cues are measured in windows of 64 ms that are centred on the frames, every 20 ms; a grid of frames that lie at
other distances takes the nearest ones. A pause says nothing of how is spoken, so that there all cues but ``pause`` are
NaN. None of them depends on the overall level of a recording.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from speechshap.frames import SAMPLE_RATE, FrameGrid

HOP, WINDOW = 320, 1024
"""Samples from one measurement to the next, and of its window: two periods of the lowest pitch, and more."""

LOWEST_HZ, HIGHEST_HZ = 60.0, 600.0
"""Pitches that are looked for."""

THRESHOLDS = (2, 8)
"""Beta distribution of YIN's threshold: of those of Mauch & Dixon (2014) the one with the highest mean (0.2), since a
shouted or a hoarse voice is less periodic than a calm one."""

FLOOR_DB = -100.0
"""Level of silence, relative to the utterance."""

PAUSE_DB, SHORTEST_PAUSE = 25.0, 5
"""How far below its loud frames an utterance pauses, as in de Jong & Wempe (2009), and for how many measurements (100
ms) at least, as in Praat. A plosive is silent for a shorter time."""

DIP_DB = 2.0
"""How deep the level dips between two syllables at least (de Jong & Wempe 2009)."""

_OCTAVES_HZ = 250.0 * 2.0 ** np.arange(5)  # each holds a harmonic of any voice, and telephones transmit them
_SLOPE_REACH, _RANGE_REACH, _RATE_REACH = 2, 12, 25  # measurements to either side: 100 ms, half a second, a second


class Cue(NamedTuple):
    """What a cue is.

    Attributes:
        title: Its name in pictures.
        unit: Of its values.
        description: How it is measured.
    """

    title: str
    unit: str
    description: str


CUES: Mapping[str, Cue] = {
    "f0": Cue("pitch", "semitones", "fundamental frequency relative to its median over the utterance"),
    "f0_slope": Cue("pitch slope", "semitones/s", "slope of a line through the pitch within 50 ms"),
    "f0_range": Cue("pitch range", "semitones", "10th to 90th percentile of the pitch within a quarter of a second"),
    "intensity": Cue("intensity", "dB", "level relative to that of the utterance"),
    "tilt": Cue("spectral tilt", "dB/octave", "slope of the spectrum of voiced frames from 250 Hz to 4 kHz"),
    "voicing": Cue("voicing", "share", "voiced frames among those that are no pause"),
    "rate": Cue("speaking rate", "syllables/s", "syllable nuclei a second of speech, within half a second"),
    "pause": Cue("pauses", "share", "frames that belong to a silence of 100 ms at least"),
}
"""The cues by name. "Within" means to either side of a frame."""


def cues(waveform: np.ndarray, grid: FrameGrid) -> dict[str, np.ndarray]:
    """Measure all :data:`CUES` at the centres of an utterance's frames.

    Args:
        waveform: ``(time,)`` at 16 kHz.
        grid: Where the frames lie on it.

    Returns:
        By name, ``(frames,)`` float32 each; NaN where a cue is not defined. An utterance that is too short for a frame
        has one all the same.

    Example:
        >>> tone = np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
        >>> values = cues(tone, FrameGrid())
        >>> values["f0"].shape, round(float(np.nanmean(values["voicing"])), 1), float(values["pause"].max())
        ((49,), 1.0, 0.0)
    """
    nearest, windows, level, pitch_hz = _measured(waveform, grid)
    is_pause, is_voiced = pauses(level), np.isfinite(pitch_hz)
    semitones = 12 * np.log2(pitch_hz)
    measured = {
        "f0": semitones - (np.median(semitones[is_voiced]) if is_voiced.any() else 0.0),
        "f0_slope": local_slope(semitones),
        "f0_range": local_range(semitones),
        "intensity": np.where(is_pause, np.nan, level),
        "tilt": np.where(is_voiced, spectral_tilt(windows), np.nan),
        "voicing": np.where(is_pause, np.nan, is_voiced),
        "rate": speaking_rate(level, ~is_pause, is_voiced),
        "pause": is_pause,
    }
    return {name: values[nearest].astype(np.float32) for name, values in measured.items()}


def contours(waveform: np.ndarray, grid: FrameGrid) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental frequency in Hz and level in dB at the centres of an utterance's frames, as people draw them.

    Args:
        waveform: ``(time,)`` at 16 kHz.
        grid: Where the frames lie on it.

    Returns:
        ``(frames,)`` each; the frequency is NaN where unvoiced, both are in pauses. The level is relative to
        that of the utterance.

    Example:
        >>> hertz, decibels = contours(np.sin(2 * np.pi * 200 * np.arange(16000) / 16000), FrameGrid())
        >>> float(np.nanmedian(hertz).round(-1)), abs(float(np.nanmedian(decibels).round(1)))
        (200.0, 0.0)
    """
    nearest, _, level, pitch_hz = _measured(waveform, grid)
    return pitch_hz[nearest], np.where(pauses(level), np.nan, level)[nearest]


def _measured(waveform: np.ndarray, grid: FrameGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The measurement nearest to each frame; windows ``(measurements, time)``, their level, and their pitch in Hz."""
    frames = max(1, grid.num_frames(len(waveform)))
    nearest = np.round(np.arange(frames) * grid.hop / HOP).astype(int)
    start = round(grid.first_center - (WINDOW - 1) / 2)
    loudness = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0
    samples = _stretch(waveform / (loudness or 1.0), start, int(nearest[-1]) + 1)
    windows = sliding_window_view(samples, WINDOW)[::HOP]
    level = levels(windows, sliding_window_view(_stretch(np.ones(len(waveform)), start, len(windows)), WINDOW)[::HOP])
    return nearest, windows, level, np.where(pauses(level), np.nan, pitch(samples))


def levels(windows: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    r"""Level of each window, :math:`10 \log_{10}(\sum_t w_t x_t^2 / \sum_t w_t)` dB with the Hann window :math:`w`.

    Args:
        windows: ``(windows, time)``.
        inside: 1 for the samples that count, 0 for padding, of the same shape; None counts all.

    Returns:
        ``(windows,)``, :data:`FLOOR_DB` at least.

    Example:
        >>> levels(np.full((1, 1024), 0.1)).round(3)
        array([-20.])
    """
    hann = np.hanning(windows.shape[1])
    weight = hann.sum() if inside is None else np.maximum(inside @ hann, np.finfo(float).tiny)
    return 10 * np.log10(np.maximum(windows**2 @ hann / weight, 10 ** (FLOOR_DB / 10)))


def pauses(level: np.ndarray) -> np.ndarray:
    """Which measurements are pauses: more than 25 dB below the 99th percentile of the level, for 100 ms at least.

    At the ends of a recording a shorter silence is one, too.

    Args:
        level: ``(measurements,)`` in dB.

    Example:
        >>> pauses(np.array([0.0, -60, -60, -60, -60, -60, 0, -60, 0])).astype(int)
        array([0, 1, 1, 1, 1, 1, 0, 0, 0])
    """
    is_quiet = (level < np.quantile(level, 0.99) - PAUSE_DB) | (level <= FLOOR_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_quiet, [False]])))
    result = np.zeros(len(level), bool)
    for first, end in edges.reshape(-1, 2):
        result[first:end] = end - first >= SHORTEST_PAUSE or first == 0 or end == len(level)
    return result


def pitch(samples: np.ndarray) -> np.ndarray:
    """Fundamental frequency of each window by probabilistic YIN (Mauch & Dixon 2014), to a tenth of a semitone.

    Args:
        samples: ``(time,)``; windows of 1024 samples begin every 320.

    Returns:
        Hz, ``(windows,)``; NaN where unvoiced.
    """
    import librosa

    pitch_hz, _, _ = librosa.pyin(
        samples, sr=SAMPLE_RATE, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, frame_length=WINDOW, hop_length=HOP, resolution=0.1,
        beta_parameters=THRESHOLDS, center=False,
    )  # fmt: skip
    return np.asarray(pitch_hz, np.float64)


def local_slope(semitones: np.ndarray) -> np.ndarray:
    r"""Slope of the least-squares line through the voiced measurements within 50 ms (3 at least), semitones a second.

    With :math:`\tau` their times: :math:`\sum (\tau - \bar\tau)\,y / \sum (\tau - \bar\tau)^2`.

    Args:
        semitones: ``(measurements,)``; NaN where unvoiced.

    Returns:
        ``(measurements,)``; NaN where unvoiced, or too few are voiced around.

    Example:
        >>> local_slope(np.array([0.0, 0.2, 0.4, np.nan])).round(6)
        array([10., 10., 10., nan])
    """
    near = _near(semitones, _SLOPE_REACH)
    known = np.isfinite(near)
    count = known.sum(1)
    seconds = np.arange(-_SLOPE_REACH, _SLOPE_REACH + 1) * HOP / SAMPLE_RATE
    centred = np.where(known, seconds - (known @ seconds / np.maximum(count, 1))[:, None], 0.0)
    enough = np.isfinite(semitones) & (count >= 3)
    slope = (centred * np.where(known, near, 0.0)).sum(1) / np.where(enough, (centred**2).sum(1), 1.0)
    return np.where(enough, slope, np.nan)


def local_range(semitones: np.ndarray) -> np.ndarray:
    """Distance from the 10th to the 90th percentile of the voiced measurements within 250 ms (5 at least).

    Args:
        semitones: ``(measurements,)``; NaN where unvoiced.

    Returns:
        ``(measurements,)`` in semitones; NaN where unvoiced, or too few are voiced around.
    """
    near = _near(semitones, _RANGE_REACH)
    enough = np.isfinite(semitones) & (np.isfinite(near).sum(1) >= 5)
    result = np.full(len(semitones), np.nan)
    if enough.any():
        low, high = np.nanquantile(near[enough], [0.1, 0.9], axis=1)
        result[enough] = high - low
    return result


def spectral_tilt(windows: np.ndarray) -> np.ndarray:
    r"""Slope of the spectrum of each window in dB per octave: white noise has 0, pink noise -3.

    The least-squares line through the levels :math:`L_j` of the mean power in the four octaves from 250 Hz to 4 kHz,
    :math:`\sum_j (j - \bar j) L_j / \sum_j (j - \bar j)^2`.

    Args:
        windows: ``(windows, time)`` at 16 kHz.

    Returns:
        ``(windows,)``; NaN where an octave is silent.
    """
    power = np.abs(np.fft.rfft(windows * np.hanning(windows.shape[1]))) ** 2
    bins = np.fft.rfftfreq(windows.shape[1], 1 / SAMPLE_RATE)
    edges = np.searchsorted(bins, _OCTAVES_HZ)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1] / np.diff(edges)
    number = np.arange(len(_OCTAVES_HZ) - 1)
    centred = number - number.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = 10 * np.log10(bands) @ centred / (centred**2).sum()
    return np.where((bands > 0).all(1), slope, np.nan)


def speaking_rate(level: np.ndarray, is_speech: np.ndarray, is_voiced: np.ndarray) -> np.ndarray:
    r"""Syllables a second of speech, as an average around each measurement.

    A syllable nucleus is a voiced peak of the level that rises 2 dB above the dips beside it (de Jong & Wempe 2009,
    without Praat's own intensity). With nuclei at :math:`t_i`, and a Hann window :math:`w` of a second, the rate at
    :math:`t` is :math:`\sum_i w(t - t_i) / \int w(t - s)\,\mathrm{d}s` over the speech at :math:`s`.

    Args:
        level: ``(measurements,)`` in dB.
        is_speech: Which of them are no pause.
        is_voiced: Which of them are voiced.

    Returns:
        ``(measurements,)``; NaN in pauses.
    """
    from scipy.signal import find_peaks

    # A syllable may begin or end with the recording.
    peaks = find_peaks(np.pad(level, 1, constant_values=FLOOR_DB), prominence=DIP_DB)[0] - 1
    nuclei = np.zeros(len(level))
    nuclei[peaks] = is_speech[peaks] & is_voiced[peaks]
    hann = np.hanning(2 * _RATE_REACH + 1)
    speech_seconds = _near(is_speech.astype(float), _RATE_REACH, 0.0) @ hann * HOP / SAMPLE_RATE
    around = _near(nuclei, _RATE_REACH, 0.0) @ hann
    return np.where(is_speech, around / np.where(is_speech, speech_seconds, 1.0), np.nan)


def _near(values: np.ndarray, reach: int, beyond: float = np.nan) -> np.ndarray:
    """Values up to ``reach`` places to either side of each, ``(values, 2 reach + 1)``."""
    return sliding_window_view(np.pad(values, reach, constant_values=beyond), 2 * reach + 1)


def _stretch(waveform: np.ndarray, start: int, count: int) -> np.ndarray:
    """The samples of ``count`` windows from ``start`` on, which may lie before 0; silence outside of the waveform."""
    result = np.zeros((count - 1) * HOP + WINDOW)
    first, end = max(0, start), min(len(waveform), start + len(result))
    if first < end:
        result[first - start : end - start] = waveform[first:end]
    return result
