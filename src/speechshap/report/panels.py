"""The panels of the pictures: arrays drawn on axes whose time is in seconds."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from speechshap.data import Stretch
from speechshap.report.colours import CLASSES, DIVERGING, SPEAKS_AGAINST, SPEAKS_FOR, TRUTH, WARNING
from speechshap.report.spectrogram import Spectrogram, band_positions, is_mel, mel_ticks, waveform_outline
from speechshap.report.strips import Strip
from speechshap.report.wording import shortened
from speechshap.results.estimate import Estimate
from speechshap.results.segments import SegmentAttribution

ATTRIBUTION_MAP = LinearSegmentedColormap.from_list("attribution", list(DIVERGING))

SATURATED = 0.995
"""Quantile of the absolute time-frequency attributions from which on colours are saturated: a few cells dominate."""

_ROW_LETTERS, _LEGEND_LETTERS = 12, 28
"""Letters that there is room for: of a name beside a row, and of all names together in the legend."""

_ROW_INCHES = 0.12
"""Height of a row's name."""

_LETTER_INCHES, _FEWEST_LETTERS = 0.062, 4
"""Width of a letter of a segment's label, and the fewest that are legible in place of it."""

_NO_POWERS = (1e-4, 1e5)
"""Sizes within which an axis needs no power of ten."""

_STRIP_STARTS = 0.46
"""Where a strip begins in its row of height 1; above it is its label."""

_PALE = 0.25
"""Opacity of what is not significant."""

_NARROWEST_MARK = 1 / 400
"""Width of a mark as a share of the axes; a frame of a long sound would be invisible otherwise."""


SHORT_NUMBERS = FuncFormatter(lambda value, _: f"{value:.2g}".replace("-", "−"))


def plain(text: str) -> str:
    """Escape the dollar signs between which matplotlib would read a formula."""
    return text.replace("$", r"\$")


def symmetric_scale(*arrays: np.ndarray, quantile: float = 1.0) -> Normalize:
    """One colour scale for all arrays, symmetric about 0.

    Args:
        arrays: Arrays of any shape; values that are not finite are ignored.
        quantile: Quantile of the absolute values from which on colours are saturated.

    Example:
        >>> scale = symmetric_scale(np.array([1.0, -4.0]), np.array([np.nan]))
        >>> scale.vmin, scale.vmax
        (-4.0, 4.0)
    """
    size = np.concatenate([np.abs(array[np.isfinite(array)]).ravel() for array in arrays])
    reach = float(np.quantile(size, quantile)) if size.size else 0.0
    if reach == 0:
        reach = float(size.max(initial=0.0)) or 1.0
    return Normalize(-reach, reach)


def draw_waveform(axes: Axes, waveform: np.ndarray, sample_rate: int) -> None:
    """Draw a waveform ``(time,)``, or the outline of a long one."""
    lowest, highest = waveform_outline(np.nan_to_num(waveform))
    duration = len(waveform) / sample_rate
    if len(lowest) == len(waveform):
        axes.plot(np.arange(len(waveform)) / sample_rate, lowest, color="0.35", linewidth=0.6)
    else:
        time = np.linspace(0, duration, len(lowest), endpoint=False) + duration / len(lowest) / 2
        axes.fill_between(time, lowest, highest, color="0.35", linewidth=0.4)
    reach = 1.08 * max(float(np.abs(lowest).max(initial=0)), float(np.abs(highest).max(initial=0)), 1e-4)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("amplitude")


def mark_frames(axes: Axes, frames: np.ndarray, edges: np.ndarray, marked: np.ndarray) -> None:
    """Shade some of the frames ``(frames,)``, given by their indices: orange for the target, blue against it."""
    narrowest = _NARROWEST_MARK * (edges[-1] - edges[0])
    for frame in marked:
        begin, end = edges[frame], edges[frame + 1]
        widen = max(0.0, narrowest - (end - begin)) / 2
        colour = SPEAKS_FOR if frames[frame] > 0 else SPEAKS_AGAINST
        axes.axvspan(begin - widen, end + widen, color=colour, alpha=0.35, linewidth=0)


def mark_truth(axes: Axes, truth: Sequence[Stretch], frequencies: np.ndarray | None = None) -> None:
    """Frame the stretches in which the evidence is known to be.

    Args:
        axes: Axes to draw on.
        truth: The stretches.
        frequencies: Centres of the bands of a spectrogram in Hz, where their bands, if known, are framed.
    """
    for stretch in truth:
        low, high, transform = 0.0, 1.0, axes.get_xaxis_transform()
        if frequencies is not None and stretch.low_hz is not None and stretch.high_hz is not None:
            low, high = band_positions(frequencies, np.array([stretch.low_hz, stretch.high_hz])).tolist()
            transform = axes.transData
        axes.add_patch(
            Rectangle(
                (stretch.start, low), stretch.end - stretch.start, high - low, transform=transform, fill=False,
                edgecolor=TRUTH, linewidth=1.4, linestyle=(0, (4, 2)), zorder=4,
            )
        )  # fmt: skip


