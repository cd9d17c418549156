import warnings

import numpy as np
import pytest
from corpus_rows import NAN, cue_rows, row

from speechshap.data.cues import CUES
from speechshap.report.colours import WARNING
from speechshap.report.cue_figure import cue_figure
from speechshap.report.cue_profile import cue_profile


def test_a_panel_for_each_cue_with_an_interval_for_each_emotion() -> None:
    profile = cue_profile(cue_rows({"sad": 5, "happy": 9}))
    assert profile is not None
    axes = cue_figure(profile).axes
    assert [panel.get_title(loc="left") for panel in axes] == [cue.title for cue in CUES.values()]
    assert [panel.get_xlabel() for panel in axes] == [cue.unit for cue in CUES.values()]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [
        "happy\n9 utterances, 9 speakers", "sad\n5 utterances, 5 speakers",
    ]  # fmt: skip
    for cue, panel in enumerate(axes):
        intervals = [line.get_xdata() for line in panel.lines[1::2]]
        np.testing.assert_allclose(intervals, np.stack([profile.low[:, cue], profile.high[:, cue]], 1))
        points = [line.get_xdata()[0] for line in panel.lines[2::2]]
        np.testing.assert_allclose(points, profile.mean[:, cue])


@pytest.mark.parametrize(("shift", "is_faint"), [(0.0, True), (9.0, False), (-9.0, False)])
def test_what_may_be_0_is_faint(shift: float, is_faint: bool) -> None:
    profile = cue_profile(cue_rows({"sad": 8}, shift))
    assert profile is not None
    may_be_0 = ~profile.differs
    assert may_be_0.mean() > 0.5 if is_faint else not may_be_0.any()
    for cue, panel in enumerate(cue_figure(profile).axes):
        assert {line.get_alpha() < 1 for line in panel.lines[1:]} == {bool(may_be_0[0, cue])}


def test_an_emotion_of_one_utterance_is_fainter_still_and_named_in_the_colour_of_a_warning() -> None:
    profile = cue_profile(cue_rows({"happy": 1, "sad": 5}))
    assert profile is not None
    axes = cue_figure(profile).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "happy\n1 utterance, 1 speaker"
    assert [label.get_color() for label in axes.get_yticklabels()] == [WARNING, "black"]
    one, many = (next(line for line in axes.lines[1:] if line.get_ydata()[0] == row) for row in (0, 1))
    assert one.get_alpha() < many.get_alpha()


def test_speakers_who_are_unknown_are_not_counted() -> None:
    profile = cue_profile([each | {"speaker": None} for each in cue_rows({"sad": 5})])
    assert profile is not None
    assert [label.get_text() for label in cue_figure(profile).axes[0].get_yticklabels()] == ["sad\n5 utterances"]


@pytest.mark.parametrize("speakers", [{"sad": 1}, {"a$b": 2, "a_$c": 1}, {f"emotion {n}": 2 for n in range(11)}])
def test_figures_of_any_number_of_emotions_are_drawn(speakers: dict[str, int]) -> None:
    profile = cue_profile(cue_rows(speakers))
    assert profile is not None
    with warnings.catch_warnings(action="error"):
        cue_figure(profile).draw_without_rendering()


def test_cues_that_nobody_has_and_unknown_ones_are_drawn() -> None:
    cues = {"cue_names": ["f0", "new"], "cue_evidence": [NAN, 1.0], "cue_rest": [NAN, 1.0]}
    profile = cue_profile([row("sad", speaker="Anna", **cues)])
    assert profile is not None
    with warnings.catch_warnings(action="error"):
        figure = cue_figure(profile)
        figure.draw_without_rendering()
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["pitch", "new"]
