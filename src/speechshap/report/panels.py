"""The panels that pictures are put together from: plain arrays in, drawn on axes whose time is in seconds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator

from speechshap.report.colours import CLASSES, DIVERGING, SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.spectrogram import Spectrogram, band_positions, is_mel, mel_ticks, waveform_outline
from speechshap.results.explanation import REACH_95, strongest_frames

ATTRIBUTION_MAP = LinearSegmentedColormap.from_list("attribution", list(DIVERGING))

SATURATED = 0.995
"""Quantile of the absolute time-frequency attributions from which on colours are saturated: few cells stand out."""

_NARROWEST_MARK = 1 / 400
"""Of the width of the axes: a frame of a long sound would not be seen otherwise."""


def plain(text: str) -> str:
    """Text as it stands, where matplotlib would read formulae between dollar signs."""
    return text.replace("$", r"\$")


def symmetric_scale(*arrays: np.ndarray, quantile: float = 1.0) -> Normalize:
    """One scale for all arrays, the same to both sides of 0.

    Args:
        arrays: Of any shapes; what is not finite is left out.
        quantile: Of the absolute values, from which on colours are saturated.

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
    """Draw a waveform ``(time,)``; of a long one the outline."""
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


def mark_frames(axes: Axes, frames: np.ndarray, edges: np.ndarray, count: int) -> None:
    """Shade the strongest frames ``(frames,)``, orange where they speak for the target and blue where against."""
    narrowest = _NARROWEST_MARK * (edges[-1] - edges[0])
    for frame in strongest_frames(frames, count):
        begin, end = edges[frame], edges[frame + 1]
        widen = max(0.0, narrowest - (end - begin)) / 2
        colour = SPEAKS_FOR if frames[frame] > 0 else SPEAKS_AGAINST
        axes.axvspan(begin - widen, end + widen, color=colour, alpha=0.35, linewidth=0)


def draw_spectrogram(axes: Axes, picture: Spectrogram) -> None:
    """Draw a spectrogram in greys, which leaves the colours to attributions laid over it."""
    low, high = band_limits(picture.frequencies)
    axes.imshow(
        picture.decibels, origin="lower", aspect="auto", extent=(picture.start, picture.end, low, high), cmap="Greys",
        vmin=-80, vmax=0, interpolation="nearest",
    )  # fmt: skip
    if is_mel(picture.frequencies):
        axes.set_yticks(*mel_ticks(high))
    axes.set_ylabel("frequency (kHz)")


def lay_over(axes: Axes, bands: np.ndarray, frequencies: np.ndarray, hop: float, scale: Normalize) -> ScalarMappable:
    """Lay time-frequency attributions over a spectrogram of the same bands; weak ones let it be seen.

    Args:
        axes: With the spectrogram.
        bands: ``(bands, columns)``.
        frequencies: Centres of the bands in Hz, ``(bands,)``.
        hop: Seconds from one column to the next, the first centred on 0.
        scale: Of the colours.
    """
    values = np.nan_to_num(bands)
    # Opaque at the ends of the scale, transparent at 0, where its white would lie over the spectrogram as a veil. On
    # white ground this is the scale itself.
    rgba = np.empty((*values.shape, 4), dtype=np.float32)
    rgba[..., :3] = np.where(values[..., None] > 0, ATTRIBUTION_MAP(1.0)[:3], ATTRIBUTION_MAP(0.0)[:3])
    rgba[..., 3] = np.clip(np.abs(values) / scale.vmax, 0, 1)
    low, high = band_limits(frequencies)
    extent = (-hop / 2, hop * (bands.shape[1] - 0.5), low, high)
    axes.imshow(rgba, origin="lower", aspect="auto", extent=extent, interpolation="nearest", zorder=2)
    return ScalarMappable(scale, ATTRIBUTION_MAP)


def draw_frames(
    axes: Axes, frames: np.ndarray, standard_error: np.ndarray, edges: np.ndarray, names: Sequence[str], unit: str
) -> None:
    """Draw frame attributions as steps, with the 95 % interval of the first.

    Args:
        axes: To draw on.
        frames: ``(targets, frames)``.
        standard_error: Of each, ``(targets, frames)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        names: Of the targets.
        unit: Of the attributions.
    """
    for row, name in reversed(list(enumerate(names))):
        axes.stairs(
            frames[row], edges, baseline=None, color=CLASSES[(row + 1) % len(CLASSES)] if row else "0.1",
            linewidth=1.3 if row == 0 else 1.0, label=plain(name), zorder=3 - row / 100,
        )  # fmt: skip
    reach = REACH_95 * standard_error[0]
    if np.isfinite(reach).any() and reach.any():
        axes.stairs(
            frames[0] + reach, edges, baseline=frames[0] - reach, fill=True, color="0.5", alpha=0.35,
            label="95 % interval",
        )  # fmt: skip
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_ylabel(f"{unit} a frame")
    axes.margins(y=0.18)
    axes.legend(loc="upper right", fontsize="small", ncols=4, borderpad=0.3, handlelength=1.2, columnspacing=1.0)


def draw_rows(
    axes: Axes, rows: np.ndarray, edges: np.ndarray, names: Sequence[str], scale: Normalize
) -> ScalarMappable:
    """Draw a heat map of rows over time, the first on top.

    Args:
        axes: To draw on.
        rows: Classes or layers, ``(rows, frames)``.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        names: Of the rows.
        scale: Of the colours.
    """
    masked = np.ma.masked_invalid(rows)
    colours = ATTRIBUTION_MAP.with_extremes(bad="0.8")
    mesh = axes.pcolormesh(edges, np.arange(len(rows) + 1), masked, cmap=colours, norm=scale, rasterized=True)
    axes.invert_yaxis()
    every = -(-len(names) // 14)
    axes.set_yticks(np.arange(len(rows))[::every] + 0.5, [plain(name) for name in names[::every]])
    axes.tick_params(axis="y", length=0)
    return mesh


def draw_shares(axes: Axes, shares: np.ndarray) -> None:
    """Draw what percentage each layer has of the absolute neuron attributions, ``(layers,)``, the first on top."""
    axes.barh(np.arange(len(shares)) + 0.5, shares, height=0.8, color="0.45")
    axes.set_ylim(len(shares), 0)
    axes.set_yticks([])
    axes.set_xlim(0, max(1.15 * float(shares.max()), 1e-6))
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="lower"))  # whose 0 would be in the way of the time
    axes.set_xlabel("share (%)")


def band_limits(frequencies: np.ndarray) -> tuple[float, float]:
    """Lower and upper bound of evenly spaced bands, in mel or in kHz."""
    centers = band_positions(frequencies)
    half = (centers[1] - centers[0]) / 2
    return float(centers[0] - half), float(centers[-1] + half)