def name_truth(axes: Axes, stretch: Stretch) -> None:
    """Say beside the frame of a stretch what it is."""
    axes.text(
        stretch.start, 0.96, " known evidence", transform=axes.get_xaxis_transform(), color=TRUTH, fontsize="x-small",
        va="top", zorder=5,
    )  # fmt: skip


def draw_spectrogram(axes: Axes, picture: Spectrogram) -> None:
    """Draw a spectrogram in grey, so that colours are free for the attributions over it."""
    low, high = band_limits(picture.frequencies)
    axes.imshow(
        picture.decibels, origin="lower", aspect="auto", extent=(picture.start, picture.end, low, high), cmap="Greys",
        vmin=-80, vmax=0, interpolation="nearest",
    )  # fmt: skip
    if is_mel(picture.frequencies):
        axes.set_yticks(*mel_ticks(high))
    axes.set_ylabel("frequency (kHz)")


def lay_over(axes: Axes, bands: np.ndarray, frequencies: np.ndarray, hop: float, scale: Normalize) -> ScalarMappable:
    """Draw time-frequency attributions over a spectrogram of the same bands; weak ones are transparent.

    Args:
        axes: Axes with the spectrogram.
        bands: ``(bands, columns)``; NaN is transparent.
        frequencies: Centres of the bands in Hz, ``(bands,)``.
        hop: Seconds from one column to the next, the first centred on 0.
        scale: Colour scale.
    """
    values = np.nan_to_num(bands)
    # Opaque at the ends of the scale and transparent at 0, where white would veil the spectrogram. On a white
    # background this looks the same as the scale.
    rgba = np.empty((*values.shape, 4), dtype=np.float32)
    rgba[..., :3] = np.where(values[..., None] > 0, ATTRIBUTION_MAP(1.0)[:3], ATTRIBUTION_MAP(0.0)[:3])
    rgba[..., 3] = np.clip(np.abs(values) / scale.vmax, 0, 1)
    low, high = band_limits(frequencies)
    extent = (-hop / 2, hop * (bands.shape[1] - 0.5), low, high)
    axes.imshow(rgba, origin="lower", aspect="auto", extent=extent, interpolation="nearest", zorder=2)
    return ScalarMappable(scale, ATTRIBUTION_MAP)


def draw_frames(axes: Axes, frames: Estimate, edges: np.ndarray, names: Sequence[str], unit: str) -> None:
    """Draw attributions of frames, or of longer stretches, as steps, with the 95 % interval of the first target.

    What is significant of the first target is filled down to 0; what is not is pale. There is no interval where it is
    not known, and then nothing is told apart.

    Args:
        axes: Axes to draw on.
        frames: ``(targets, frames)``; as many of the targets are drawn as have names.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        names: Names of the targets.
        unit: Unit of one of the attributions (``logits a frame``).
    """
    values, reach, is_significant = frames.values, frames.of(0).reach, frames.of(0).significant
    letters = _LEGEND_LETTERS // len(names)
    for row, name in reversed(list(enumerate(names))):
        axes.stairs(
            values[row], edges, baseline=None, color=CLASSES[(row + 1) % len(CLASSES)] if row else "0.1",
            linewidth=1.3 if row == 0 else 1.0, label=plain(shortened(name, letters)), zorder=3 - row / 100,
        )  # fmt: skip
    if is_significant is not None:
        for colour, side in ((SPEAKS_FOR, values[0] > 0), (SPEAKS_AGAINST, values[0] < 0)):
            shown = np.where(is_significant[0] & side, values[0], 0.0)
            axes.stairs(shown, edges, fill=True, color=colour, alpha=0.75, linewidth=0, zorder=2)
    if reach is not None and np.isfinite(reach[0]).any() and reach[0].any():
        axes.stairs(
            values[0] + reach[0], edges, baseline=values[0] - reach[0], fill=True, color="0.5", alpha=0.35,
            label="95 % interval",
        )  # fmt: skip
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_ylabel(unit)
    if not _NO_POWERS[0] <= np.nanmax(np.abs(values[: len(names)]), initial=0) < _NO_POWERS[1]:
        axes.yaxis.set_major_formatter(SHORT_NUMBERS)  # a common power of ten would stand where the caption is
    axes.margins(y=0.18)
    axes.legend(loc="upper right", fontsize="small", ncols=4, borderpad=0.3, handlelength=1.2, columnspacing=1.0)


