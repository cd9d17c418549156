"""Pitch and intensity of an utterance, as curves below its spectrogram."""

import numpy as np
import plotly.graph_objects as go

from speechshap.data.cues import HIGHEST_HZ, LOWEST_HZ, contours
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.report.page.plotly_values import float32

LONGEST_SECONDS = 120.0
"""Longer sounds have no curves: they take a tenth of the sound's length to compute."""

_TICKS_HZ = (50, 75, 100, 150, 200, 300, 400, 600)

_GRID = FrameGrid()
"""Measurements every 20 ms, whatever the frames of a model."""


def contour_curves(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in seconds, pitch in Hz and level in dB: ``(points,)`` each, NaN where there is none.

    Args:
        waveform: ``(time,)`` at 16 kHz.

    Example:
        >>> seconds, hertz, _ = contour_curves(np.sin(2 * np.pi * 200 * np.arange(8000) / 16000))
        >>> seconds[:3].round(2), round(float(np.nanmedian(hertz)), -1)
        (array([0.01, 0.03, 0.05]), 200.0)
    """
    hertz, decibels = contours(np.nan_to_num(waveform), _GRID)
    return (_GRID.first_center + _GRID.hop * np.arange(len(hertz))) / SAMPLE_RATE, hertz, decibels


def curve_traces(
    seconds: np.ndarray, hertz: np.ndarray, decibels: np.ndarray, pitch_axis: str, level_axis: str
) -> list[go.Scatter]:
    """The two curves with their gaps; the page colours them by ``meta["role"]``.

    Args:
        seconds: Times of :func:`contour_curves`.
        hertz: Its pitch.
        decibels: Its level.
        pitch_axis: Axis of the pitch, logarithmic (``y3``).
        level_axis: Axis of the level, over the other (``y9``).
    """
    shared = {"x": float32(seconds), "mode": "lines", "showlegend": False, "connectgaps": False}
    return [
        go.Scatter(
            y=float32(decibels), yaxis=level_axis, line={"width": 1.2, "dash": "dot"}, meta={"role": "intensity"},
            hovertemplate="intensity %{y:.1f} dB<extra></extra>", **shared,
        ),
        go.Scatter(
            y=float32(hertz), yaxis=pitch_axis, line={"width": 2}, meta={"role": "pitch"},
            hovertemplate="pitch %{y:.0f} Hz<extra></extra>", **shared,
        ),
    ]  # fmt: skip


def pitch_limits(hertz: np.ndarray) -> tuple[float, float]:
    """Lowest and highest pitch to draw, with a fifth of an octave around those that are there.

    Example:
        >>> [round(hz) for hz in pitch_limits(np.array([100.0, np.nan, 200.0]))]
        [87, 230]
    """
    known = hertz[np.isfinite(hertz)]
    low, high = (known.min(), known.max()) if known.size else (LOWEST_HZ, HIGHEST_HZ)
    return float(low * 2**-0.2), float(high * 2**0.2)


def pitch_ticks(low: float, high: float) -> list[int]:
    """Ticks between two pitches: half an octave apart, or an octave where there would be many.

    Example:
        >>> pitch_ticks(140.0, 320.0), pitch_ticks(60.0, 500.0)
        ([150, 200, 300], [100, 200, 400])
    """
    shown = [hz for hz in _TICKS_HZ if low <= hz <= high]
    return shown if len(shown) <= 4 else [hz for hz in shown if hz in (50, 100, 200, 400)]


def level_limits(decibels: np.ndarray) -> tuple[float, float]:
    """Lowest and highest level to draw, 12 dB apart at least: a steady one is no curve.

    Example:
        >>> level_limits(np.array([-1.0, np.nan, 1.0]))
        (-6.0, 6.0)
    """
    known = decibels[np.isfinite(decibels)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    middle, half = (low + high) / 2, max(6.0, (high - low) / 2)
    return float(middle - half), float(middle + half)
