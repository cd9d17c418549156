"""Pictures: plain arrays in, matplotlib figures out, no global state."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from speechshap.report import panels
from speechshap.report.colours import WARNING
from speechshap.report.panels import plain, symmetric_scale
from speechshap.report.spectrogram import spectrogram
from speechshap.results.explanation import TOP_K_FRAMES, Explanation, frame_edges

# TensorBoard shows pictures 350 pixels wide, and as large as they are after a click: narrow ones have legible letters.
_WIDTH, _DPI = 5.2, 140  # inches
_LEFT, _RIGHT, _SIDE = 0.78, 0.72, 0.1  # inches: of the margins, and between the panels and what is beside them
_TOP, _BOTTOM, _GAP, _LINE = 0.6, 0.45, 0.31, 0.13
_HEIGHTS = {"waveform": 0.8, "spectrogram": 1.25, "frames": 1.35}
_CAPTION_LETTERS = 58
_SPECTROGRAM = "spectrogram, 80 dB from white to black"


def explanation_figure(
    waveform: np.ndarray, sample_rate: int, explanation: Explanation, top_k_frames: int = TOP_K_FRAMES
) -> Figure:
    """Draw all that an explanation has on one time axis.

    From the top: the waveform with the strongest frames marked; the spectrogram, with the time-frequency attribution
    laid over it; the frame attribution of the first target with its 95 % interval, and of the second (the runner-up
    of the classes that were explained); all targets where there are more than two; the layers, with the share of
    each. All targets have one scale of colours.

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        explanation: What to draw.
        top_k_frames: How many frames to mark in the waveform.
    """
    targets = explanation.targets
    heights = dict(_HEIGHTS)
    if len(targets) > 2:
        heights["targets"] = min(2.2, 0.16 * len(targets) + 0.15)
    if explanation.layer_frames is not None:
        heights["layers"] = min(2.2, 0.13 * len(explanation.layer_names) + 0.25)
    reservation = explanation.reservation()
    note = textwrap.fill(
        reservation or f"frame attribution, relative error {explanation.relative_error[0]:.2f}", _CAPTION_LETTERS
    )
    figure, axes = _stack(heights, note.count("\n"))
    _title(figure, explanation)

    edges, shown = explanation.frame_edges, explanation.frames
    _draw_waveform(axes["waveform"], waveform, sample_rate, shown[0], edges, targets[0], top_k_frames)

    bands = explanation.time_frequency
    panels.draw_spectrogram(axes["spectrogram"], spectrogram(waveform, sample_rate, explanation.frequencies))
    if bands is None or explanation.frequencies is None:
        _caption(axes["spectrogram"], _SPECTROGRAM)
    else:
        scale = symmetric_scale(bands, quantile=panels.SATURATED)
        overlay = panels.lay_over(
            axes["spectrogram"], bands[0], explanation.frequencies, explanation.time_frequency_hop, scale
        )
        _caption(axes["spectrogram"], f"spectrogram, time-frequency attribution to {targets[0]}")
        _colour_bar(figure, axes["spectrogram"], overlay, explanation.unit)

    panels.draw_frames(axes["frames"], shown[:2], explanation.standard_error[:2], edges, targets[:2], explanation.unit)
    _caption(axes["frames"], note, warn=reservation is not None)

    if "targets" in heights:
        rows = panels.draw_rows(axes["targets"], shown, edges, targets, symmetric_scale(shown))
        _caption(axes["targets"], "frame attribution of every target")
        _colour_bar(figure, axes["targets"], rows, explanation.unit)
    if explanation.layer_frames is not None:
        scale = symmetric_scale(explanation.layer_frames)
        names = [name.removeprefix("layer_") for name in explanation.layer_names]
        rows = panels.draw_rows(axes["layers"], explanation.layer_frames[0], edges, names, scale)
        axes["layers"].set_ylabel("layer")
        _caption(axes["layers"], f"neurons of each layer, summed (±{scale.vmax:.2g} {explanation.unit})")
        panels.draw_shares(_beside(figure, axes["layers"], 0.52), explanation.layer_shares[0])

    _share_time(list(axes.values()), explanation.duration)
    return figure


def _audio_attribution_figure(
    waveform: np.ndarray,
    sample_rate: int,
    frames: np.ndarray,
    standard_error: np.ndarray,
    edges: np.ndarray,
    title: str,
    top_k_frames: int = TOP_K_FRAMES,
) -> Figure:
    """Draw attributions of which no more is known than their values.

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        frames: ``(frames,)``.
        standard_error: Of each, ``(frames,)``; NaN where unknown.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        title: Above the picture.
        top_k_frames: How many frames to mark in the waveform.
    """
    figure, axes = _stack(_HEIGHTS)
    figure.text(0.5, 1 - 0.15 / figure.get_figheight(), title, ha="center", va="top", parse_math=False)
    _draw_waveform(axes["waveform"], waveform, sample_rate, frames, edges, "the class", top_k_frames)
    panels.draw_spectrogram(axes["spectrogram"], spectrogram(waveform, sample_rate))
    _caption(axes["spectrogram"], _SPECTROGRAM)
    panels.draw_frames(axes["frames"], frames[None], standard_error[None], edges, ["attribution"], "attribution")
    if not np.isfinite(frames).all():
        _caption(axes["frames"], f"{np.sum(~np.isfinite(frames))} of {frames.size} frames are not finite", warn=True)
    elif not frames.any():
        _caption(axes["frames"], "the attribution is 0 everywhere", warn=True)
    _share_time(list(axes.values()), len(waveform) / sample_rate)
    return figure


def _draw_waveform(
    axes: Axes, waveform: np.ndarray, sample_rate: int, frames: np.ndarray, edges: np.ndarray, target: str, count: int
) -> None:
    """The waveform with the strongest frames for and against a target."""
    panels.draw_waveform(axes, waveform, sample_rate)
    panels.mark_frames(axes, frames, edges, count)
    _caption(axes, f"strongest frames: orange for {target}, blue against")


def _stack(heights: dict[str, float], lines: int = 0) -> tuple[Figure, dict[str, Axes]]:
    """Panels of these heights in inches, one above the other, with room for more lines above that of the frames.

    Done by hand: constrained layout takes half of the drawing time.
    """
    total = _TOP + _BOTTOM + sum(heights.values()) + _GAP * (len(heights) - 1) + _LINE * lines
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI)
    axes: dict[str, Axes] = {}
    top = total - _TOP
    width = (_WIDTH - _LEFT - _RIGHT) / _WIDTH
    for name, height in heights.items():
        top -= _LINE * lines if name == "frames" else 0
        axes[name] = figure.add_axes((_LEFT / _WIDTH, (top - height) / total, width, height / total))
        axes[name].tick_params(labelsize="small")
        top -= height + _GAP
    return figure, axes


def _share_time(axes: Sequence[Axes], duration: float) -> None:
    for panel in axes[1:]:
        panel.sharex(axes[0])
    for panel in axes:
        panel.set_xlim(0, duration)
        panel.tick_params(labelbottom=panel is axes[-1])
    axes[-1].set_xlabel("time (s)")


def _title(figure: Figure, explanation: Explanation) -> None:
    name = explanation.utterance
    name = name if len(name) <= 56 else f"{name[:26]}…{name[-29:]}"
    parts = [f"predicted {explanation.prediction} ({explanation.probability:.0%})"]
    if explanation.label is not None:
        parts.append(f"labelled {explanation.label}")
    if explanation.targets[0] != explanation.prediction:
        parts.append(f"explained {explanation.targets[0]}")
    error = explanation.relative_error[0]
    if np.isfinite(error):
        parts.append(f"relative error {error:.2f}")
    colour = WARNING if explanation.reservation() else "black"
    figure.text(0.5, 1 - 0.1 / figure.get_figheight(), name, ha="center", va="top", parse_math=False)
    figure.text(
        0.5, 1 - 0.28 / figure.get_figheight(), ", ".join(parts), ha="center", va="top", fontsize="small",
        color=colour, parse_math=False,
    )  # fmt: skip


def _caption(axes: Axes, text: str, warn: bool = False) -> None:
    axes.set_title(
        plain(text), fontsize="small", loc="left", pad=3, color=WARNING if warn else "0.15",
        fontweight="bold" if warn else "normal",
    )  # fmt: skip


def _beside(figure: Figure, axes: Axes, inches: float) -> Axes:
    """Axes of this width to the right of others."""
    box, width = axes.get_position(), figure.get_figwidth()
    side = figure.add_axes((box.x1 + _SIDE / width, box.y0, inches / width, box.height))
    side.tick_params(labelsize="x-small")
    side.xaxis.label.set_fontsize("x-small")
    return side


def _colour_bar(figure: Figure, axes: Axes, coloured: ScalarMappable, unit: str) -> None:
    bar = figure.colorbar(coloured, cax=_beside(figure, axes, 0.08))
    bar.ax.set_title(unit, fontsize="x-small", loc="left", pad=4)
    bar.formatter = FuncFormatter(lambda value, position: f"{value:.2g}".replace("-", "−"))
    bar.ax.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))


def visualize_audio_attributions(
    audio: np.ndarray,
    attributions: np.ndarray,
    sample_rate: int,
    target_class: int | str,
    prediction_prob: float,
    top_k: int = TOP_K_FRAMES,
) -> Figure:
    """Draw a sound and attributions that were computed anywhere.

    Args:
        audio: ``(time,)``.
        attributions: One a frame ``(frames,)`` or a sample ``(time,)``, or of each of several reference samples,
            ``(reference samples, frames or time)``: their mean is drawn, with the interval that follows from their
            spread. Attributions of samples are summed over frames of 20 ms.
        sample_rate: Hz.
        target_class: What the attributions are for.
        prediction_prob: Probability that the model gives it, from 0 to 1.
        top_k: How many frames to mark.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> figure = visualize_audio_attributions(np.zeros(16000), np.arange(49.0), 16000, "happy", 0.8)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['amplitude', 'frequency (kHz)', 'attribution a frame']
    """
    audio, values = np.asarray(audio, dtype=np.float32), np.asarray(attributions, dtype=np.float64)
    if audio.ndim != 1 or not audio.size:
        raise ValueError(f"audio has shape {audio.shape}; expected (time,)")
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(
            f"attributions have shape {values.shape}; expected (frames,), (time,), or (reference samples, frames or "
            "time)"
        )
    if values.shape[-1] > audio.size:
        raise ValueError(
            f"{values.shape[-1]} attributions for {audio.size} samples of audio; expected fewer, or as many"
        )
    duration = audio.size / sample_rate
    rows = np.atleast_2d(values)
    if rows.shape[1] == audio.size:
        starts = np.arange(0, audio.size, max(1, round(0.02 * sample_rate)))
        rows = np.add.reduceat(rows, starts, axis=1)
        edges = np.append(starts, audio.size) / sample_rate
    else:
        edges = _edges_of(rows.shape[1], duration)
    error = np.full(rows.shape[1], np.nan)
    if len(rows) > 1:
        error = rows.std(0, ddof=1) / np.sqrt(len(rows))
    name = f"class {target_class}" if isinstance(target_class, int | np.integer) else target_class
    title = f"attribution to {name}, predicted with {prediction_prob:.0%}"
    return _audio_attribution_figure(audio, sample_rate, rows.mean(0), error, edges, title, top_k)


def _edges_of(count: int, duration: float) -> np.ndarray:
    """Bounds of this many frames: those of a stem with 25 ms windows every 20 ms if it has as many, else equal ones."""
    if count == int((duration - 0.025) / 0.02 + 1e-9) + 1:
        return frame_edges(count, 0.02, 0.01247, duration)
    return np.linspace(0, duration, count + 1)
