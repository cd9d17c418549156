"""Figures of the statistics over many utterances (:mod:`speechshap.report.corpus`)."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from speechshap.mel import mel
from speechshap.report.colours import CLASSES
from speechshap.report.corpus import ClassAgreement, Profile
from speechshap.report.panels import ATTRIBUTION_MAP, plain
from speechshap.report.spectrogram import MEL_TICKS_HZ, is_mel

_WIDTH, _DPI = 8.0, 100  # inches
_NAMED_AT_MOST = 13
"""Layers named on an axis; where there are more, every second, third, ... is named."""
OUTLINE = withStroke(linewidth=1.9, foreground="0.25")  # yellow is faint on white


def time_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion over normalised time, one panel for each emotion.

    Args:
        profile: Result of :func:`time_profile`.
        unit: Unit of the explained output.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.linspace(0, 1, count + 1), 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
        axes.set_xlim(0, 1)
    figure.supxlabel("time (share of the duration)", fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} per {100 / count:.3g} % of the duration)", fontsize="medium")
    _headline(figure, "Attribution over time", profile)
    return figure


def band_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion by frequency band, one panel for each emotion.

    Args:
        profile: Result of :func:`band_profile`; bands that are not equally spaced in Hz are drawn over the mel scale.
        unit: Unit of the explained output.
    """
    figure, panels = _panels_of_emotions(profile, band_edges(profile.positions), 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
    figure.supxlabel(name_bands(panels[0], profile.positions), fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} a band)", fontsize="medium")
    _headline(figure, "Attribution by frequency band", profile)
    return figure


def layer_profile_figure(profile: Profile) -> Figure:
    """Draw the mean share of each layer, one panel for each emotion.

    Args:
        profile: Result of :func:`layer_profile`.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.arange(count + 1.0), 100.0)
    every = math.ceil(count / _NAMED_AT_MOST)
    names = [plain(name.removeprefix("layer_")) for name in profile.positions[::every].tolist()]
    panels[0].set_xticks(np.arange(count)[::every] + 0.5, names)
    panels[0].set_xlim(0, count)
    panels[0].set_ylim(bottom=0)
    if max(map(len, names)) * len(names) > 45:
        for axes in panels:
            axes.tick_params(axis="x", rotation=90)
    figure.supxlabel("layer", fontsize="medium")
    figure.supylabel("share of the absolute\nneuron attributions (%)", fontsize="medium")
    _headline(figure, "Share of the layers", profile)
    return figure


def class_agreement_figure(agreement: ClassAgreement) -> Figure:
    """Draw how similar the attributions to any two classes are; grey where no utterance has both.

    Args:
        agreement: Result of :func:`class_agreement`.
    """
    count = len(agreement.classes)
    names = [plain(name) for name in agreement.classes]
    size = 2.5 + 0.55 * max(count, 3)
    figure = Figure(figsize=(size + 0.8, size), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        np.ma.masked_invalid(agreement.correlation),
        norm=Normalize(-1, 1),
        cmap=ATTRIBUTION_MAP.with_extremes(bad="0.8"),
    )
    axes.set_xticks(range(count), names, rotation=45, ha="right")
    axes.set_yticks(range(count), names)
    axes.set_xlabel("explained class")
    axes.set_ylabel("explained class")
    for row, column in np.ndindex(count, count):
        value = agreement.correlation[row, column]
        text = f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "none"
        colour = "white" if abs(value) > 0.7 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
    figure.colorbar(image, ax=axes, label="mean correlation of the frame attributions", shrink=0.9)
    pairs = agreement.counts[~np.eye(count, dtype=bool)]
    least, most = int(pairs.min()), int(pairs.max())
    utterances = _number(most) if least == most else f"{least} to {_number(most)}"
    left_out = f"; {_number(agreement.left_out, 'attribution')} left out" if agreement.left_out else ""
    axes.set_title(f"Agreement between classes\n{utterances} a pair{left_out}", fontsize="medium")
    return figure


def panels_in_grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with as many panels, which share their axes."""
    columns = 1 if count == 1 else 2 if count <= 8 else 3
    rows = math.ceil(count / columns)
    height = 1.3 + (2.2 if rows == 1 else 1.35 * rows)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for number, axes in enumerate(grid):
        axes.tick_params(labelsize="small", labelbottom=number + columns >= count)
    for empty in grid[count:]:
        empty.remove()
    return figure, grid[:count]


