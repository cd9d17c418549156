"""The interactive picture of an explanation: a plotly figure whose traces the page switches by target."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from speechshap.attribution.intervals import interval_reach
from speechshap.data.wording import counted
from speechshap.report.page.cells import (
    DIVERGING,
    layer_ticks,
    layer_traces,
    names_are_above,
    overlays,
    target_rows,
)
from speechshap.report.page.curves import (
    LONGEST_SECONDS,
    contour_curves,
    curve_traces,
    level_limits,
    pitch_limits,
    pitch_ticks,
)
from speechshap.report.page.plotly_values import escape, float32, numbers
from speechshap.report.page.tiers import tier_traces
from speechshap.report.panels import band_limits
from speechshap.report.spectrogram import (
    Spectrogram,
    band_positions,
    is_mel,
    mel_ticks,
    spectrogram,
    waveform_outline,
)
from speechshap.report.strips import CAPTION
from speechshap.report.wording import shortened
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation

_GAP_PIXELS, _MARGINS_PIXELS = 36, (56, 44)
_TIME_ENDS = 0.88  # colour bars and the layers' shares lie to the right of it
_OUTLINE_COLUMNS = 1500

UNKNOWN = "no errors: significance unknown"
SIZES = "sizes, which are not tested against 0"


def interactive_figure(
    waveform: np.ndarray | None, sample_rate: int, explanation: Explanation, num_compared: int = 0
) -> go.Figure:
    """Draw an explanation with one time axis for all panels: zooming in one zooms in all.

    A trace of one target has that target's index as ``meta["target"]``; the page shows those of the chosen target.
    ``meta["role"]`` tells traces whose colours follow the page's theme, or that it reads. The page itself draws the
    curve of the chosen target's frames, the marks of what is heard, and the strips that are compared: the layout has
    the axes of all panels as ``meta["axes"]``.

    Args:
        waveform: ``(time,)``; None without a sound file.
        sample_rate: Hz.
        explanation: What to draw.
        num_compared: Explanations that the page shows side by side in a panel of its own; 0 for no such panel.
    """
    heights = {} if waveform is None else {"waveform": 90, "spectrogram": 170}
    has_curves = waveform is not None and len(waveform) <= LONGEST_SECONDS * sample_rate
    if has_curves:
        heights["curves"] = 84
    tiers = {f"tier {tier.tiers[0]}": tier for tier in explanation.read_tiers}
    heights |= dict.fromkeys(tiers, 110)
    heights["frames"] = 170
    if num_compared:
        heights["compared"] = 62 * num_compared
    names = [str(target) for target in explanation.targets]
    if len(names) > 2:
        heights["targets"] = (34 if names_are_above(names) else 22) * len(names)
    if explanation.layers is not None:
        heights["layers"] = min(300, 16 * len(explanation.layers.names) + 30)
    axes = {name: "y" if number == 0 else f"y{number + 1}" for number, name in enumerate(heights)}
    figure = go.Figure(layout=_layout(heights, axes, explanation))
    _axis(figure, axes["frames"], zeroline=True)
    if num_compared:
        _scale_shares(figure, num_compared, axes["compared"])
    if waveform is not None:
        figure.add_traces(_waveform(waveform, sample_rate, axes["waveform"]))
        bands = explanation.bands
        picture = spectrogram(waveform, sample_rate, None if bands is None else bands.frequencies)
        figure.add_trace(_spectrogram(picture, axes["spectrogram"]))
        _scale_frequencies(figure, picture, axes["spectrogram"])
        if bands is not None:
            bar = _colour_bar(figure, axes["spectrogram"])
            figure.add_traces(overlays(bands, axes["spectrogram"], bar, explanation.unit))
    if has_curves and waveform is not None:
        _add_curves(figure, waveform, axes["curves"], f"y{len(axes) + 1}")
    for panel, tier in tiers.items():
        for target in range(len(names)):
            figure.add_traces(tier_traces(tier, target, axes[panel], explanation.unit))
    if "targets" in axes:
        traces, labels = target_rows(explanation, axes["targets"])
        most = traces[-1].zmax
        ticks = {"tickvals": [-most, 0, most], "ticktext": [f"−{most:.2g}", "0", f"{most:.2g}"]}
        traces[-1].update(showscale=True, colorbar=_colour_bar(figure, axes["targets"]) | ticks)
        figure.add_traces(traces)
        figure.update_layout(annotations=[*figure.layout.annotations, *labels])
        _axis(figure, axes["targets"], range=[len(names), 0], visible=False)
    if explanation.layers is not None:
        layers = explanation.layers
        figure.add_traces(layer_traces(layers, explanation.frame_edges, axes["layers"], explanation.unit))
        _axis(
            figure, axes["layers"], autorange="reversed", type="category", showgrid=False, **layer_ticks(layers.names)
        )
        share_axis = {"domain": [_TIME_ENDS + 0.02, 1], "anchor": axes["layers"], "title": {"text": "share (%)"}}
        figure.update_layout(
            xaxis2={**share_axis, "rangemode": "tozero", "fixedrange": True, "nticks": 3, "tickangle": 0}
        )
    return figure


def frames_title(explanation: Explanation, target: int) -> str:
    """What the panel of the frames shows of a target."""
    shown, unit = explanation.resolution(target), explanation.unit
    errors = _unknown(shown.estimate.of(target)) or "filled: significant"
    if not shown.is_frames:
        return f"attribution {shown.each} ({unit}), as frames are noise; {errors}"
    return f"frame attribution ({unit}); {errors}"


def _titles(explanation: Explanation, tiers: list[str]) -> dict[str, str]:
    """What each panel shows, with its units; the page writes that of the frames."""
    unit = escape(explanation.unit)
    names = [str(target) for target in explanation.targets]
    known = _known(explanation.frames, names)
    titles = {
        "waveform": "waveform (share of full scale)",
        "spectrogram": "spectrogram (kHz; the stronger, the louder)",
        "curves": "pitch (Hz, line) and intensity (dB of the utterance's level, dotted)",
        "frames": frames_title(explanation, 0),
        "compared": CAPTION,
        "targets": f"frames of every target ({unit}){known}",
    }
    titles |= {f"tier {tier}": f"{escape(tier)} ({unit}){known.replace('faint', 'hollow')}" for tier in tiers}
    if explanation.bands is not None:
        own = _known(explanation.bands.estimate, names)
        titles["spectrogram"] = f"time-frequency attribution ({unit} a cell; kHz){own}"
    if explanation.layers is not None:
        own = _known(explanation.layers.frames, names)
        titles["layers"] = f"neurons by layer and frame ({unit}){own}"
    return titles


def _known(estimate: Estimate, names: list[str]) -> str:
    """What is known of the significance, and of which target it is not, or of how many, where it is of others."""
    unknown = {name: why for target, name in enumerate(names) if (why := _unknown(estimate.of(target)))}
    if len(unknown) == len(names):
        return f"; {unknown[names[0]]}"
    if not unknown:
        return "; faint: not significant"
    which = shortened(next(iter(unknown)), 20) if len(unknown) == 1 else counted(len(unknown), "target")
    return f"; faint: not significant; {escape(which)}: {UNKNOWN}"


def _unknown(own: Estimate) -> str | None:
    """Why it is not known what is significant; None where it is."""
    return UNKNOWN if own.standard_error is None else None if own.is_signed else SIZES


def _layout(heights: dict[str, int], axes: dict[str, str], explanation: Explanation) -> dict[str, Any]:
    """Panels below each other with one x axis, each with its own y axis."""
    inside = sum(heights.values()) + _GAP_PIXELS * (len(heights) - 1)
    titles = _titles(explanation, [name.removeprefix("tier ") for name in heights if name.startswith("tier ")])
    degrees = explanation.frames.degrees
    layers = explanation.layers
    layout: dict[str, Any] = {
        "height": inside + sum(_MARGINS_PIXELS),
        "margin": {"l": 76, "r": 20, "t": _MARGINS_PIXELS[0], "b": _MARGINS_PIXELS[1]},
        "hovermode": "x",
        "hoverdistance": -1,
        "dragmode": "zoom",
        "barmode": "overlay",
        "showlegend": False,
        "annotations": [],
        "meta": {
            "axes": axes,
            "layers": [] if layers is None else [name.replace("layer_", "layer ") for name in layers.names],
            # With these the page tells what is significant of a difference.
            "degrees": None if np.isinf(degrees) else degrees,
            "reach": interval_reach(degrees),
            "seed": explanation.provenance.settings.get("seed"),
            "resolutions": _resolutions(explanation),
        },
        "xaxis": {
            "domain": [0, _TIME_ENDS], "range": [0, explanation.duration], "title": {"text": "time (s)"},
            "anchor": list(axes.values())[-1], "zeroline": False, "minallowed": 0, "maxallowed": explanation.duration,
        },
    }  # fmt: skip
    top = 1.0
    for name, height in heights.items():
        bottom = top - height / inside
        layout[_key(axes[name])] = {"domain": [max(0.0, bottom), top], "zeroline": False, "fixedrange": True}
        layout["annotations"].append(
            {
                "text": titles[name], "x": 0, "y": top, "xref": "x domain", "yref": "paper", "xanchor": "left",
                "yanchor": "bottom", "showarrow": False, "font": {"size": 12}, "align": "left", "name": name,
            }
        )  # fmt: skip
        top = bottom - _GAP_PIXELS / inside
    return layout


def _resolutions(explanation: Explanation) -> list[dict[str, Any]]:
    """The frames, and stretches of equal length from the shortest: what two targets are compared at."""
    every = [("frames", explanation.frame_edges, explanation.frames)]
    if explanation.segments is not None:
        every += list(explanation.segments.ladder())
    return [
        {
            "name": name,
            "edges": numbers(edges),
            "values": [numbers(own) for own in estimate.values],
            "reach": None if estimate.reach is None else [numbers(own) for own in estimate.reach],
        }
        for name, edges, estimate in every
    ]


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
        hovertemplate="%{x:.2f} s, %{customdata}: %{z} dB<extra></extra>",
        meta={"role": "spectrogram", "hertz": numbers(picture.frequencies)},
    )  # fmt: skip


def _add_curves(figure: go.Figure, waveform: np.ndarray, pitch_axis: str, level_axis: str) -> None:
    """Pitch and intensity in one panel, the latter with its ticks on the right."""
    seconds, hertz, decibels = contour_curves(waveform)
    figure.add_traces(curve_traces(seconds, hertz, decibels, pitch_axis, level_axis))
    low, high = pitch_limits(hertz)
    _axis(figure, pitch_axis, type="log", range=[np.log10(low), np.log10(high)], tickvals=pitch_ticks(low, high))
    own = {"overlaying": pitch_axis, "side": "right", "anchor": "x", "showgrid": False, "zeroline": False}
    limits = level_limits(decibels)
    _axis(figure, level_axis, **own, range=limits, tickmode="auto", nticks=4, fixedrange=True, ticksuffix=" dB")


def _scale_shares(figure: go.Figure, num_compared: int, axis: str) -> None:
    """A row for each explanation that is compared, and the colours that they have in common."""
    _axis(figure, axis, range=[num_compared, 0], visible=False)
    bar = _colour_bar(figure, axis) | {"tickvals": [-100, 0, 100], "ticktext": ["−100 %", "0", "100 %"]}
    figure.update_layout(coloraxis={"cmin": -100, "cmax": 100, "colorscale": DIVERGING, "colorbar": bar})


def _scale_frequencies(figure: go.Figure, picture: Spectrogram, axis: str) -> None:
    low, high = band_limits(picture.frequencies)
    options: dict[str, Any] = {"range": [low, high], "title": {"text": "kHz"}, "autorange": False}
    if is_mel(picture.frequencies):
        options["tickvals"], options["ticktext"] = mel_ticks(high)
    _axis(figure, axis, **options)


def _colour_bar(figure: go.Figure, axis: str) -> dict[str, Any]:
    bottom, top = figure.layout[_key(axis)].domain
    return {
        "x": _TIME_ENDS + 0.01, "xanchor": "left", "y": (bottom + top) / 2, "yanchor": "middle", "len": top - bottom,
        "thickness": 10, "xpad": 0, "ypad": 0, "outlinewidth": 0,
    }  # fmt: skip


def _axis(figure: go.Figure, axis: str, **options: Any) -> None:
    figure.update_layout({_key(axis): options})


def _key(axis: str) -> str:
    """Name of an axis in the layout (``yaxis3`` for ``y3``)."""
    return axis.replace("y", "yaxis")