def draw_segments(axes: Axes, segments: SegmentAttribution, inches: float) -> None:
    """Draw a bar with its 95 % interval for each segment of a tier, and its label above it where there is room.

    A bar is orange above 0 and blue below. One that is not significant is no evidence: it is hollow.

    Args:
        axes: Axes to draw on.
        segments: Of one tier; those of the first target are drawn.
        inches: Width of the axes.
    """
    own = segments.estimate.of(0)
    values, reach, is_significant = np.nan_to_num(own.values[0]), own.reach, own.significant
    margin = np.zeros_like(values) if reach is None else np.nan_to_num(reach[0])
    is_known = np.abs(values) > 0 if is_significant is None else is_significant[0]
    corners = np.stack(
        [
            np.stack([segments.starts, np.zeros_like(values)], 1), np.stack([segments.starts, values], 1),
            np.stack([segments.ends, values], 1), np.stack([segments.ends, np.zeros_like(values)], 1),
        ],
        1,
    )  # fmt: skip
    colours = np.where(values > 0, SPEAKS_FOR, SPEAKS_AGAINST)
    axes.add_collection(
        PolyCollection(
            list(corners),
            facecolors=np.where(is_known, colours, "none").tolist(),
            edgecolors=np.where(is_known, "white", "0.6").tolist(),
            linewidths=0.6,
        )
    )
    middles = (segments.starts + segments.ends) / 2
    if margin.any():
        axes.vlines(middles, values - margin, values + margin, color=np.where(is_known, "0.1", "0.6"), linewidth=0.9)
    low, high = min(0.0, float((values - margin).min(initial=0))), max(0.0, float((values + margin).max(initial=0)))
    height = (high - low) or 1.0
    axes.set_ylim(low - 0.08 * height, high + 0.45 * height)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    for middle, room, label in zip(middles, segments.ends - segments.starts, segments.labels, strict=True):
        letters = int(room / segments.ends[-1] * inches / _LETTER_INCHES)
        if label and letters >= min(len(label), _FEWEST_LETTERS):
            axes.text(
                middle, 0.97, plain(shortened(label, letters)), ha="center", va="top", fontsize="x-small",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip


def draw_rows(
    axes: Axes,
    rows: np.ndarray,
    significant: Sequence[np.ndarray | None],
    edges: np.ndarray,
    names: Sequence[str],
    scale: Normalize,
) -> ScalarMappable:
    """Draw a heat map of rows over time, the first on top; what is not significant is pale.

    Where it is known of some rows only, the others are hatched.

    Args:
        axes: Axes to draw on.
        rows: Classes or layers, ``(rows, frames)``.
        significant: Which frames are, for each row, ``(frames,)`` bool; None for a row of which it is unknown.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        names: Names of the rows.
        scale: Colour scale.
    """
    masked = np.ma.masked_invalid(rows)
    colours = ATTRIBUTION_MAP.with_extremes(bad="0.8")
    mesh = axes.pcolormesh(edges, np.arange(len(rows) + 1), masked, cmap=colours, norm=scale, rasterized=True)
    unknown = [row for row, own in enumerate(significant) if own is None]
    if len(unknown) < len(rows):
        is_opaque = np.stack([np.ones(rows.shape[1], bool) if own is None else own for own in significant])
        mesh.set_alpha(np.where(is_opaque | masked.mask, 1.0, _PALE))  # type: ignore[arg-type] # which takes arrays
        for row in unknown:
            axes.add_patch(
                Rectangle(
                    (edges[0], row), edges[-1] - edges[0], 1, fill=False, hatch="////", edgecolor="0.4", linewidth=0
                )
            )
    axes.invert_yaxis()
    inches = axes.bbox.height / axes.figure.dpi
    every = math.ceil(len(names) * _ROW_INCHES / inches)
    axes.set_yticks(
        np.arange(len(rows))[::every] + 0.5, [plain(shortened(name, _ROW_LETTERS)) for name in names[::every]]
    )
    axes.tick_params(axis="y", length=0, labelsize="x-small")
    return mesh


def draw_strips(axes: Axes, strips: Sequence[Strip]) -> ScalarMappable:
    """Draw strips below each other, each with its label above it.

    They are pale where they are not significant, and grey where nothing is known.
    """
    scale = Normalize(-100, 100)
    colours = ATTRIBUTION_MAP.with_extremes(bad="0.85")
    for row, strip in enumerate(strips):
        rgba = colours(scale(np.ma.masked_invalid(100 * strip.shares)))
        rgba[:, 3] = np.where(strip.is_unsure, _PALE, 1.0)
        axes.pcolormesh(strip.edges, [row + _STRIP_STARTS, row + 1], rgba[None], rasterized=True)
        axes.text(
            0.0, row + _STRIP_STARTS - 0.04, plain(strip.label), fontsize="x-small", va="bottom",
            color=WARNING if strip.is_warning else "0.15", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_ylim(len(strips), 0)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    return ScalarMappable(scale, ATTRIBUTION_MAP)


def draw_shares(axes: Axes, shares: np.ndarray) -> None:
    """Draw each layer's percentage of the absolute neuron attributions ``(layers,)``, the first on top."""
    axes.barh(np.arange(len(shares)) + 0.5, shares, height=0.8, color="0.45")
    axes.set_ylim(len(shares), 0)
    axes.set_yticks([])
    axes.set_xlim(0, max(1.15 * float(shares.max()), 1e-6))
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="lower"))  # its 0 would collide with the time axis
    axes.set_xlabel("share (%)")


def band_limits(frequencies: np.ndarray) -> tuple[float, float]:
    """Lower and upper bound of evenly spaced bands, in mel or in kHz."""
    centers = band_positions(frequencies)
    half = (centers[1] - centers[0]) / 2
    return float(centers[0] - half), float(centers[-1] + half)
