"""The interactive figure of the corpus: a beeswarm whose dots are utterances that the page opens."""

import math
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.bootstrap import Estimate, number
from speechshap.data.cues import CUES
from speechshap.report.beeswarm import DOTS_MIDDLE, MARK, Beeswarm, lay_out
from speechshap.report.beeswarm_figure import AXIS, LEVEL, TITLE, legend
from speechshap.report.colours import LOW_TO_HIGH, LOW_TO_HIGH_ON_BLACK, WARNING
from speechshap.report.corpus_figures import FADED, is_weak, of_how_many
from speechshap.report.page.plotly_values import escape, float32

MOST_DOTS = 1_000
"""Utterances that are drawn, of all emotions together: each is a dot in every row."""

_WIDTH, _ROW, _GAP, _LINE = 390, 34, 46, 16
"""Pixels: of a panel where two lie side by side, of a row, between panels, and of a line of text."""

_LETTERS, _TITLE_LETTERS = 120, 50
"""Of a line above the figure, and above a panel."""

_FAINT = 0.35


def beeswarm_page_figure(swarm: Beeswarm) -> go.Figure:
    """Draw what :func:`speechshap.report.beeswarm_figure.beeswarm_figure` does, with the numbers of a dot on hovering.

    A dot has the utterance's id, its evidence and its rest as ``customdata``. ``meta["role"]`` is ``dots``, or
    ``marks`` for the means, whose marker and error bar take the colour of the page's text. On a dark page the colour
    scale is that of the layout's ``meta["colorscale_on_black"]``. ``meta["gap"]`` and ``meta["line"]`` are the pixels
    between panels and of a line of text, from which the page puts panels below each other where it is narrow.

    Args:
        swarm: Result of :func:`speechshap.report.beeswarm.beeswarm`.
    """
    emotions, cues = len(swarm.profile.emotions), len(swarm.profile.names)
    swarm = swarm.part(max(1, MOST_DOTS // emotions))
    columns = min(2, emotions)
    panel = cues * _ROW
    inside = math.ceil(emotions / columns) * (panel + _GAP) - _GAP
    figure = go.Figure(layout=_layout(swarm, inside))
    layout = lay_out(swarm, _WIDTH, _ROW)
    levels = swarm.levels
    for emotion in range(emotions):
        row, column = divmod(emotion, columns)
        top = 1 - row * (panel + _GAP) / inside
        x, y = (axis if emotion == 0 else f"{axis}{emotion + 1}" for axis in "xy")
        figure.layout[f"xaxis{x[1:]}"] = {
            "domain": [0.52 * column, 0.52 * column + 0.48] if columns == 2 else [0, 1], "anchor": y,
            "range": [-swarm.reach, swarm.reach], "showticklabels": emotion + columns >= emotions, "fixedrange": True,
            "zeroline": True, "showgrid": False, "matches": None if emotion == 0 else "x",
        }  # fmt: skip
        figure.layout[f"yaxis{y[1:]}"] = {
            "domain": [max(0.0, top - panel / inside), top], "anchor": x, "fixedrange": True, "zeroline": False,
            "range": [cues - 0.5, -0.5], "tickvals": list(range(cues)), "showticklabels": column == 0,
            "ticktext": [escape(_name(swarm, cue)) for cue in range(cues)], "showgrid": False,
        }  # fmt: skip
        numbers = int(swarm.profile.num_utterances[emotion]), int(swarm.profile.num_speakers[emotion])
        weak = is_weak(*numbers)
        figure.add_annotation(
            text=_lines(f"{swarm.profile.emotions[emotion]} ({of_how_many(*numbers)})", _TITLE_LETTERS), x=0, y=top,
            xref=f"{x} domain", yref="paper", xanchor="left", yanchor="bottom", showarrow=False, align="left",
            font={"size": 12, **({"color": WARNING} if weak else {})},
        )  # fmt: skip
        opacity = FADED if weak else 1.0
        shared = {"xaxis": x, "yaxis": y, "showlegend": False, "mode": "markers"}
        for cue in range(cues):
            places = cue + DOTS_MIDDLE + layout.offsets[emotion][:, cue]
            if np.isfinite(places).any():
                dots = _dots(swarm, emotion, cue, places, levels[emotion][:, cue], layout.diameter)
                figure.add_trace(go.Scatter(**dots, **shared, opacity=opacity))
        for chosen, alpha in ((swarm.profile.differs[emotion], 1.0), (~swarm.profile.differs[emotion], _FAINT)):
            if chosen.any():
                figure.add_trace(go.Scatter(**_means(swarm, emotion, chosen), **shared, opacity=alpha * opacity))
    return figure


def _layout(swarm: Beeswarm, inside: int) -> dict[str, Any]:
    text = f"{TITLE}<br>{_lines('; '.join(legend(swarm)), _LETTERS)}"
    top, bottom = _LINE * (text.count("<br>") + 4) + 8, 46
    return {
        "height": inside + top + bottom, "margin": {"l": 104, "r": 12, "t": top, "b": bottom}, "hovermode": "closest",
        "title": {"text": text, "font": {"size": 12}, "x": 0, "xref": "paper", "y": 1, "yref": "container",
                  "yanchor": "top", "pad": {"t": 18}},
        "meta": {"colorscale_on_black": list(LOW_TO_HIGH_ON_BLACK), "gap": _GAP, "line": _LINE},
        "coloraxis": {
            "cmin": 0, "cmax": 1, "colorscale": list(LOW_TO_HIGH),
            "colorbar": {
                "title": {"text": LEVEL, "font": {"size": 12}, "side": "right"}, "thickness": 12, "tickvals": [0, 1],
                "ticktext": ["low", "high"], "len": min(1.0, 300 / inside), "y": 1, "yanchor": "top",
            },
        },
        "annotations": [
            {"text": AXIS, "x": 0.5, "y": 0, "xref": "paper", "yref": "paper", "yanchor": "top", "yshift": -22,
             "showarrow": False, "font": {"size": 12}},
        ],
    }  # fmt: skip


def _dots(
    swarm: Beeswarm, emotion: int, cue: int, places: np.ndarray, levels: np.ndarray, diameter: float
) -> dict[str, Any]:
    """Dots of a row at these ``places`` across, ``(utterances,)``; those without the cue are left out."""
    dots = swarm.dots[emotion]
    known = np.flatnonzero(np.isfinite(places))
    utterances = [dots.utterances[index] for index in known.tolist()]
    sides = np.stack([dots.evidence, dots.rest])[:, known, cue].round(3).tolist()
    return {
        "x": float32(swarm.places(emotion)[known, cue]),
        "y": float32(places[known]),
        "customdata": list(zip(utterances, *sides, strict=True)),
        "text": [escape(utterance) for utterance in utterances],
        "marker": {
            "size": diameter, "color": float32(levels[known]), "coloraxis": "coloraxis",
            "symbol": np.where(dots.are_significant[known], "circle", "circle-open").tolist(),
        },
        "hovertemplate": f"%{{text}}<br>{escape(_name(swarm, cue, with_unit=True))}: %{{customdata[1]}} in the "
        "evidence, %{customdata[2]} in the rest<extra></extra>",
        "meta": {"role": "dots"},
    }  # fmt: skip


def _means(swarm: Beeswarm, emotion: int, chosen: np.ndarray) -> dict[str, Any]:
    """Means of the cues that are ``chosen`` ``(cues,)``, with their intervals."""
    profile, cues = swarm.profile, np.flatnonzero(chosen)
    mean, low, high = swarm.intervals[:, emotion, cues]
    numbers = np.stack([profile.mean[emotion], profile.low[emotion], profile.high[emotion]], 1)[cues]
    return {
        "x": float32(mean),
        "y": float32(cues + MARK),
        "text": [
            f"{escape(_name(swarm, cue, with_unit=True))}: {number(Estimate(*own.tolist()))}<br>"
            f"mean of {of_how_many(int(profile.counts[emotion, cue]), int(profile.speakers[emotion, cue]))}"
            for cue, own in zip(cues.tolist(), numbers, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "error_x": {
            "type": "data", "symmetric": False, "array": float32(high - mean), "arrayminus": float32(mean - low),
            "thickness": 2, "width": 0, "color": "black",
        },
        "marker": {"symbol": "diamond", "size": 6, "color": "black"},
        "meta": {"role": "marks"},
    }  # fmt: skip


def _name(swarm: Beeswarm, cue: int, with_unit: bool = False) -> str:
    name = swarm.profile.names[cue]
    if (known := CUES.get(name)) is None:
        return name
    return f"{known.title} ({known.unit})" if with_unit else known.title


def _lines(text: str, letters: int) -> str:
    return "<br>".join(escape(line) for line in wrap(text, letters))
