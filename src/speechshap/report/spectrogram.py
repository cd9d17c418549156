"""Waveform and spectrogram reduced to what a picture can show."""

from dataclasses import dataclass

import numpy as np

WINDOW, HOP = 400, 160  # at 16 kHz 25 ms and 10 ms
DYNAMIC_RANGE_DB = 80.0
SILENT_DB = -120.0


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """A spectrogram in decibels.

    Attributes:
        decibels: Below the loudest, from -80 to 0, ``(bands, columns)``.
        frequencies: Centres of the bands in Hz, ``(bands,)``, equally spaced in mel or in Hz.
        start: Left bound of the first column in seconds: half a hop before the sound.
        hop: Width of a column in seconds.
        is_mel: Whether the bands are equally spaced in mel.
    """

    decibels: np.ndarray
    frequencies: np.ndarray
    start: float
    hop: float
    is_mel: bool

    @property
    def end(self) -> float:
        """Right bound of the last column in seconds."""
        return self.start + self.hop * self.decibels.shape[1]


def spectrogram(
    waveform: np.ndarray, sample_rate: int, num_mel_bands: int | None = 64, max_columns: int = 1200
) -> Spectrogram:
    """Compute a power spectrogram, 25 ms windows every 10 ms at 16 kHz.

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        num_mel_bands: None keeps the linear frequency bins.
        max_columns: Neighbouring columns of a long sound are averaged until there are no more than these.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
        >>> picture = spectrogram(tone, 16000, num_mel_bands=None)
        >>> picture.frequencies[picture.decibels.mean(1).argmax()]
        np.float64(1000.0)
    """
    import librosa
    from librosa.filters import mel as mel_filters

    waveform = np.nan_to_num(np.asarray(waveform, dtype=np.float32))
    power = np.abs(librosa.stft(waveform, n_fft=WINDOW, hop_length=HOP, pad_mode="constant")) ** 2
    frequencies = np.linspace(0, sample_rate / 2, len(power))
    if num_mel_bands is not None:
        power = mel_filters(sr=sample_rate, n_fft=WINDOW, n_mels=num_mel_bands, htk=True, norm=None) @ power
        frequencies = librosa.mel_frequencies(num_mel_bands + 2, fmax=sample_rate / 2, htk=True)[1:-1]
    factor = -(-power.shape[1] // max_columns)
    starts = np.arange(0, power.shape[1], factor)
    power = np.add.reduceat(power, starts, axis=1) / np.diff(np.append(starts, power.shape[1]))
    loudest = float(power.max())
    if 10 * np.log10(max(loudest, 1e-30)) < SILENT_DB:
        decibels = np.full_like(power, -DYNAMIC_RANGE_DB)
    else:
        decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-DYNAMIC_RANGE_DB / 10)))
    hop = HOP / sample_rate
    return Spectrogram(decibels, frequencies, -hop / 2, factor * hop, num_mel_bands is not None)


def waveform_outline(waveform: np.ndarray, max_columns: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sample of each of at most ``max_columns`` stretches of equal length.

    Example:
        >>> waveform_outline(np.array([0.1, -0.2, 0.3, 0.4]), 2)
        (array([-0.2,  0.3]), array([0.1, 0.4]))
    """
    starts = np.linspace(0, len(waveform), min(max_columns, len(waveform)), endpoint=False).astype(int)
    return np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)


def mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequency in mel (O'Shaughnessy 1987, page 150).

    Example:
        >>> float(mel(1000.0).round(1))
        1000.0
    """
    return 2595 * np.log10(1 + np.asarray(hz) / 700)
