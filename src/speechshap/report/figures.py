"""Pictures of explanations as matplotlib figures, without global state."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, Locator, MaxNLocator

from speechshap.errors import UserError, require_at_least
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.report import panels
from speechshap.report.colours import WARNING
from speechshap.report.moments import TOP_K_FRAMES, marked_frames
from speechshap.report.notebook import show
from speechshap.report.panels import plain, symmetric_scale
from speechshap.report.spectrogram import spectrogram
from speechshap.report.strips import CAPTION, strips
from speechshap.report.wording import predicted_text, shortened
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation

# TensorBoard shows pictures 350 pixels wide, and full size after a click: text is legible in narrow ones only.
_WIDTH, _DPI = 5.2, 140  # inches
_LEFT, _RIGHT, _SIDE = 0.78, 0.72, 0.1  # inches: margins, and the gap between panels and colour bars
_TOP, _BOTTOM, _GAP, _LINE = 0.6, 0.45, 0.31, 0.13
_HEIGHTS = {"waveform": 0.8, "spectrogram": 1.25, "frames": 1.35}
_STRIP, _TIER = 0.38, 0.6
_CAPTION_LETTERS, _TIER_LETTERS = 58, 20
_NAME_LETTERS = (100, 50, 40, 30, 24, 20, 16, 12, 9, 6)
"""Letters that a name in a line of text may have: the most of them that there is room for."""

_SPECTROGRAM = "spectrogram, 80 dB from white to black"


def explanation_figure(
    waveform: np.ndarray, sample_rate: int, explanation: Explanation, top_k_frames: int = TOP_K_FRAMES
) -> Figure:
    """Draw everything that an explanation has on one time axis.

    From the top: the waveform with the strongest frames marked; the spectrogram under the time-frequency attribution;
    a bar with its 95 % interval for each segment that was asked for, such as the words; the frame attribution of the
    first target with its 95 % interval, and that of the second (the runner-up among the explained classes); all targets
    where there are more than two; the layers and their shares. All targets share one colour scale. Where single frames
    are not known well enough, longer stretches stand for them (:meth:`Explanation.resolution`).

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        explanation: What to draw.
        top_k_frames: How many frames to mark in the waveform.
    """
    targets = [str(target) for target in explanation.targets]
    tiers = {f"tier {tier.tiers[0]}": tier for tier in explanation.read_tiers}
    heights = {**_HEIGHTS, **dict.fromkeys(tiers, _TIER)}
    heights["frames"] = heights.pop("frames")  # below the tiers
    if len(targets) > 2:
        heights["targets"] = min(4.5, 0.14 * len(targets) + 0.2)
    if explanation.layers is not None:
        heights["layers"] = min(2.2, 0.13 * len(explanation.layers.names) + 0.25)
    reservation, shown = explanation.reservation(), explanation.resolution()
    note = textwrap.fill(reservation or explanation.shown(), _CAPTION_LETTERS)
    figure, axes = _stack(heights, note.count("\n"))
    _title(figure, explanation)

    edges, frames = explanation.frame_edges, explanation.frames.values
    # As much of the sound as so many frames are.
    count = math.ceil(top_k_frames * shown.estimate.values.shape[1] / frames.shape[1])
    what = "frames" if shown.is_frames else f"{shown.name} stretches"
    speaks_for = targets[0] if explanation.is_signed else None
    _draw_waveform(axes["waveform"], waveform, sample_rate, shown.estimate, shown.edges, speaks_for, count, what)
    panels.mark_truth(axes["waveform"], explanation.truth)
    if explanation.truth:
        panels.name_truth(axes["waveform"], explanation.truth[0])

    bands = explanation.bands
    frequencies = None if bands is None else bands.frequencies
    picture = spectrogram(waveform, sample_rate, frequencies)
    panels.draw_spectrogram(axes["spectrogram"], picture)
    panels.mark_truth(axes["spectrogram"], explanation.truth, picture.frequencies)
    if bands is None:
        _caption(axes["spectrogram"], _SPECTROGRAM)
    else:
        values = bands.estimate.values
        scale = symmetric_scale(values, quantile=panels.SATURATED)
        is_significant = bands.estimate.of(0).significant
        drawn = values[0] if is_significant is None else np.where(is_significant[0], values[0], np.nan)
        overlay = panels.lay_over(axes["spectrogram"], drawn, bands.frequencies, bands.hop_seconds, scale)
        kind = "time-frequency attribution" if is_significant is None else "significant attribution"
        if is_significant is not None and not is_significant[0].any():
            kind = "no significant attribution"
        said = (f"spectrogram, {kind} to {shortened(targets[0], letters)}" for letters in _NAME_LETTERS)
        _caption(axes["spectrogram"], *said, pixels=axes["spectrogram"].bbox.width)
        _colour_bar(figure, axes["spectrogram"], overlay, explanation.unit)

    for number, (panel, tier) in enumerate(tiers.items()):
        panels.draw_segments(axes[panel], tier, _WIDTH - _LEFT - _RIGHT)
        axes[panel].set_ylabel(explanation.unit)
        own = tier.estimate.of(0)
        legend = "" if number or own.reach is None else ", 95 % intervals"
        legend += "; hollow: not significant" if legend and own.is_signed else ""
        _caption(axes[panel], f"{shortened(tier.tiers[0], _TIER_LETTERS)}{legend}")

    panels.draw_frames(axes["frames"], shown.estimate, shown.edges, targets[:2], f"{explanation.unit} {shown.each}")
    _caption(axes["frames"], note, warn=reservation is not None)

    if "targets" in heights:
        known = [explanation.frames.of(target).significant for target in range(len(targets))]
        sure = [None if own is None else own[0] for own in known]
        rows = panels.draw_rows(axes["targets"], frames, sure, edges, targets, symmetric_scale(frames))
        _caption(axes["targets"], f"frames of every target{_pale(sure)}")
        _colour_bar(figure, axes["targets"], rows, explanation.unit)
    if (layers := explanation.layers) is not None:
        scale = symmetric_scale(layers.frames.values)
        names = [name.removeprefix("layer_") for name in layers.names]
        is_significant = layers.frames.of(0).significant
        sure = [None] * len(names) if is_significant is None else list(is_significant[0])
        rows = panels.draw_rows(axes["layers"], layers.frames.values[0], sure, edges, names, scale)
        axes["layers"].set_ylabel("layer")
        _caption(axes["layers"], f"neurons by layer and frame (±{scale.vmax:.2g} {explanation.unit}{_pale(sure)})")
        panels.draw_shares(_beside(figure, axes["layers"], 0.52), layers.shares[0])

    _share_time(list(axes.values()), explanation.duration)
    return figure


def methods_figure(explanations: Sequence[Explanation], waveform: np.ndarray | None, sample_rate: int) -> Figure:
    """Draw the explanations of one utterance by several methods on one time axis.

    From the top: the waveform; the spectrogram; a strip for each explanation, with the frame attributions to the first
    target of the first one. As units differ, each strip is relative to its own largest absolute value.

    Args:
        explanations: What to draw, from the top.
        waveform: ``(time,)``; None where there is no sound, whose panels are then left out.
        sample_rate: Hz.

    Raises:
        UserError: There are no explanations, or they are of several utterances.
    """
    utterances = {explanation.utterance for explanation in explanations}
    if len(utterances) != 1:
        raise UserError(f"`explanations` are of {len(utterances)} utterances; expected those of one")
    first = explanations[0]
    heights = {} if waveform is None else {name: _HEIGHTS[name] for name in ("waveform", "spectrogram")}
    caption = textwrap.fill(CAPTION, _CAPTION_LETTERS)
    figure, axes = _stack({**heights, "strips": _STRIP * len(explanations)}, caption.count("\n"), tall_caption="strips")
    _title(figure, first, with_error=False)
    if waveform is not None:
        panels.draw_waveform(axes["waveform"], waveform, sample_rate)
        panels.draw_spectrogram(axes["spectrogram"], spectrogram(waveform, sample_rate))
        _caption(axes["spectrogram"], _SPECTROGRAM)
    coloured = panels.draw_strips(axes["strips"], strips(explanations, str(first.targets[0])))
    _caption(axes["strips"], caption)
    _colour_bar(figure, axes["strips"], coloured, "%", FixedLocator((-100, 0, 100)))
    _share_time(list(axes.values()), first.duration)
    return figure


def _audio_attribution_figure(
    waveform: np.ndarray,
    sample_rate: int,
    attribution: Estimate,
    edges: np.ndarray,
    title: str,
    top_k_frames: int,
) -> Figure:
    """Draw attributions of which only the values and perhaps their errors are known.

    Args:
        waveform: ``(time,)``.
        sample_rate: Hz.
        attribution: Frame attributions to one target, ``(1, frames)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        title: Title of the picture.
        top_k_frames: How many frames to mark in the waveform.
    """
    (frames,) = attribution.values
    figure, axes = _stack(_HEIGHTS)
    figure.text(0.5, 1 - 0.15 / figure.get_figheight(), title, ha="center", va="top", parse_math=False)
    _draw_waveform(axes["waveform"], waveform, sample_rate, attribution, edges, "the class", top_k_frames)
    panels.draw_spectrogram(axes["spectrogram"], spectrogram(waveform, sample_rate))
    _caption(axes["spectrogram"], _SPECTROGRAM)
    panels.draw_frames(axes["frames"], attribution, edges, ["attribution"], "attribution a frame")
    if not np.isfinite(frames).all():
        _caption(axes["frames"], f"{np.sum(~np.isfinite(frames))} of {frames.size} frames are not finite", warn=True)
    elif not frames.any():
        _caption(axes["frames"], "the attribution is 0 everywhere", warn=True)
    _share_time(list(axes.values()), len(waveform) / sample_rate)
    return figure


def _draw_waveform(
    axes: Axes,
    waveform: np.ndarray,
    sample_rate: int,
    frames: Estimate,
    edges: np.ndarray,
    target: str | None,
    count: int,
    what: str = "frames",
) -> None:
    """Draw the waveform with what is significant for and against a target; None where the sign says no such thing."""
    panels.draw_waveform(axes, waveform, sample_rate)
    own = frames.of(0)
    is_significant = None if (found := own.significant) is None else found[0]
    marked = marked_frames(frames.values[0], is_significant, count)
    panels.mark_frames(axes, frames.values[0], edges, marked)
    said = ["orange above 0, blue below"]
    if target is not None:
        said = [f"orange for {shortened(target, letters)}, blue against" for letters in _NAME_LETTERS]
    if is_significant is None:
        unknown = ", errors unknown" if own.standard_error is None else ""
        _caption(axes, *(f"strongest {what}{unknown}: {each}" for each in said))
    elif len(marked):
        number = int(is_significant.sum())
        count_said = "" if len(marked) == number else f"{len(marked)} of {number} "
        _caption(axes, *(f"{count_said}significant {what}: {each}" for each in said))
    else:
        _caption(axes, f"of the {what}, none is significant")


def _pale(significant: Sequence[np.ndarray | None]) -> str:
    """What a caption says of pale rows, and of hatched ones."""
    unknown = sum(own is None for own in significant)
    if unknown == len(significant):
        return ""
    return f"; pale: not significant{', hatched: unknown' if unknown else ''}"


def _stack(heights: dict[str, float], lines: int = 0, tall_caption: str = "frames") -> tuple[Figure, dict[str, Axes]]:
    """Stack panels of these heights in inches, with room for more lines of text above one of them.

    The layout is computed here because matplotlib's constrained layout takes half of the drawing time.
    """
    total = _TOP + _BOTTOM + sum(heights.values()) + _GAP * (len(heights) - 1) + _LINE * lines
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI)
    FigureCanvasAgg(figure)  # which measures text
    axes: dict[str, Axes] = {}
    top = total - _TOP
    width = (_WIDTH - _LEFT - _RIGHT) / _WIDTH
    for name, height in heights.items():
        top -= _LINE * lines if name == tall_caption else 0
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


def _title(figure: Figure, explanation: Explanation, with_error: bool = True) -> None:
    reservation = explanation.reservation() or "" if with_error else ""
    error = explanation.relative_error[0] if explanation.resolution().is_frames else np.nan  # the caption tells it
    with_error = with_error and bool(np.isfinite(error)) and "relative error" not in reservation
    said = f", relative error {error:.2f}" if with_error else ""
    lines: list[tuple[float, list[str], dict[str, Any]]] = [
        (0.1, [shortened(explanation.utterance, letters) for letters in _NAME_LETTERS], {}),
        (0.28, [_facts(explanation, letters) + said for letters in _NAME_LETTERS],
         {"fontsize": "small", "color": WARNING if reservation else "black"}),
    ]  # fmt: skip
    for inches, versions, look in lines:
        line = figure.text(
            0.5, 1 - inches / figure.get_figheight(), "", ha="center", va="top", parse_math=False, **look
        )
        _say(line, versions, figure.bbox.width)


def _facts(explanation: Explanation, letters: int) -> str:
    """Prediction, label, and what is explained if it is something else; names have no more than so many letters."""
    parts = [predicted_text(explanation, letters)]
    if explanation.label is not None:
        parts.append(f"labelled {shortened(explanation.label, letters)}")
    if explanation.prediction is not None and explanation.targets[0] != (explanation.prediction, None):
        parts.append(f"explained {shortened(str(explanation.targets[0]), letters)}")
    return ", ".join(parts)


def _say(text: Text, versions: Sequence[str], pixels: float) -> None:
    """Say the first version that is no wider; the last one where all are."""
    for version in versions:
        text.set_text(version)
        if text.get_window_extent().width <= pixels:
            return


def _caption(axes: Axes, *versions: str, warn: bool = False, pixels: float | None = None) -> None:
    """Say the first version for which there is room: up to the edge of the figure, or so many pixels."""
    title = axes.set_title(
        "", fontsize="small", loc="left", pad=3, color=WARNING if warn else "0.15",
        fontweight="bold" if warn else "normal",
    )  # fmt: skip
    room = axes.figure.bbox.x1 - axes.bbox.x0 if pixels is None else pixels
    _say(title, [plain(version) for version in versions], room)


def _beside(figure: Figure, axes: Axes, inches: float) -> Axes:
    """Axes of this width to the right of the given ones."""
    box, width = axes.get_position(), figure.get_figwidth()
    side = figure.add_axes((box.x1 + _SIDE / width, box.y0, inches / width, box.height))
    side.tick_params(labelsize="x-small")
    side.xaxis.label.set_fontsize("x-small")
    return side


def _colour_bar(figure: Figure, axes: Axes, coloured: ScalarMappable, unit: str, ticks: Locator | None = None) -> None:
    bar = figure.colorbar(coloured, cax=_beside(figure, axes, 0.08))
    bar.ax.set_title(unit, fontsize="x-small", loc="left", pad=4)
    bar.formatter = panels.SHORT_NUMBERS
    bar.ax.yaxis.set_major_locator(ticks or MaxNLocator(3, symmetric=True))


def visualize_audio_attributions(
    audio: np.ndarray,
    attributions: np.ndarray,
    sample_rate: int,
    target_class: int | str,
    prediction_prob: float,
    top_k: int = TOP_K_FRAMES,
) -> Figure:
    """Draw a sound and its attributions, computed by any program. A notebook shows the picture.

    Args:
        audio: ``(time,)``.
        attributions: One for each frame ``(frames,)`` or sample ``(time,)``, or ``(references, frames or time)`` with
            those of several references, whose mean is drawn with the interval that follows from their spread.
            Attributions of samples are summed over frames of 20 ms.
        sample_rate: Hz.
        target_class: Class that the attributions explain.
        prediction_prob: Probability of that class, from 0 to 1.
        top_k: How many frames to mark.

    Raises:
        UserError: The shapes do not fit each other, or a number is out of range.

    Example:
        >>> figure = visualize_audio_attributions(np.zeros(16000), np.arange(49.0), 16000, "happy", 0.8)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['amplitude', 'frequency (kHz)', 'attribution a frame']
    """
    require_at_least(0, top_k=top_k)
    if not sample_rate > 0:
        raise UserError(f"`sample_rate` is {sample_rate}; expected samples a second (Hz), above 0")
    audio, values = np.asarray(audio, dtype=np.float32), np.asarray(attributions, dtype=np.float64)
    if audio.ndim != 1 or not audio.size:
        raise UserError(f"`audio` has shape {audio.shape}; expected (time,)")
    if values.ndim not in (1, 2) or not values.size:
        raise UserError(
            f"`attributions` have shape {values.shape}; expected (frames,), (time,), or (references, frames or time)"
        )
    if values.shape[-1] > audio.size:
        raise UserError(
            f"`attributions` are {values.shape[-1]} for {audio.size} samples of `audio`; expected fewer, or as many"
        )
    duration = audio.size / sample_rate
    rows = np.atleast_2d(values)
    if rows.shape[1] == audio.size:
        starts = np.arange(0, audio.size, max(1, round(FrameGrid().hop_seconds * sample_rate)))
        rows = np.add.reduceat(rows, starts, axis=1)
        edges = np.append(starts, audio.size) / sample_rate
    else:
        edges = _edges_of(rows.shape[1], duration)
    error = rows.std(0, ddof=1, keepdims=True) / np.sqrt(len(rows)) if len(rows) > 1 else None
    name = f"class {target_class}" if isinstance(target_class, int | np.integer) else target_class
    title = f"attribution to {name}, predicted with {prediction_prob:.0%}"
    attribution = Estimate(rows.mean(0, keepdims=True), error, len(rows))
    figure = _audio_attribution_figure(audio, sample_rate, attribution, edges, title, top_k)
    show(figure)
    return figure


def _edges_of(count: int, duration: float) -> np.ndarray:
    """Bounds of this many frames in seconds: those of the usual stem if it makes as many, else of equal stretches."""
    grid, num_samples = FrameGrid(), round(duration * SAMPLE_RATE)
    if count == grid.num_frames(num_samples):
        return grid.edges(num_samples).numpy() / SAMPLE_RATE
    return np.linspace(0, duration, count + 1)
