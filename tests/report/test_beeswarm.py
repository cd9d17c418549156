import numpy as np
import pytest
from corpus_rows import NAN, cue_rows, row

from speechshap.data.cues import CUES
from speechshap.report.beeswarm import ROOM, Beeswarm, beeswarm, lay_out, side_by_side
from speechshap.report.cue_profile import MOST_DRAWN


def one_cue(utterance: str, evidence: float, rest: float, emotion: str = "sad", **fields: object) -> dict[str, object]:
    cues = {"cue_names": ["f0"], "cue_evidence": [evidence], "cue_rest": [rest]}
    return row(emotion, utterance=utterance, **cues, **fields)  # type: ignore[arg-type]


def found(rows: list[dict[str, object]]) -> Beeswarm:
    swarm = beeswarm(rows)
    assert swarm is not None
    return swarm


def test_a_dot_lies_where_its_evidence_differs_from_the_rest_in_deviations_of_the_cue_over_the_corpus() -> None:
    swarm = found([one_cue("a", 5.0, 1.0), one_cue("b", 2.0, 3.0), one_cue("c", 0.0, 2.0, "calm")])
    deviation = np.std([5, 1, 2, 3, 0, 2], ddof=1)
    places = {
        name: place
        for emotion, dots in enumerate(swarm.dots)
        for name, (place,) in zip(dots.utterances, swarm.places(emotion), strict=True)
    }
    assert places == pytest.approx({"a": 4 / deviation, "b": -1 / deviation, "c": -2 / deviation})
    assert swarm.profile.emotions == ("calm", "sad")
    np.testing.assert_allclose(swarm.intervals[0], [[-2 / deviation], [1.5 / deviation]])


def test_the_colour_is_that_of_the_mean_of_both_sides_between_the_extremes_of_the_corpus() -> None:
    swarm = found([one_cue(f"{number}", 2.0 * number, 0.0) for number in range(101)])
    (dots,), (levels,) = swarm.dots, swarm.levels
    middles = np.array([float(name) for name in dots.utterances])
    np.testing.assert_allclose(levels[:, 0], np.clip((middles - 5) / 90, 0, 1))  # 5 % to 95 % of 0 to 100


def test_the_colour_does_not_go_with_the_place_by_chance() -> None:
    """Two sides that have nothing to do with each other; either side alone would correlate by 0.7."""
    swarm = found(cue_rows({"sad": 240}))
    for cue in range(len(CUES)):
        assert abs(np.corrcoef(swarm.places(0)[:, cue], swarm.levels[0][:, cue])[0, 1]) < 0.25


def test_where_all_are_the_same_dots_are_in_the_middle_of_axis_and_colours() -> None:
    swarm = found([one_cue("a", 1.0, 1.0), one_cue("b", 1.0, 1.0)])
    assert swarm.places(0).tolist() == [[0.0], [0.0]]
    assert swarm.levels[0].tolist() == [[0.5], [0.5]]
    assert swarm.reach == 1.0


def test_a_cue_that_one_side_lacks_has_no_dot_and_an_utterance_without_any_is_left_out() -> None:
    cues = {"cue_names": ["f0", "rate"], "cue_evidence": [NAN, 2.0], "cue_rest": [1.0, 1.0]}
    swarm = found([row("sad", utterance="a", **cues), row("sad", utterance="b", **cues | {"cue_evidence": [NAN, NAN]})])
    assert swarm.dots[0].utterances == ("a",)
    np.testing.assert_array_equal(np.isnan(swarm.places(0)), [[True, False]])
    np.testing.assert_array_equal(np.isnan(swarm.levels[0]), [[True, False]])
    assert str(swarm) == ""


def test_what_stands_for_the_evidence_is_known_of_each_dot() -> None:
    rules = {"a": "significant", "b": "top_fifth", "c": None}
    (dots,) = found([one_cue(name, 1.0, 0.0, cue_rule=rule) for name, rule in rules.items()]).dots
    assert dict(zip(dots.utterances, dots.are_significant.tolist(), strict=True)) == {"a": True, "b": False, "c": False}


