"""The interactive picture of an explanation: a plotly figure whose traces the page switches by target."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.report.colours import CLASSES, SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.page.plotly_values import escape, float32
from speechshap.report.page.tiers import tier_traces
from speechshap.report.panels import SATURATED, band_limits, symmetric_scale
from speechshap.report.spectrogram import (
    Spectrogram,
    band_positions,
    is_mel,
    mel_ticks,
    spectrogram,
    waveform_outline,
)
from speechshap.report.strips import CAPTION
from speechshap.results.explanation import BandAttribution, Explanation, LayerAttribution

# The middle is transparent, so that it looks right on a light page and on a dark one.
_DIVERGING = [
    [0.0, SPEAKS_AGAINST], [0.5, "rgba(0,114,178,0)"], [0.5, "rgba(213,94,0,0)"], [1.0, SPEAKS_FOR]
]  # fmt: skip
_GAP_PIXELS, _MARGINS_PIXELS = 34, (30, 44)
_TIME_ENDS = 0.88  # colour bars and the layers' shares lie to the right of it
_MOST_COLUMNS = 1200
_LEVELS = 127  # 8-bit integers are fine enough for a colour scale
_OUTLINE_COLUMNS = 1500


def interactive_figure(
    waveform: np.ndarray | None, sample_rate: int, explanation: Explanation, num_compared: int = 0
) -> go.Figure:
    """Draw an explanation with one time axis for all panels: zooming in one zooms in all.

    A trace of one target has that target's index as ``meta["target"]``; the page shows those of the chosen target.
    ``meta["role"]`` is ``ink`` or ``spectrogram`` where the colours follow the page's theme.

    Args:
        waveform: ``(time,)``; None without a sound file.
        sample_rate: Hz.
        explanation: What to draw.
        num_compared: Explanations that the page shows side by side in a panel of its own, whose axis the layout has as
            ``meta["compared"]``; 0 for no such panel.
    """
    heights = {} if waveform is None else {"waveform": 90, "spectrogram": 170}
    tiers = {f"tier {tier.tiers[0]}": tier for tier in explanation.read_tiers}
    heights |= dict.fromkeys(tiers, 110)
    heights["frames"] = 170
    if num_compared:
        heights["compared"] = 38 * num_compared
    if len(explanation.targets) > 2:
        heights["targets"] = 22 * len(explanation.targets) + 12
    if explanation.layers is not None:
        heights["layers"] = min(300, 16 * len(explanation.layers.names) + 30)
    axes = {name: "y" if number == 0 else f"y{number + 1}" for number, name in enumerate(heights)}
    figure = go.Figure(layout=_layout(heights, axes, explanation))
    if num_compared:
        _scale_shares(figure, num_compared, axes["compared"])
    if waveform is not None:
        figure.add_traces(_waveform(waveform, sample_rate, axes["waveform"]))
        bands = explanation.bands
        picture = spectrogram(waveform, sample_rate, None if bands is None else bands.frequencies)
        figure.add_trace(_spectrogram(picture, axes["spectrogram"]))
        _scale_frequencies(figure, picture, axes["spectrogram"])
        if bands is not None:
            figure.add_traces(_overlays(bands, axes["spectrogram"], figure))
    for panel, tier in tiers.items():
        for target in range(len(explanation.targets)):
            figure.add_traces(tier_traces(tier, target, axes[panel], explanation.unit))
    for target in range(len(explanation.targets)):
        figure.add_traces(_frames(explanation, target, axes["frames"]))
    if "targets" in axes:
        figure.add_trace(_targets(explanation, axes["targets"], figure))
    if explanation.layers is not None:
        figure.add_traces(_layers(explanation.layers, explanation.frame_edges, axes["layers"]))
        share_axis = {"domain": [_TIME_ENDS + 0.02, 1], "anchor": axes["layers"], "title": {"text": "share (%)"}}
        figure.update_layout(xaxis2={**share_axis, "rangemode": "tozero", "fixedrange": True, "nticks": 3})
    return figure


def frames_title(explanation: Explanation, target: int) -> str:
    """What the panel of the frames shows of a target; the title is the annotation ``meta["frames"]`` of the layout."""
    shown = explanation.resolution(target)
    if not shown.is_frames:
        return f"attribution {shown.each} ({explanation.unit}), as frames are mostly noise"
    interval = "" if shown.estimate.standard_error is None else " with its 95 % interval"
    return f"frame attribution ({explanation.unit}){interval}"


def _layout(heights: dict[str, int], axes: dict[str, str], explanation: Explanation) -> dict[str, Any]:
    """Panels below each other with one x axis, each with its own y axis."""
    inside = sum(heights.values()) + _GAP_PIXELS * (len(heights) - 1)
    titles = {
        "waveform": "waveform, strongest moments marked",
        "spectrogram": "spectrogram",
        "frames": frames_title(explanation, 0),
        "compared": CAPTION,
        "targets": f"every target ({explanation.unit} a frame)",
        "layers": f"neurons of each layer, summed ({explanation.unit} a frame)",
    }
    if explanation.bands is not None:
        titles["spectrogram"] = f"spectrogram, time-frequency attribution ({explanation.unit}) over it"
    layout: dict[str, Any] = {
        "height": inside + sum(_MARGINS_PIXELS),
        "margin": {"l": 76, "r": 12, "t": _MARGINS_PIXELS[0], "b": _MARGINS_PIXELS[1]},
        "hovermode": "x",
        "hoverdistance": -1,
        "dragmode": "zoom",
        "barmode": "overlay",
        "showlegend": True,
        "annotations": [],
        "xaxis": {
            "domain": [0, _TIME_ENDS], "range": [0, explanation.duration], "title": {"text": "time (s)"},
            "anchor": list(axes.values())[-1], "zeroline": False, "minallowed": 0, "maxallowed": explanation.duration,
        },
    }  # fmt: skip
    tiers = [name.removeprefix("tier ") for name in heights if name.startswith("tier ")]
    for number, tier in enumerate(tiers):
        legend = " with 95 % intervals; hollow: the interval contains 0" if not number else ""
        titles[f"tier {tier}"] = escape(tier) + (legend if explanation.frames.standard_error is not None else "")
    layout["meta"] = {"frames": list(heights).index("frames")}
    top = 1.0
    for name, height in heights.items():
        bottom = top - height / inside
        if name == "frames":
            layout["legend"] = {
                "x": _TIME_ENDS, "y": top, "xanchor": "right", "yanchor": "bottom", "orientation": "h",
                "itemclick": False, "itemdoubleclick": False, "bgcolor": "rgba(0,0,0,0)",
            }  # fmt: skip
        axis: dict[str, Any] = {"domain": [max(0.0, bottom), top], "zeroline": name == "frames", "fixedrange": True}
        if name in ("targets", "layers"):
            axis |= {"autorange": "reversed", "type": "category", "showgrid": False}
        layout[axes[name].replace("y", "yaxis")] = axis
        layout["annotations"].append(
            {
                "text": titles[name], "x": 0, "y": top, "xref": "x domain", "yref": "paper", "xanchor": "left",
                "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
            }
        )  # fmt: skip
        top = bottom - _GAP_PIXELS / inside
    return layout


def _waveform(waveform: np.ndarray, sample_rate: int, axis: str) -> list[go.Scatter]:
    lowest, highest = waveform_outline(np.nan_to_num(waveform), _OUTLINE_COLUMNS)
    duration = len(waveform) / sample_rate
    time = float32(np.linspace(0, duration, len(lowest), endpoint=False) + duration / len(lowest) / 2)
    shared = {
        "x": time,
        "yaxis": axis,
        "mode": "lines",
        "line": {"width": 1},
        "meta": {"role": "ink"},
        "showlegend": False,
    }
    return [
        go.Scatter(y=float32(lowest), hoverinfo="skip", **shared),
        go.Scatter(y=float32(highest), fill="tonexty", hovertemplate="%{x:.2f} s<extra></extra>", **shared),
    ]


def _spectrogram(picture: Spectrogram, axis: str) -> go.Heatmap:
    return go.Heatmap(
        z=np.round(picture.decibels).astype(np.int8), zmin=-80, zmax=0, x0=picture.start + picture.hop / 2,
        dx=picture.hop, y=float32(band_positions(picture.frequencies)), yaxis=axis, showscale=False,
        hovertemplate="%{z} dB<extra></extra>", meta={"role": "spectrogram"},
    )  # fmt: skip


def _scale_shares(figure: go.Figure, num_compared: int, axis: str) -> None:
    """A row for each explanation that is compared, and the colours that they have in common."""
    figure.update_layout(
        {
            axis.replace("y", "yaxis"): {"range": [num_compared, 0], "visible": False},
            "meta": {**figure.layout.meta, "compared": axis},
            "coloraxis": {
                "cmin": -100, "cmax": 100, "colorscale": _DIVERGING,
                "colorbar": _colour_bar(figure, axis)
                | {"tickvals": [-100, 0, 100], "ticktext": ["−100 %", "0", "100 %"]},
            },
        }
    )  # fmt: skip


def _scale_frequencies(figure: go.Figure, picture: Spectrogram, axis: str) -> None:
    low, high = band_limits(picture.frequencies)
    options: dict[str, Any] = {"range": [low, high], "title": {"text": "kHz"}, "autorange": False}
    if is_mel(picture.frequencies):
        options["tickvals"], options["ticktext"] = mel_ticks(high)
    figure.update_layout({axis.replace("y", "yaxis"): options})


def _overlays(bands: BandAttribution, axis: str, figure: go.Figure) -> list[go.Heatmap]:
    """Time-frequency attribution of each target, all on one scale, as small integers to keep the file small."""
    values = bands.estimate.values
    # Neighbouring columns of a long sound are added up, as those of the spectrogram are averaged.
    factor = math.ceil(values.shape[2] / _MOST_COLUMNS)
    columns = np.add.reduceat(np.nan_to_num(values), np.arange(0, values.shape[2], factor), axis=2)
    reach = symmetric_scale(columns, quantile=SATURATED).vmax
    levels = np.clip(np.round(columns / reach * _LEVELS), -_LEVELS, _LEVELS).astype(np.int8)
    hop = bands.hop_seconds
    bar = _colour_bar(figure, axis) | {
        "tickvals": [-_LEVELS, 0, _LEVELS],
        "ticktext": [f"−{reach:.2g}", "0", f"{reach:.2g}"],
    }
    return [
        go.Heatmap(
            z=levels[target], zmin=-_LEVELS, zmax=_LEVELS, x0=(factor - 1) * hop / 2, dx=factor * hop,
            y=float32(band_positions(bands.frequencies)), yaxis=axis, colorscale=_DIVERGING, colorbar=bar,
            hoverinfo="skip", visible=target == 0, meta={"target": target},
        )
        for target in range(len(levels))
    ]  # fmt: skip


def _frames(explanation: Explanation, target: int, axis: str) -> list[go.Scatter]:
    """Steps and, where it is known, their interval; behind them those of another target for comparison."""
    shown = explanation.resolution(target)
    edges = float32(shown.edges)
    values, reach = shown.estimate.values[target], shown.estimate.reach
    shared = {"yaxis": axis, "mode": "lines", "visible": target == 0, "hoverinfo": "skip"}
    steps = {**shared, "x": edges}
    traces = []
    name = escape(str(explanation.targets[target]))
    each = "" if shown.is_frames else f" {shown.each}"
    hover = f"{name}{each}: %{{y:.3g}}"
    customdata = []
    if reach is not None:
        bound = {**steps, "line": {"shape": "hv", "width": 0}, "meta": {"target": target}, "showlegend": False}
        traces += [
            go.Scatter(y=_steps(values - reach[target]), **bound),
            go.Scatter(y=_steps(values + reach[target]), fill="tonexty", fillcolor="rgba(128,128,128,0.35)", **bound),
        ]
        hover += " ± %{customdata[0]:.2g}"
        customdata.append(reach[target])
    if len(explanation.targets) > 1:
        rival = 1 if target == 0 else 0
        line = {"shape": "hv", "width": 1.1, "color": CLASSES[2]}
        other = escape(str(explanation.targets[rival]))
        rivals = shown.estimate.values[rival]
        traces.append(go.Scatter(y=_steps(rivals), name=other, line=line, meta={"target": target}, **steps))
        hover += f"<br>{other}: %{{customdata[{len(customdata)}]:.3g}}"
        customdata.append(rivals)
    traces += [
        go.Scatter(
            y=_steps(values), name=name, line={"shape": "hv", "width": 1.6}, meta={"target": target, "role": "ink"},
            **steps,
        ),
        # The pointer reads values from the middles of the frames: steps have theirs at the bounds.
        go.Scatter(
            x=(edges[:-1] + edges[1:]) / 2, y=float32(values),
            customdata=float32(np.stack(customdata, 1)) if customdata else None,
            line={"width": 0}, hovertemplate=f"{hover}<extra></extra>", meta={"target": target}, showlegend=False,
            **{**shared, "hoverinfo": None},
        ),
    ]  # fmt: skip
    return traces


def _targets(explanation: Explanation, axis: str, figure: go.Figure) -> go.Heatmap:
    frames = explanation.frames.values
    scale = symmetric_scale(frames)
    return go.Heatmap(
        z=float32(frames), x=float32(explanation.frame_edges),
        y=[escape(str(target)) for target in explanation.targets], yaxis=axis, zmin=scale.vmin, zmax=scale.vmax,
        colorscale=_DIVERGING, colorbar=_colour_bar(figure, axis) | {"nticks": 3},
        hovertemplate="%{y}: %{z:.3g}<extra></extra>", meta={"role": "targets"},
    )  # fmt: skip


def _layers(layers: LayerAttribution, edges: np.ndarray, axis: str) -> list[Any]:
    scale, shares = symmetric_scale(layers.frames.values), layers.shares
    names = [escape(name.replace("layer_", "layer ")) for name in layers.names]
    traces: list[Any] = []
    for target in range(len(shares)):
        traces += [
            go.Heatmap(
                z=float32(layers.frames.values[target]), x=float32(edges), y=names, yaxis=axis, zmin=scale.vmin,
                zmax=scale.vmax, colorscale=_DIVERGING, showscale=False, visible=target == 0,
                hovertemplate="%{y}: %{z:.3g}<extra></extra>", meta={"target": target},
            ),
            go.Bar(
                x=float32(shares[target]), y=names, orientation="h", xaxis="x2", yaxis=axis,
                marker={"color": "rgba(128,128,128,0.8)"}, hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
                visible=target == 0, meta={"target": target}, showlegend=False,
            ),
        ]  # fmt: skip
    return traces


def _colour_bar(figure: go.Figure, axis: str) -> dict[str, Any]:
    bottom, top = figure.layout[axis.replace("y", "yaxis")].domain
    return {
        "x": _TIME_ENDS + 0.01, "xanchor": "left", "y": (bottom + top) / 2, "yanchor": "middle", "len": top - bottom,
        "thickness": 10, "xpad": 0, "ypad": 0, "outlinewidth": 0,
    }  # fmt: skip


def _steps(values: np.ndarray) -> np.ndarray:
    """A value for each bound, the last one twice, as a line of the shape ``hv`` takes them."""
    return float32(np.append(values, values[-1]))
