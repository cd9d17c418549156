"""The interactive beeswarm of the page."""

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from corpus_rows import NAN, cue_rows, row
from matplotlib.colors import to_rgb

from speechshap.data.cues import CUES
from speechshap.report.beeswarm import Beeswarm, beeswarm
from speechshap.report.colours import WARNING
from speechshap.report.page.corpus import MOST_DOTS, beeswarm_page_figure


def made(rows: list[dict[str, Any]]) -> tuple[Beeswarm, go.Figure]:
    swarm = beeswarm(rows)
    assert swarm is not None
    return swarm, beeswarm_page_figure(swarm)


def of_role(figure: go.Figure, role: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.meta["role"] == role]


def test_a_dot_tells_utterance_cue_unit_evidence_and_rest() -> None:
    cues = {"cue_names": ["rate"], "cue_evidence": [4.25], "cue_rest": [3.0]}
    _, figure = made([row("sad", utterance="<b>a</b>.wav", cue_rule="top_fifth", **cues)])
    (dots,) = of_role(figure, "dots")
    assert list(dots.customdata[0]) == ["<b>a</b>.wav", 4.25, 3.0]
    assert dots.text == ("&lt;b&gt;a&lt;/b&gt;.wav",)
    assert dots.hovertemplate == (
        "%{text}<br>speaking rate (syllables/s): %{customdata[1]} in the evidence, %{customdata[2]} in the "
        "rest<extra></extra>"
    )
    assert dots.marker.symbol == ("circle-open",)


def test_dots_and_means_lie_where_those_of_the_picture_do() -> None:
    swarm, figure = made([each | {"cue_rule": "significant"} for each in cue_rows({"sad": 5, "happy": 9}, shift=2.0)])
    traces = of_role(figure, "dots")
    assert len(traces) == 2 * len(CUES)
    for number, trace in enumerate(traces):
        emotion, cue = divmod(number, len(CUES))
        np.testing.assert_allclose(trace.x, swarm.places(emotion)[:, cue], rtol=1e-6)
        np.testing.assert_allclose(trace.marker.color, swarm.levels[emotion][:, cue], atol=1e-6)
        assert set(np.round(np.asarray(trace.y))) == {cue}
        assert set(trace.marker.symbol) == {"circle"}
        assert trace.xaxis == ("x", "x2")[emotion]
    for marks in of_role(figure, "marks"):
        emotion = ("x", "x2").index(marks.xaxis)
        for x, y, up, down in zip(marks.x, marks.y, marks.error_x.array, marks.error_x.arrayminus, strict=True):
            mean, low, high = swarm.intervals[:, emotion, round(float(y))]
            assert (x, x + up, x - down) == pytest.approx((mean, high, low), rel=1e-5)


def test_colours_can_be_told_from_a_light_and_a_dark_page() -> None:
    def luminance(colour: str) -> float:  # WCAG 2.2
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    _, figure = made(cue_rows({"sad": 2}))
    light = [luminance(colour) for _, colour in figure.layout.coloraxis.colorscale]
    dark = [luminance(colour) for colour in figure.layout.meta["colorscale_on_black"]]
    assert light == sorted(light)
    assert dark == sorted(dark)
    assert 1.05 / (max(light) + 0.05) > 1.9
    assert (min(dark) + 0.05) / (luminance("#14181d") + 0.05) > 2.7


def test_means_that_may_be_0_are_faint_and_tell_their_number_and_interval() -> None:
    swarm, figure = made(cue_rows({"sad": 8}, shift=1.5))
    shown = {round(float(y)): trace.opacity == 1 for trace in of_role(figure, "marks") for y in trace.y}
    assert shown == dict(enumerate(swarm.profile.differs[0].tolist()))
    (text,) = [text for trace in of_role(figure, "marks") for text in trace.text if text.startswith("pitch (")]
    assert text.endswith("<br>mean of 8 utterances, 8 speakers")
    assert f"{swarm.profile.mean[0, 0]:.2f} ({swarm.profile.low[0, 0]:.2f} to {swarm.profile.high[0, 0]:.2f})" in text


def test_names_are_no_tags_and_weak_panels_are_faded() -> None:
    _, figure = made(cue_rows({"<i>sad</i>": 3, "calm": 1}))
    sad, calm = (
        next(note for note in figure.layout.annotations if word in note.text)
        for word in ("3 utterances", "1 utterance,")
    )
    assert sad.text == "&lt;i&gt;sad&lt;/i&gt; (3 utterances, 3 speakers)"
    assert (sad.font.color, calm.font.color) == (None, WARNING)
    opacities = {trace.xaxis: trace.opacity for trace in of_role(figure, "dots")}
    assert opacities["x"] == 1.0  # "<" comes before letters
    assert opacities["x2"] < 1.0


def test_of_many_utterances_as_many_of_each_emotion_are_drawn_and_it_is_said() -> None:
    counts = {f"emotion {number}": 240 for number in range(10)}
    _, figure = made(cue_rows(counts))
    traces = of_role(figure, "dots")
    assert {len(trace.x) for trace in traces} == {MOST_DOTS // 10}
    assert "a random draw of 1,000 of 2,400 utterances, 100 of an emotion at most" in figure.layout.title.text.replace(
        "<br>", " "
    )


@pytest.mark.parametrize("emotions", [1, 2, 3, 30])
def test_panels_fill_the_figure_two_beside_each_other_without_overlap(emotions: int) -> None:
    _, figure = made(cue_rows({f"an emotion whose name has 40 letters {number}": 2 for number in range(emotions)}))
    layout = figure.layout.to_plotly_json()
    boxes = []
    for number in range(emotions):
        suffix = "" if number == 0 else str(number + 1)
        boxes.append((*layout[f"xaxis{suffix}"]["domain"], *layout[f"yaxis{suffix}"]["domain"]))
    for number, (left, right, low, high) in enumerate(boxes):
        assert 0 <= left < right <= 1
        assert -1e-9 <= low < high <= 1 + 1e-9
        for other in boxes[:number]:
            assert left >= other[1] or right <= other[0] or low >= other[3] - 1e-9 or high <= other[2] + 1e-9
    assert min(box[2] for box in boxes) == pytest.approx(0, abs=1e-9)


def test_the_figure_is_json_also_where_a_cue_is_unknown() -> None:
    cues = {"cue_names": ["f0", "new<"], "cue_evidence": [NAN, 1.0], "cue_rest": [NAN, 1.0]}
    _, figure = made([row("sad", **cues)])
    json.dumps(figure.to_dict(), allow_nan=False)
    assert figure.layout.yaxis.ticktext == ("pitch", "new&lt;")
    assert [len(trace.x) for trace in of_role(figure, "dots")] == [1]
