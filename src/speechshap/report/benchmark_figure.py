"""A benchmark as a figure: a panel for each metric, a line with its interval for each method."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechshap.report.benchmark import COST, BenchmarkSummary, Column
from speechshap.report.colours import CLASSES

_PANELS_IN_A_ROW = 4
_CHANCE = {"auc": 0.5, "time_frequency_auc": 0.5}
_LONGEST_NAME = 44


def benchmark_figure(summary: BenchmarkSummary) -> Figure:
    """Draw the means of the main variant of each metric, the best method on top."""
    columns = [column for column in summary.main_columns() if column.metric != "seconds"]
    count = max(1, len(columns))
    width, height = min(count, _PANELS_IN_A_ROW), -(-count // _PANELS_IN_A_ROW)
    names = max((len(_shortened(method)) for method in summary.methods), default=0)
    figure = Figure(
        figsize=(0.075 * names + 2.3 * width, (0.7 + 0.27 * len(summary.methods)) * height + 0.4),
        layout="constrained", dpi=100,
    )  # fmt: skip
    grid = figure.subplots(height, width, squeeze=False, sharey=True)
    panels = grid.flatten().tolist()
    order = summary.best_first()[::-1]
    for axes, column in zip(panels, columns, strict=False):
        _draw(axes, summary, column, order)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_yticks(range(len(order)), [_shortened(method) for method in order], fontsize="small")
    return figure


def _draw(axes: Axes, summary: BenchmarkSummary, column: Column, order: list[str]) -> None:
    for place, method in enumerate(order):
        entry = summary.entry(method, column)
        if entry is None or np.isnan(entry.mean.value):
            continue
        value, low, high = entry.mean
        colour = CLASSES[1] if entry.rank is not None and entry.rank < 2 and column.metric not in COST else CLASSES[0]
        if not np.isnan(low):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="round")
        axes.plot(value, place, "o", color=colour, markersize=4.5)
    if column.metric in _CHANCE:
        axes.axvline(_CHANCE[column.metric], color="0.5", linewidth=0.8, linestyle="--", zorder=0.5)
    direction = {"higher": " →", "lower": " ←", None: ""}[column.better]
    axes.set_title(f"{column.metric}{direction}", fontsize="small")
    axes.set_xlabel(column.variant or " ", fontsize="x-small")
    axes.tick_params(axis="x", labelsize="x-small")
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _shortened(method: str) -> str:
    return method if len(method) <= _LONGEST_NAME else f"{method[: _LONGEST_NAME - 1]}…"