def test_of_many_utterances_some_are_drawn_and_means_are_of_all() -> None:
    rows = [one_cue(f"{number}.wav", float(number % 7), 0.0) for number in range(MOST_DRAWN + 50)]
    rows += [one_cue("x.wav", 1.0, 0.0, "calm")]
    swarm = found(rows)
    assert [len(dots.utterances) for dots in swarm.dots] == [1, MOST_DRAWN]
    assert str(swarm) == "dots: a random draw of 251 of 301 utterances, 250 of an emotion at most"
    assert swarm.profile.mean[1, 0] == pytest.approx(np.mean([number % 7 for number in range(MOST_DRAWN + 50)]))
    assert swarm.dots[1].utterances == found(rows[::-1]).dots[1].utterances
    few = swarm.part(3)
    assert [dots.utterances for dots in few.dots] == [("x.wav",), swarm.dots[1].utterances[:3]]
    np.testing.assert_array_equal(few.places(1), swarm.places(1)[:3])


def test_only_rows_that_explain_the_prediction_have_dots() -> None:
    rows = [one_cue("a", 1.0, 0.0), one_cue("a", 5.0, 0.0, "calm", prediction="sad")]
    assert [dots.utterances for dots in found(rows).dots] == [("a",)]
    contrast = found([one_cue("a", 1.0, 0.0, against="calm")])
    assert contrast.profile.emotions == ("sad - calm",)
    assert contrast.dots[0].utterances == ("a",)
    assert beeswarm([row("sad")]) is None


def test_outputs_of_a_regression_have_all_utterances() -> None:
    rows = [
        one_cue(name, 1.0, 0.0, output) | {"prediction": None}
        for name in ("a", "b")
        for output in ("arousal", "valence")
    ]
    swarm = found(rows)
    assert swarm.profile.emotions == ("arousal", "valence")
    assert all(set(dots.utterances) == {"a", "b"} for dots in swarm.dots)


@pytest.mark.parametrize("seed", range(5))
def test_dots_of_a_line_do_not_overlap_and_lines_are_as_few_as_possible(seed: int) -> None:
    generator = np.random.default_rng(seed)
    places = (64 * generator.normal(size=(6, 40))).round() / 64  # differences of these are exact
    places[1, ::3] = NAN
    places[2] = (8 * places[2]).round() / 8
    places[3] = 0.25
    lines = side_by_side(places, 0.25)
    np.testing.assert_array_equal(np.isnan(lines), np.isnan(places))
    for own, on in zip(places, lines, strict=True):
        known = own[~np.isnan(own)]
        for line in np.unique(on[~np.isnan(on)]):
            assert (np.diff(np.sort(own[on == line])) >= 0.25).all()
        # All dots that begin within one diameter before the end of a dot need lines of their own.
        most = max(np.sum((known > end - 0.25) & (known <= end)) for end in known)
        assert len(np.unique(on[~np.isnan(on)])) == most
        assert np.nanmax(on) - np.nanmin(on) + 1 == most


def test_dots_are_as_large_as_there_is_room_for_and_no_two_touch() -> None:
    swarm = found(cue_rows({"sad": 60, "happy": 30}))
    width, height = 300.0, 40.0
    layout = lay_out(swarm, width, height)
    for emotion, offsets in enumerate(layout.offsets):
        x, y = swarm.places(emotion) * width / (2 * swarm.reach), offsets * height
        assert (np.abs(offsets) <= ROOM / 2 + layout.diameter / 2 / height).all()
        for cue in range(len(CUES)):
            apart = np.maximum(np.abs(x[:, None, cue] - x[None, :, cue]), np.abs(y[:, None, cue] - y[None, :, cue]))
            assert (apart[~np.eye(len(apart), dtype=bool)] >= layout.diameter * (1 - 1e-6)).all()
    assert layout.diameter > lay_out(swarm, width, height / 3).diameter


def test_a_pile_of_one_value_stays_within_its_row() -> None:
    layout = lay_out(found([one_cue(f"{number}", 1.0, 1.0) for number in range(200)]), 300.0, 40.0)
    assert np.ptp(layout.offsets[0]) <= ROOM
    assert len(np.unique(layout.offsets[0])) == 200
