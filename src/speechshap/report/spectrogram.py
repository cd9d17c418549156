"""Waveform and spectrogram at the resolution of a picture."""

import math
from dataclasses import dataclass

import numpy as np

from speechshap.mel import hertz, mel

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
DYNAMIC_RANGE_DB = 80.0
SILENT_DB = -120.0
NUM_MEL_BANDS = 64
MEL_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)
_FINEST_HZ = 16.0
"""Distance between the bins that are summed to mel bands; the lowest bands are narrow."""


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """A spectrogram in decibels.

    Attributes:
        decibels: Level relative to the maximum, from -80 to 0, ``(bands, columns)``.
        frequencies: Centres of the bands in Hz, ``(bands,)``, equally spaced in mel or in Hz.
        start: Left bound of the first column in seconds: half a hop before the sound.
        hop: Width of a column in seconds.
    """

    decibels: np.ndarray
    frequencies: np.ndarray
    start: float
    hop: float

    @property
    def end(self) -> float:
        """Right bound of the last column in seconds."""
        return self.start + self.hop * self.decibels.shape[1]


def spectrogram(
    waveform: np.ndarray, sample_rate: int, frequencies: np.ndarray | None = None, max_columns: int = 1200
) -> Spectrogram:
    """Compute a power spectrogram, 25 ms windows every 10 ms.

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        frequencies: Centres of the bands in Hz, equally spaced in mel or in Hz; None takes 64 in mel.
        max_columns: Neighbouring columns of a long sound are averaged so that there are no more than these.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
        >>> picture = spectrogram(tone, 16000, np.linspace(0, 8000, 201))
        >>> picture.frequencies[picture.decibels.mean(1).argmax()]
        np.float64(1000.0)
    """
    import librosa

    if frequencies is None:
        frequencies = hertz(np.linspace(0, mel(sample_rate / 2), NUM_MEL_BANDS))
    waveform = np.nan_to_num(np.asarray(waveform, dtype=np.float32))
    window, hop = (max(1, round(seconds * sample_rate)) for seconds in (WINDOW_SECONDS, HOP_SECONDS))
    bands = band_positions(frequencies)
    finest = _FINEST_HZ if is_mel(frequencies) else float(frequencies[1] - frequencies[0])
    num_points = max(window, round(sample_rate / finest))
    columns = 1 + len(waveform) // hop
    waveform = np.pad(waveform, (0, max(0, num_points - len(waveform))))  # librosa needs at least one window
    options = {"n_fft": num_points, "win_length": window, "hop_length": hop, "pad_mode": "constant"}
    power = np.abs(librosa.stft(waveform, **options)[:, :columns]) ** 2
    bins = band_positions(frequencies, np.linspace(0, sample_rate / 2, len(power)))
    # Triangles that sum to 1 in each bin, as for time-frequency attributions.
    power = np.clip(1 - np.abs(bins - bands[:, None]) / (bands[1] - bands[0]), 0, 1).astype(np.float32) @ power
    factor = math.ceil(power.shape[1] / max_columns)
    starts = np.arange(0, power.shape[1], factor)
    power = np.add.reduceat(power, starts, axis=1) / np.diff(np.append(starts, power.shape[1]))
    loudest = float(power.max())
    if 10 * np.log10(max(loudest, 1e-30)) < SILENT_DB:
        decibels = np.full_like(power, -DYNAMIC_RANGE_DB)
    else:
        decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-DYNAMIC_RANGE_DB / 10)))
    return Spectrogram(decibels, frequencies, -hop / sample_rate / 2, factor * hop / sample_rate)


def is_mel(frequencies: np.ndarray) -> bool:
    """Whether bands are equally spaced in mel rather than in Hz.

    Example:
        >>> is_mel(np.array([0.0, 1000.0, 2000.0])), is_mel(hertz(np.array([0.0, 1000.0, 2000.0])))
        (False, True)
    """
    in_hertz, in_mel = (np.diff(positions) for positions in (np.asarray(frequencies, float), mel(frequencies)))
    return bool(np.ptp(in_mel) / in_mel.mean() <= np.ptp(in_hertz) / in_hertz.mean())


def band_positions(frequencies: np.ndarray, hz: np.ndarray | None = None) -> np.ndarray:
    """Positions on the axis on which bands are equally spaced: in mel or in kHz.

    Args:
        frequencies: Centres of the bands in Hz, which determine the axis.
        hz: Frequencies to convert; None takes the centres.
    """
    hz = frequencies if hz is None else hz
    return mel(hz) if is_mel(frequencies) else np.asarray(hz) / 1000


def mel_ticks(high: float) -> tuple[list[float], list[str]]:
    """Positions and labels (kHz) of the ticks of an axis in mel that ends at ``high``."""
    shown = [hz for hz in MEL_TICKS_HZ if mel(hz) <= high]
    return [float(mel(hz)) for hz in shown], [f"{hz / 1000:g}" for hz in shown]


def waveform_outline(waveform: np.ndarray, max_columns: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sample of each of at most ``max_columns`` stretches of equal length.

    Example:
        >>> waveform_outline(np.array([0.1, -0.2, 0.3, 0.4]), 2)
        (array([-0.2,  0.3]), array([0.1, 0.4]))
    """
    starts = np.linspace(0, len(waveform), min(max_columns, len(waveform)), endpoint=False).astype(int)
    return np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)
