"""Segments of an utterance, tier by tier: bars of the interactive picture, and rows of a table."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.page.cells import NOT_SIGNIFICANT
from speechshap.report.page.plotly_values import escape, float32, number
from speechshap.results.explanation import Explanation
from speechshap.results.segments import SegmentAttribution

_QUIET = "rgba(128,128,128,0.7)"
_NONE = "rgba(128,128,128,0)"


def tier_traces(tier: SegmentAttribution, target: int, axis: str, unit: str) -> list[go.Bar]:
    """A bar with its 95 % interval for each segment, and a strip above with what is said, as far as there is room.

    A bar that is not significant is hollow. Its ``customdata`` are the bounds of the segment, which a click plays.

    Args:
        tier: Segments of one tier.
        target: Index of what is explained.
        axis: Of the panel (``y3``).
        unit: Of the attributions.
    """
    own = tier.estimate.of(target)
    (values,), is_significant = own.values, own.significant
    margin = None if own.reach is None else own.reach[0]
    is_filled = np.ones(len(values), bool) if is_significant is None else is_significant[0]
    colours = np.where(values > 0, SPEAKS_FOR, SPEAKS_AGAINST)
    widths = tier.ends - tier.starts
    # All targets have one scale, and the strip its place above the highest bar.
    reach = tier.estimate.reach
    every, most = np.nan_to_num(tier.estimate.values), 0.0 if reach is None else np.nan_to_num(reach)
    low, high = min(0.0, float((every - most).min())), max(0.0, float((every + most).max()))
    height = 0.45 * ((high - low) or 1.0)
    shared: dict[str, Any] = {
        "x": float32((tier.starts + tier.ends) / 2), "width": float32(widths), "yaxis": axis, "showlegend": False,
        "visible": target == 0, "customdata": float32(np.stack([tier.starts, tier.ends], 1)),
    }  # fmt: skip
    labels = [escape(label) for label in tier.labels]
    intervals = [""] * len(values) if margin is None else [f" ± {size:.2g}" for size in margin]
    notes = ["" if is_sure else NOT_SIGNIFICANT for is_sure in is_filled]
    told = [
        f"{label} {value:.3g}{interval} {escape(unit)}{note}".strip()
        for label, value, interval, note in zip(labels, values, intervals, notes, strict=True)
    ]
    traces = [
        go.Bar(
            y=float32(values), hovertext=told,
            error_y=None if margin is None else {
                "type": "data", "array": float32(margin), "width": 0, "thickness": 1.2, "color": _QUIET,
            },
            marker={
                "color": np.where(is_filled, colours, _NONE).tolist(),
                "line": {"width": 1, "color": np.where(is_filled, colours, _QUIET).tolist()},
            },
            hovertemplate="%{hovertext}<extra></extra>", meta={"target": target, "role": "segments"},
            **shared,
        )
    ]  # fmt: skip
    if any(labels):
        strip = go.Bar(
            y=np.full(len(values), 0.8 * height, np.float32), base=high + 0.2 * height, text=labels,
            textposition="inside", insidetextanchor="middle", textangle=0, hoverinfo="skip",
            marker={"color": _NONE, "line": {"width": 1, "color": "rgba(128,128,128,0.25)"}},
            meta={"target": target, "role": "labels"}, **shared,
        )  # fmt: skip
        traces.append(strip)
    return traces


def segment_rows(explanation: Explanation, target: int) -> list[list[Any]]:
    """Rows ``[tier, label, start, end, attribution, reach, significant]`` of the segments in which something is said.

    What is not finite, or not known, is None.
    """
    rows = []
    for tier in explanation.read_tiers:
        estimate = tier.estimate.of(target)
        (values,), reach, is_significant = estimate.values, estimate.reach, estimate.significant
        margins = np.full_like(values, np.nan) if reach is None else reach[0]
        sure = [None] * len(values) if is_significant is None else is_significant[0].tolist()
        rows += [
            [name, label, round(float(start), 3), round(float(end), 3), number(value), number(margin), own]
            for name, label, start, end, value, margin, own in zip(
                tier.tiers, tier.labels, tier.starts, tier.ends, values, margins, sure, strict=True
            )
            if label
        ]
    return rows
