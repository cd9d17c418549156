"""What plotly is given: what is significant, and what is not."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import opened
from helpers import REPLICATES, Browser, make_explanation, write_part, write_sound

from speechshap.report.page import write_report
from speechshap.report.page.entry import ReportEntry, Variant
from speechshap.report.page.interactive import interactive_figure
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation
from speechshap.results.rows import from_rows, to_rows

LONG = "a class whose name has forty letters, <b>"


def of_role(figure: Any, role: str, target: int | None = None) -> list[Any]:
    """Traces with this role, of a target where it is given."""
    found = [trace for trace in figure.data if (trace.meta or {}).get("role") == role]
    return [trace for trace in found if target is None or trace.meta["target"] == target]


def half_known(**fields: Any) -> Explanation:
    """Of the frames, cells and layers every second one is far from 0, the others are noise."""
    explanation = make_explanation(layers=2, bands=8, targets=("sad", "happy", "angry"), **fields)

    def known(values: np.ndarray) -> Estimate:
        values = np.where(np.arange(values.shape[-1]) % 2, np.sign(values) * 3, values / 10).astype(np.float32)
        return Estimate(values, np.full_like(values, 0.2), REPLICATES)

    assert explanation.layers is not None
    assert explanation.bands is not None
    return dataclasses.replace(
        explanation,
        frames=known(explanation.frames.values),
        layers=dataclasses.replace(explanation.layers, frames=known(explanation.layers.frames.values)),
        bands=dataclasses.replace(explanation.bands, estimate=known(explanation.bands.estimate.values)),
    )


def test_cells_that_are_not_significant_are_faint() -> None:
    explanation = half_known()
    bands, layers = explanation.bands, explanation.layers
    assert bands is not None
    assert layers is not None
    figure = interactive_figure(np.zeros(16000, np.float32), 16000, explanation)
    for target in range(3):
        (cells,), (sure,) = (of_role(figure, role, target) for role in ("cells", "sure"))
        assert cells.opacity < 0.2
        assert sure.opacity is None
        np.testing.assert_array_equal(sure.z[:, ::2], 0)
        np.testing.assert_array_equal(sure.z[:, 1::2], cells.z[:, 1::2])
        # The page makes amounts of steps.
        step = cells.meta["scale"] / 127
        np.testing.assert_allclose(step * cells.z, bands.estimate.values[target], atol=step)
        np.testing.assert_allclose(step * cells.customdata, 0.2 * 2.0639, atol=step / 2 + 1e-6)
        pale, solid = of_role(figure, "layers", target)
        assert pale.opacity < 0.2
        assert "not significant" in pale.hovertemplate
        values = layers.frames.values[target]
        np.testing.assert_array_equal(solid.z, np.where(np.arange(values.shape[1]) % 2, values, np.nan))
        np.testing.assert_array_equal(pale.z, np.where(np.arange(values.shape[1]) % 2, np.nan, values))
    rows = of_role(figure, "targets")
    assert [trace.opacity is not None for trace in rows] == [True, False] * 3


def test_without_errors_all_is_drawn_and_said_to_be_unknown() -> None:
    explanation = make_explanation(layers=2, bands=8, targets=("a", "b", "c"), words=["so"], relative_error=None)
    figure = interactive_figure(np.zeros(16000, np.float32), 16000, explanation)
    assert of_role(figure, "sure") == []
    assert all(trace.opacity in (None, 1) for trace in figure.data)
    titles = {each.name: each.text for each in figure.layout.annotations}
    for panel in ("spectrogram", "tier words", "frames", "targets", "layers"):
        assert titles[panel].endswith("no errors: significance unknown")
    assert "customdata" not in of_role(figure, "layers")[0].hovertemplate


def test_summed_columns_of_a_long_sound_show_what_is_significant_in_them() -> None:
    explanation = half_known(seconds=25.0)
    bands = explanation.bands
    assert bands is not None
    figure = interactive_figure(np.zeros(400_000, np.float32), 16000, explanation)
    (cells,), (sure,) = (of_role(figure, role, 0) for role in ("cells", "sure"))
    sums = np.add.reduceat(bands.estimate.values[0], np.arange(0, 2501, 3), axis=1)
    step = cells.meta["scale"] / 127
    most = cells.meta["scale"]  # from which on colours are saturated
    np.testing.assert_allclose(step * cells.z, np.clip(sums, -most, most), atol=step)
    kept = np.add.reduceat(np.where(np.arange(2501) % 2, bands.estimate.values[0], 0), np.arange(0, 2501, 3), axis=1)
    np.testing.assert_allclose(step * sure.z, np.clip(kept, -most, most), atol=step)
    assert cells.customdata is None  # of a sum the errors are unknown


def test_names_of_targets_are_whole_and_no_tags() -> None:
    long = interactive_figure(None, 16000, make_explanation(targets=(LONG, "b", "c")))
    rows = [label for label in long.layout.annotations if label.name == "row"]
    assert rows[0].text == LONG.replace("<", "&lt;").replace(">", "&gt;")
    assert (rows[0].xanchor, rows[0].yanchor) == ("left", "bottom")  # above the row, as there is no room beside it
    short = interactive_figure(None, 16000, make_explanation(targets=("a", "b", "c")))
    assert [label.xanchor for label in short.layout.annotations if label.name == "row"] == ["right"] * 3


def test_pitch_and_intensity_are_drawn_of_sounds_that_are_not_long() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(16000) / 16000).astype(np.float32)
    tone[8000:] = 0
    figure = interactive_figure(tone, 16000, make_explanation())
    (pitch,), (level,) = (of_role(figure, role) for role in ("pitch", "intensity"))
    assert np.nanmedian(pitch.y) == pytest.approx(200, rel=0.02)
    assert np.isnan(pitch.y[pitch.x > 0.6]).all()
    assert np.isnan(level.y[level.x > 0.6]).all()
    assert figure.layout[pitch.yaxis.replace("y", "yaxis")].type == "log"
    silent = interactive_figure(np.zeros(16000, np.float32), 16000, make_explanation())
    assert np.isnan(of_role(silent, "pitch")[0].y).all()
    long = interactive_figure(np.zeros(16000 * 121, np.float32), 16000, make_explanation(seconds=121.0))
    assert of_role(long, "pitch") == []


def test_every_resolution_is_there_to_be_compared() -> None:
    explanation = make_explanation(words=["so"], targets=("a", "b"))
    found = interactive_figure(None, 16000, explanation).layout.meta["resolutions"]
    assert [each["name"] for each in found] == ["frames", "100 ms"]
    reach = explanation.frames.reach
    assert reach is not None
    np.testing.assert_allclose(found[0]["values"], explanation.frames.values, rtol=1e-3)
    np.testing.assert_allclose(found[0]["reach"], reach, rtol=1e-3)


def half_unknown() -> Explanation:
    """Of three targets, the last is one whose errors are unknown."""
    known = half_known(words=["so", "no"])
    *rows, last = to_rows(known)
    return from_rows([*rows, last | {name: None for name in last if name.endswith("standard_error")}])


def test_a_target_without_errors_is_said_to_be_unknown_among_others_with_errors() -> None:
    explanation = half_unknown()
    figure = interactive_figure(np.zeros(16000, np.float32), 16000, explanation)
    for role in ("cells", "layers"):
        assert of_role(figure, role, 0)[0].opacity < 0.2
        (drawn,) = of_role(figure, role, 2)
        assert (drawn.opacity or 1) == 1
        assert drawn.customdata is None
    assert of_role(figure, "cells", 2)[0].meta["known"] is False
    assert of_role(figure, "sure", 2) == []
    rows = of_role(figure, "targets")
    assert [trace.opacity is not None for trace in rows] == [True, False, True, False, False]
    assert "not significant" not in rows[-1].hovertemplate
    titles = {each.name: each.text for each in figure.layout.annotations}
    for panel in ("spectrogram", "tier words", "targets", "layers"):
        assert titles[panel].endswith("not significant; angry: no errors: significance unknown")
    (payload,) = ReportEntry([Variant("lime", explanation, None)]).payload()
    for target, own in enumerate(payload["targets"]):
        is_known = target < 2
        assert (own["reach"] is not None, own["significant"] is not None) == (is_known, is_known)
        assert all((row[-1] is not None, row[-2] is not None) == (is_known, is_known) for row in own["segments"])
    assert payload["targets"][2]["title"].endswith("no errors: significance unknown")
    assert payload["targets"][2]["grade"] is None


def test_a_title_counts_the_targets_without_errors_where_they_are_several() -> None:
    first, *others = to_rows(make_explanation(targets=(LONG, "b", LONG[::-1])))
    mixed = from_rows([first, *(row | {"frame_standard_error": None} for row in others)])
    titles = {each.name: each.text for each in interactive_figure(None, 16000, mixed).layout.annotations}
    assert titles["targets"].endswith("faint: not significant; 2 targets: no errors: significance unknown")


def test_sizes_are_not_said_to_be_tested() -> None:
    explanation = half_known(provenance={"method": "smooth_grad"})
    sizes = dataclasses.replace(explanation.frames, is_signed=False)
    figure = interactive_figure(None, 16000, dataclasses.replace(explanation, frames=sizes))
    titles = {each.name: each.text for each in figure.layout.annotations}
    assert titles["frames"].endswith("sizes, which are not tested against 0")
    assert titles["targets"].endswith("sizes, which are not tested against 0")


def uneven_cells() -> Explanation:
    """Of significant cells of all sizes, some are far below a step; some that are not have errors beyond the scale."""
    explanation = make_explanation(bands=8)
    assert explanation.bands is not None
    values = np.geomspace(1e-6, 1.0, explanation.bands.estimate.values.size, dtype=np.float32)
    values = values.reshape(explanation.bands.estimate.values.shape)
    errors = np.where(np.arange(values.shape[-1]) % 2, values / 20, 9.0).astype(np.float32)
    bands = dataclasses.replace(explanation.bands, estimate=Estimate(values, errors, REPLICATES))
    return dataclasses.replace(explanation, bands=bands)


def test_what_is_drawn_as_significant_is_what_is_significant_however_small() -> None:
    explanation = uneven_cells()
    assert explanation.bands is not None
    figure = interactive_figure(np.zeros(16000, np.float32), 16000, explanation)
    (sure,) = of_role(figure, "sure", 0)
    is_significant = explanation.bands.estimate.significant
    assert is_significant is not None
    assert is_significant.any()
    np.testing.assert_array_equal(sure.z != 0, is_significant[0])


TOLD = """
const cells = picture.data.find((trace) => trace.meta?.role === "cells");
return cells.customdata;
"""


def test_a_cell_says_where_it_or_its_interval_is_beyond_the_scale(browser: Browser, tmp_path: Path) -> None:
    explanation = uneven_cells()
    sound = write_sound(tmp_path / "a.wav", 1.0)
    write_part(tmp_path, dataclasses.replace(explanation, path=str(sound)))
    write_report(tmp_path, {})
    with opened(browser, tmp_path / "report.html") as page:
        told = page.execute_script(TOLD)
    known = r"[+−]\S+( \(or (less|more)\))? ± \S+( \(or less\))? logits"
    assert all(re.fullmatch(known, cell) for row in told for cell in row[1::2])
    wide = r"[+−]\S+( \(or (less|more)\))? ± \S+ \(or more\) logits, not significant"
    assert all(re.fullmatch(wide, cell) for row in told for cell in row[::2])
    # A cell that is too small for the steps of the scale is told by the first of them.
    value, margin = re.fullmatch(r"[+−](\S+) \(or less\) ± (\S+) \(or less\) logits", told[0][1]).groups()
    assert 0 < float(margin) <= float(value) < 0.01
