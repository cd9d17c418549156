import warnings
from typing import Any

import numpy as np
import pytest
from corpus_rows import NAN, cue_rows, row
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from speechshap.data.cues import CUES
from speechshap.report.beeswarm import Beeswarm, beeswarm
from speechshap.report.beeswarm_figure import LEVEL_MAP, beeswarm_figure
from speechshap.report.colours import WARNING


def made(rows: list[dict[str, Any]]) -> tuple[Beeswarm, Figure, list[Axes]]:
    swarm = beeswarm(rows)
    assert swarm is not None
    figure = beeswarm_figure(swarm)
    return swarm, figure, figure.axes[: len(swarm.profile.emotions)]


def dots_of(axes: Axes) -> tuple[PathCollection, PathCollection]:
    """Filled and hollow ones."""
    filled, hollow = [each for each in axes.collections if isinstance(each, PathCollection)]
    return filled, hollow


def test_a_panel_for_each_emotion_with_a_dot_an_utterance_in_the_row_of_each_cue() -> None:
    swarm, figure, panels = made([each | {"cue_rule": "significant"} for each in cue_rows({"sad": 5, "happy": 9})])
    assert [axes.get_title(loc="left") for axes in panels] == [
        "happy (9 utterances, 9 speakers)", "sad (5 utterances, 5 speakers)",
    ]  # fmt: skip
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [cue.title for cue in CUES.values()]
    for emotion, axes in enumerate(panels):
        filled, hollow = dots_of(axes)
        x, y = np.asarray(filled.get_offsets()).T
        np.testing.assert_allclose(x, swarm.places(emotion).ravel())
        np.testing.assert_array_equal(np.round(y), np.tile(np.arange(len(CUES)), len(x) // len(CUES)))
        np.testing.assert_allclose(filled.get_facecolor(), LEVEL_MAP(swarm.levels[emotion].ravel()))
        assert not len(hollow.get_offsets())
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert panels[0].get_ylim()[0] > panels[0].get_ylim()[1]
    assert "hollow" not in figure.get_suptitle()


def test_dots_whose_evidence_is_not_significant_are_hollow_and_the_legend_says_so() -> None:
    rows = cue_rows({"sad": 6})
    rows = [each | {"cue_rule": "significant" if number < 4 else "top_fifth"} for number, each in enumerate(rows)]
    _, figure, (axes,) = made(rows)
    filled, hollow = dots_of(axes)
    assert (len(filled.get_offsets()), len(hollow.get_offsets())) == (4 * len(CUES), 2 * len(CUES))
    assert not len(hollow.get_facecolor())
    assert "hollow: no frame is known to be significant" in figure.get_suptitle().replace("\n", " ")


def test_means_and_intervals_are_those_of_the_profile_and_faint_where_they_may_be_0() -> None:
    swarm, _, (axes,) = made(cue_rows({"sad": 8}, shift=1.5))
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    intervals = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.8]
    np.testing.assert_allclose([line.get_xdata()[0] for line in diamonds], swarm.profile.mean[0] / swarm.deviation)
    ends = np.stack([swarm.profile.low[0], swarm.profile.high[0]], 1) / swarm.deviation[:, None]
    np.testing.assert_allclose([line.get_xdata() for line in intervals], ends)
    np.testing.assert_array_equal([line.get_alpha() == 1 for line in diamonds], swarm.profile.differs[0])
    assert swarm.profile.differs.any()


def test_dots_as_drawn_do_not_overlap_each_other_or_the_means() -> None:
    _, figure, panels = made(cue_rows({"sad": 40, "happy": 30, "calm": 20}))
    figure.draw_without_rendering()
    for axes in panels:
        (_, hollow) = dots_of(axes)
        points = axes.transData.transform(np.asarray(hollow.get_offsets())) * 72 / figure.dpi
        diameter = np.sqrt(hollow.get_sizes()[0]) + hollow.get_linewidths()[0]
        apart = np.abs(points[:, None] - points[None]).max(-1)
        assert (apart[~np.eye(len(points), dtype=bool)] > diameter * 0.99).all()
        below = [axes.transData.transform(line.get_xydata()[0])[1] * 72 / figure.dpi
                 for line in axes.lines if line.get_marker() == "D"]  # fmt: skip
        assert np.abs(points[:, 1, None] - np.array(below)).min() > diameter / 2


def test_a_panel_of_one_utterance_or_speaker_is_faded() -> None:
    rows = cue_rows({"sad": 6, "happy": 1}) + [each | {"speaker": "Anna"} for each in cue_rows({"calm": 6})]
    _, figure, (calm, happy, sad) = made(rows)
    assert [axes._left_title.get_color() == WARNING for axes in (calm, happy, sad)] == [True, True, False]
    assert happy.get_title(loc="left") == "happy (1 utterance, 1 speaker)"
    for weak in (calm, happy):
        assert dots_of(weak)[1].get_alpha() < 1
    assert dots_of(sad)[1].get_alpha() is None
    assert "faded: of one utterance or speaker" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize(
    "speakers",
    [{"sad": 1}, {"a$b": 2, "a_$c": 1}, {f"an emotion whose name has 40 letters or so {n}": 2 for n in range(30)},
     {"<b>sad</b>": 2, "\u05e2\u05e6\u05d5\u05d1": 2}],
)  # fmt: skip
def test_nothing_is_cut_with_any_number_of_emotions_of_any_name(speakers: dict[str, int]) -> None:
    with warnings.catch_warnings(action="error"):
        _, figure, panels = made(cue_rows(speakers))
        figure.draw_without_rendering()
    titles = [axes._left_title.get_window_extent() for axes in panels]
    for extent in [*titles, *(label.get_window_extent() for label in panels[0].get_yticklabels())]:
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert sum(extent.overlaps(other) for other in titles) <= 1


def test_cues_that_nobody_has_and_unknown_ones_are_drawn() -> None:
    cues = {"cue_names": ["f0", "new"], "cue_evidence": [NAN, 1.0], "cue_rest": [NAN, 1.0]}
    with warnings.catch_warnings(action="error"):
        _, figure, (axes,) = made([row("sad", speaker="Anna", **cues)])
        figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pitch", "new"]
