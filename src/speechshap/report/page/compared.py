"""All explanations of an utterance side by side: what the page adds to the picture of one of them."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from speechshap.report.page.cells import heat_maps, row_labels
from speechshap.report.page.plotly_values import escape, float32
from speechshap.report.strips import Strip, strips
from speechshap.results.explanation import Explanation

_STRIP_STARTS = 0.67
"""Where a strip begins in its row of height 1; above it is its label, in three lines where the page is narrow."""


def compared_by_target(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """Traces and labels of the panel that :func:`interactive_figure` leaves room for, by the names of the targets.

    Args:
        explanations: Of one utterance, from the top of the panel.
    """
    targets = dict.fromkeys(str(target) for explanation in explanations for target in explanation.targets)
    return {target: _panel(strips(explanations, target)) for target in targets}


def _panel(found: Sequence[Strip]) -> dict[str, Any]:
    traces: list[go.Heatmap] = []
    for row, strip in enumerate(found):
        is_unsure = strip.is_unsure[None]
        traces += heat_maps(
            100 * strip.shares[None], ~is_unsure if is_unsure.any() else None, f"{escape(strip.name)}: %{{z:.0f}} %",
            x=float32(strip.edges), y=[row + _STRIP_STARTS, row + 1], coloraxis="coloraxis",
        )  # fmt: skip
    starts = [row + _STRIP_STARTS for row in range(len(found))]
    labels = row_labels([strip.label for strip in found], starts, "y", above=True)
    return {"traces": go.Figure(traces).to_dict()["data"], "labels": labels}