def band_edges(positions: np.ndarray) -> np.ndarray:
    """Bounds ``(bands + 1,)`` of bands with these centres in Hz on an axis in mel, or else in kHz."""
    return _edges_between(mel(positions) if _in_mel(positions) else positions / 1000)


def name_bands(axes: Axes, positions: np.ndarray) -> str:
    """Set limits and ticks of the axis on which :func:`band_edges` are, and return its label."""
    edges, in_mel = band_edges(positions), _in_mel(positions)
    axes.set_xlim(max(0.0, edges[0]), edges[-1])  # of all that share it
    if in_mel:
        ticks = [hz for hz in (0, *MEL_TICKS_HZ) if edges[0] <= mel(hz) <= edges[-1]]
        # A few bands may contain none of these ticks: then each band is named.
        ticks = ticks if len(ticks) > 1 else positions.tolist()
        axes.set_xticks([float(mel(hz)) for hz in ticks], [f"{hz / 1000:.3g}" for hz in ticks])
    return f"frequency (kHz{', mel scale' if in_mel else ''})"


def _in_mel(positions: np.ndarray) -> bool:
    return len(positions) > 1 and is_mel(positions)


def _panels_of_emotions(profile: Profile, edges: np.ndarray, factor: float) -> tuple[Figure, list[Axes]]:
    """Panels with the same axes, one for each emotion: its mean and error in colour, the other means in grey."""
    figure, panels = panels_in_grid(count := len(profile.emotions))
    mean, error = factor * profile.mean, factor * profile.standard_error
    middles = (edges[:-1] + edges[1:]) / 2
    for number, axes in enumerate(panels):
        colour = CLASSES[number % len(CLASSES)]
        for other in range(count):
            if other != number:
                axes.plot(middles, mean[other], color="0.8", linewidth=0.7, zorder=1)
        low, high = mean[number] - error[number], mean[number] + error[number]
        if np.isfinite(error[number]).all():
            axes.fill_between(
                edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.3,
                linewidth=0, zorder=2,
            )  # fmt: skip
        axes.stairs(
            mean[number], edges, baseline=None, color=colour, linewidth=1.2, zorder=3, path_effects=[OUTLINE]
        )  # fmt: skip
        axes.set_title(
            f"{plain(profile.emotions[number])} ({_number(int(profile.counts[number]))})",
            fontsize="small", loc="left", pad=3,
        )  # fmt: skip
    return figure, panels


def _edges_between(positions: np.ndarray) -> np.ndarray:
    """Bounds ``(bands + 1,)`` of bands with these centres ``(bands,)``, halfway between them."""
    if len(positions) == 1:
        width = positions[0] or 1.0
        return np.array([positions[0] - width / 2, positions[0] + width / 2])
    half = np.diff(positions) / 2
    return np.concatenate([[positions[0] - half[0]], positions[:-1] + half, [positions[-1] + half[-1]]])


def _headline(figure: Figure, text: str, profile: Profile) -> None:
    legend = []
    if np.isfinite(profile.standard_error).any():
        legend.append("shaded: ± standard error between utterances")
    if len(profile.emotions) > 1:
        legend.append("grey: the other emotions")
    if profile.left_out:
        legend.append(f"{_number(profile.left_out)} left out")
    figure.suptitle("\n".join([text, "; ".join(legend)]) if legend else text, fontsize="medium")


def _number(count: int, noun: str = "utterance") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
