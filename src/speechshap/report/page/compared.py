"""All explanations of an utterance side by side: what the page adds to the picture of one of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.report.page.plotly_values import escape
from speechshap.report.strips import Strip, strips
from speechshap.results.explanation import Explanation

_STRIP_STARTS = 0.48
"""Where a strip begins in its row of height 1; above it is its label."""

_PALE = 0.3


def compared_by_target(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """Traces and labels of the panel that :func:`interactive_figure` leaves room for, by the names of the targets.

    Args:
        explanations: Of one utterance, from the top of the panel.
    """
    targets = dict.fromkeys(str(target) for explanation in explanations for target in explanation.targets)
    return {target: _panel(strips(explanations, target)) for target in targets}


def _panel(found: Sequence[Strip]) -> dict[str, Any]:
    traces: list[go.Heatmap] = []
    labels = []
    for row, strip in enumerate(found):
        percent = 100 * strip.shares
        traces.append(_trace(row, strip, np.where(strip.is_unsure, np.nan, percent)))
        if strip.is_unsure.any():
            pale = _trace(row, strip, np.where(strip.is_unsure, percent, np.nan), note=", its interval contains 0")
            traces.append(pale.update(opacity=_PALE))
        labels.append(
            {
                "text": escape(strip.label), "x": 0, "xref": "x domain", "y": row + _STRIP_STARTS, "xanchor": "left",
                "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
            }
        )  # fmt: skip
    return {"traces": go.Figure(traces).to_dict()["data"], "labels": labels}


def _trace(row: int, strip: Strip, percent: np.ndarray, note: str = "") -> go.Heatmap:
    return go.Heatmap(
        z=percent[None].astype(np.float32), x=strip.edges.astype(np.float32), y=[row + _STRIP_STARTS, row + 1],
        coloraxis="coloraxis", hoverongaps=False,
        hovertemplate=f"{escape(strip.name)}: %{{z:.0f}} %{note}<extra></extra>",
    )  # fmt: skip
