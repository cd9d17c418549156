"""Figures of compared emotions (:mod:`speechshap.report.comparison`); what is not significant is faint."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechshap.data.wording import counted, name_some
from speechshap.evaluation.permutation import LEVEL
from speechshap.report.colours import CLASSES, WARNING
from speechshap.report.comparison import Comparison
from speechshap.report.corpus_figures import (
    OUTLINE,
    band_edges,
    headline,
    name_bands,
    panels_in_grid,
    title_panel,
)
from speechshap.report.panels import plain

_WIDTH, _HEIGHT, _DPI = 4.2, 4.2, 100  # inches, of a panel
_FAINT = 0.4
_LETTERS_AN_INCH = 9

_TITLES = {
    "time": "Where in time the evidence for an emotion lies",
    "band": "In which frequency bands the evidence for an emotion lies",
    "cue": "What is heard where the evidence for an emotion lies",
}


def rest_figure(comparisons: Sequence[Comparison], missing: Sequence[str] = ()) -> Figure:
    """Draw each emotion compared with all others together, one panel for each emotion.

    Args:
        comparisons: Of one quantity, at the same positions.
        missing: Emotions that too few speakers have to be compared.
    """
    figure, panels = panels_in_grid(len(comparisons))
    for number, (axes, each) in enumerate(zip(panels, comparisons, strict=True)):
        _draw(axes, each, CLASSES[number % len(CLASSES)])
        note = f"{counted(each.utterances[0], 'utterance')}, {_speakers(each)}"
        title_panel(axes, each.emotion, note, warn=not each.found.can_be_significant)
    quantity = comparisons[0].quantity
    across, along = _AXES[quantity](panels[0], comparisons[0])
    figure.supxlabel(across, fontsize="medium")
    label = "this emotion minus the others ({})".format(along.replace("\n", " "))
    figure.supylabel(textwrap.fill(label, round(_LETTERS_AN_INCH * figure.get_figheight())), fontsize="medium")
    _headline(figure, f"{_TITLES[quantity]}, compared with all others", missing)
    return figure


def pair_figure(comparisons: Sequence[Comparison]) -> Figure:
    """Draw two emotions compared in all quantities, side by side.

    Args:
        comparisons: Of the same two emotions.
    """
    figure = Figure(figsize=(max(7.5, _WIDTH * len(comparisons)), _HEIGHT), dpi=_DPI, layout="constrained")
    for axes, each in zip(figure.subplots(1, len(comparisons), squeeze=False)[0], comparisons, strict=True):
        _draw(axes, each, CLASSES[0])
        axes.tick_params(labelsize="small")
        across, along = _AXES[each.quantity](axes, each)
        axes.set_xlabel(across)
        axes.set_ylabel(along)
        note = f"{each.utterances[0]} and {counted(each.utterances[1], 'utterance')}\n{_speakers(each)}"
        axes.set_title(
            note, fontsize="small", loc="left", pad=3, color="black" if each.found.can_be_significant else WARNING
        )
    first = comparisons[0]
    emotion, other = plain(first.emotion), plain(first.other or "all others")
    title = f"Where the evidence for {emotion} lies, compared with {other} (above 0: more for {emotion})"
    _headline(figure, title)
    return figure


def _draw(axes: Axes, comparison: Comparison, colour: str) -> None:
    """Difference and interval of each position, strong and marked below where significant."""
    edges, values, half = _on_axes(comparison)
    axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
    axes.use_sticky_edges = False
    axes.margins(y=0.12)  # room for the marks
    significant = comparison.found.significant
    middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    for chosen, is_strong in ((~significant, False), (significant, True)):
        if not chosen.any():
            continue
        alpha, width = (1.0, 2.0) if is_strong else (_FAINT, 1.0)
        if comparison.quantity == "cue":  # no neighbours: a bar for each
            axes.errorbar(
                middles[chosen], values[chosen], half[chosen], fmt="o", markersize=4, color=colour, alpha=alpha,
                linewidth=width, zorder=3,
            )  # fmt: skip
            continue
        axes.bar(
            middles[chosen], 2 * half[chosen], widths[chosen], (values - half)[chosen], color=colour,
            alpha=_FAINT * alpha, linewidth=0, zorder=2,
        )  # fmt: skip
        axes.stairs(
            np.where(chosen, values, np.nan) if is_strong else values, edges, baseline=None, color=colour,
            linewidth=width, alpha=alpha, zorder=3, path_effects=[OUTLINE] if is_strong else None,
        )  # fmt: skip
    axes.bar(
        middles[significant], 0.03, widths[significant], color="black", transform=axes.get_xaxis_transform(),
        linewidth=0, zorder=4,
    )  # fmt: skip


def _on_axes(comparison: Comparison) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of the positions, differences, and half their intervals, in the units of the axes."""
    found, count = comparison.found, len(comparison.positions)
    # The interval of two or three speakers is so wide that nothing else in the figure could be seen.
    half = found.half_interval if found.can_be_significant else np.zeros(count)
    if comparison.quantity == "cue":
        # Semitones, decibels and shares have no scale in common but their own errors.
        error = np.where(found.standard_error > 0, found.standard_error, np.nan)
        return np.arange(count + 1.0), found.difference / error, half / error
    edges = np.linspace(0, 1, count + 1) if comparison.quantity == "time" else band_edges(comparison.positions)
    return edges, 100 * found.difference, 100 * half


def _time_axes(axes: Axes, comparison: Comparison) -> tuple[str, str]:
    axes.set_xlim(0, 1)
    every = 100 / len(comparison.positions)
    return "time (share of the duration)", f"% of the absolute attribution\nper {every:.3g} % of the duration"


def _band_axes(axes: Axes, comparison: Comparison) -> tuple[str, str]:
    return name_bands(axes, comparison.positions), "% of the absolute attribution\na band"


def _cue_axes(axes: Axes, comparison: Comparison) -> tuple[str, str]:
    count = len(comparison.positions)
    axes.set_xlim(0, count)
    names = [plain(str(name)).replace("_", " ") for name in comparison.positions.tolist()]
    axes.set_xticks(np.arange(count) + 0.5, names)
    for sharing in axes.get_shared_x_axes().get_siblings(axes):
        sharing.tick_params(axis="x", rotation=90)
    return "mean over the evidence minus that over the rest", "standard errors"


_AXES: dict[str, Callable[[Axes, Comparison], tuple[str, str]]] = {
    "time": _time_axes,
    "band": _band_axes,
    "cue": _cue_axes,
}
"""Functions that set up the axis of positions, and return its label and the unit of the differences."""


def _speakers(comparison: Comparison) -> str:
    found = comparison.found
    few = "" if found.can_be_significant else ": too few to tell"
    return f"{found.speakers} {'paired' if found.paired else 'unpaired'} speakers{few}"


def _headline(figure: Figure, title: str, missing: Sequence[str] = ()) -> None:
    legend = [
        f"strong and marked below: p ≤ {LEVEL:g}, permutation test over speakers, corrected for the positions of a "
        "panel (largest |t|)",
        "intervals of 95 %: of each position alone, over speakers",
    ]
    if missing:
        legend.append(f"of too few speakers to be compared: {plain(name_some(missing))}")
    headline(figure, title, legend)
