"""Heat maps over time in which what is not significant is faint."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.page.plotly_values import escape, float32
from speechshap.report.panels import SATURATED, symmetric_scale
from speechshap.report.spectrogram import band_positions
from speechshap.report.wording import shortened
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import BandAttribution, Explanation, LayerAttribution

# The middle is transparent, so that it looks right on a light page and on a dark one.
DIVERGING = [
    [0.0, SPEAKS_AGAINST], [0.5, "rgba(0,114,178,0)"], [0.5, "rgba(213,94,0,0)"], [1.0, SPEAKS_FOR]
]  # fmt: skip
LEVELS = 127
"""Steps on either side of 0 of time-frequency cells: 8-bit integers are fine enough for a colour scale."""

MOST_COLUMNS = 1200
ROW_LETTERS = 11
"""Longest name that fits to the left of its row; where there are longer ones, names are above the rows."""

PALE = 0.16
"""Opacity of what is not significant."""

NOT_SIGNIFICANT = ", not significant"


def heat_maps(values: np.ndarray, is_significant: np.ndarray | None, hover: str, **options: Any) -> list[go.Heatmap]:
    """A heat map of what is significant, and a faint one of the rest; one of all where errors are unknown.

    Args:
        values: ``(rows, columns)``.
        is_significant: Of the same shape; None where unknown.
        hover: What a cell tells.
        options: Other fields of the heat maps.
    """
    shared = {"hoverongaps": False, "showscale": False, **options}
    if is_significant is None:
        return [go.Heatmap(z=float32(values), hovertemplate=f"{hover}<extra></extra>", **shared)]
    return [
        go.Heatmap(
            z=float32(np.where(is_significant, np.nan, values)), opacity=PALE,
            hovertemplate=f"{hover}{NOT_SIGNIFICANT}<extra></extra>", **shared,
        ),
        go.Heatmap(
            z=float32(np.where(is_significant, values, np.nan)), hovertemplate=f"{hover}<extra></extra>", **shared
        ),
    ]  # fmt: skip


def row_labels(names: Sequence[str], bottoms: Sequence[float], axis: str, *, above: bool) -> list[dict[str, Any]]:
    """Names of rows that begin at these heights: to their left, or above them where there is no room for them.

    Args:
        names: As the user wrote them.
        bottoms: Where each row begins on its axis, which points down.
        axis: Of the panel (``y3``).
        above: Whether they are above.
    """
    shared = {
        "xref": "x domain",
        "yref": axis,
        "showarrow": False,
        "font": {"size": 11},
        "name": "row",
        "align": "left",
    }
    side = (
        {"xanchor": "left", "yanchor": "bottom"} if above else {"xanchor": "right", "xshift": -4, "yanchor": "middle"}
    )
    return [
        {"text": escape(name), "x": 0, "y": bottom if above else bottom + 0.5, **side, **shared}
        for name, bottom in zip(names, bottoms, strict=True)
    ]


def names_are_above(names: Sequence[str]) -> bool:
    """Whether some names do not fit to the left of their rows."""
    return max(map(len, names)) > ROW_LETTERS


def overlays(bands: BandAttribution, axis: str, bar: dict[str, Any], unit: str) -> list[go.Heatmap]:
    """Time-frequency attribution of each target, all on one scale, as small integers to keep the file small.

    The page makes the numbers of the labels from the integers: ``meta["scale"]`` is the largest one's attribution, and
    ``customdata`` has half the width of the interval of each cell in the same steps. The largest integer stands for all
    that is beyond it, and 0 for 0 alone: a cell that is significant is there in the traces of the role ``sure``,
    however small it is.

    Args:
        bands: Attribution by time and frequency.
        axis: Of the panel (``y2``).
        bar: Colour bar.
        unit: Of the attributions.
    """
    values = np.nan_to_num(bands.estimate.values)
    # Neighbouring columns of a long sound are added up, as those of the spectrogram are averaged.
    factor = math.ceil(values.shape[2] / MOST_COLUMNS)
    starts = np.arange(0, values.shape[2], factor)
    columns = np.add.reduceat(values, starts, axis=2)
    reach = float(symmetric_scale(columns, quantile=SATURATED).vmax or 1.0)
    ticks = {"tickvals": [-LEVELS, 0, LEVELS], "ticktext": [f"−{reach:.2g}", "0", f"{reach:.2g}"]}
    shared = {
        "zmin": -LEVELS, "zmax": LEVELS, "x0": (factor - 1) * bands.hop_seconds / 2, "dx": factor * bands.hop_seconds,
        "y": float32(band_positions(bands.frequencies)), "yaxis": axis, "colorscale": DIVERGING, "hoverinfo": "skip",
    }  # fmt: skip
    found = []
    for target in range(len(columns)):
        is_shown = {"visible": target == 0, "colorbar": {**bar, **ticks}}
        own = bands.estimate.of(target)
        is_significant = own.significant
        told = {"target": target, "role": "cells", "scale": reach, "unit": unit, "known": is_significant is not None}
        # The error of a sum does not follow from those of its terms.
        margin = None if factor > 1 or own.reach is None else _levels(own.reach[0], reach)
        opacity = 1.0 if is_significant is None else PALE
        all_cells = _levels(columns[target], reach)
        found.append(
            go.Heatmap(
                z=all_cells, customdata=margin, meta=told, opacity=opacity, showscale=is_significant is None,
                **shared, **is_shown,
            )
        )  # fmt: skip
        if is_significant is not None:
            told = {"target": target, "role": "sure"}
            sure = np.add.reduceat(np.where(is_significant[0], values[target], 0.0), starts, axis=1)
            found.append(go.Heatmap(z=_levels(sure, reach), meta=told, **shared, **is_shown))
    return found


def target_rows(explanation: Explanation, axis: str) -> tuple[list[go.Heatmap], list[dict[str, Any]]]:
    """A row of frames for each target, with its name."""
    frames, names = explanation.frames, [str(target) for target in explanation.targets]
    scale, above = symmetric_scale(frames.values), names_are_above(names)
    starts = [row + (0.45 if above else 0.08) for row in range(len(names))]
    traces: list[go.Heatmap] = []
    for row, (name, start) in enumerate(zip(names, starts, strict=True)):
        own = frames.of(row)
        reach, margin = _margins(own)
        traces += heat_maps(
            own.values, own.significant, f"{escape(name)}: %{{z:.3g}}{margin} {escape(explanation.unit)}",
            customdata=reach, x=float32(explanation.frame_edges),
            y=[start, row + 1], yaxis=axis, zmin=scale.vmin, zmax=scale.vmax, colorscale=DIVERGING,
            meta={"role": "targets"},
        )  # fmt: skip
    return traces, row_labels(names, starts if above else range(len(names)), axis, above=above)


def layer_traces(layers: LayerAttribution, edges: np.ndarray, axis: str, unit: str) -> list[Any]:
    """A row of frames for each layer, of each target, and a bar for the layer's share."""
    names = [escape(name.replace("layer_", "layer ")) for name in layers.names]
    frames, shares = layers.frames, layers.shares
    scale = symmetric_scale(frames.values)
    traces: list[Any] = []
    for target in range(len(shares)):
        own = frames.of(target)
        is_significant = own.significant
        reach, margin = _margins(own)
        traces += heat_maps(
            own.values[0], None if is_significant is None else is_significant[0],
            f"%{{y}}: %{{z:.3g}}{margin} {escape(unit)}", x=float32(edges), y=names, yaxis=axis, zmin=scale.vmin,
            customdata=None if reach is None else reach[0], zmax=scale.vmax, colorscale=DIVERGING,
            visible=target == 0, meta={"target": target, "role": "layers"},
        )  # fmt: skip
        traces.append(
            go.Bar(
                x=float32(shares[target]), y=names, orientation="h", xaxis="x2", yaxis=axis,
                marker={"color": "rgba(128,128,128,0.8)"}, hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
                visible=target == 0, meta={"target": target, "role": "shares"}, showlegend=False,
            )
        )  # fmt: skip
    return traces


def layer_ticks(names: Sequence[str]) -> dict[str, Any]:
    """Ticks of the layers' axis: some of many, and shortened names."""
    every = math.ceil(len(names) / 16)
    shown = [name.replace("layer_", "layer ") for name in names[::every]]
    return {
        "tickvals": list(range(0, len(names), every)),
        "ticktext": [escape(shortened(name, ROW_LETTERS)) for name in shown],
    }


def _margins(own: Estimate) -> tuple[np.ndarray | None, str]:
    """Half the widths of intervals, and how a cell tells its own; None and nothing where errors are unknown."""
    return (None, "") if own.reach is None else (float32(own.reach), " ± %{customdata:.2g}")


def _levels(values: np.ndarray, reach: float) -> np.ndarray:
    """Values in whole steps; 0 is 0 alone."""
    steps = np.nan_to_num(values) / reach * LEVELS
    return (np.sign(steps) * np.clip(np.round(np.abs(steps)), 1, LEVELS)).astype(np.int8)
