import numpy as np
import pytest
from corpus_rows import NAN, cue_rows, row
from scipy import stats

from speechshap.report.beeswarm import beeswarm
from speechshap.report.beeswarm_figure import beeswarm_figure
from speechshap.report.cue_profile import cue_profile


def one_cue(evidence: float, rest: float, speaker: str | None = "Anna", **fields: object) -> dict[str, object]:
    cues = {"cue_names": ["f0"], "cue_evidence": [evidence], "cue_rest": [rest]}
    return row("sad", **{"speaker": speaker, **cues, **fields})  # type: ignore[arg-type]


def test_each_utterance_is_its_own_control() -> None:
    profile = cue_profile([one_cue(103.0, 100.0), one_cue(-4.0, -5.0, "Ben"), one_cue(4.0, 2.0, "Ben")])
    assert profile is not None
    assert (profile.emotions, profile.names) == (("sad",), ("f0",))
    assert (profile.mean.item(), profile.counts.item(), profile.speakers.item()) == (2.0, 3, 2)
    assert profile.effect.item() == pytest.approx(2.0)  # differences 3, 1, 2 have a standard deviation of 1
    assert (profile.low.item(), profile.high.item()) == (1.5, 3.0)  # Ben alone, and Anna alone


def test_the_effect_is_that_of_a_paired_t_test() -> None:
    rows = cue_rows({"sad": 12}, shift=1.0)
    profile = cue_profile(rows)
    assert profile is not None
    evidence, rest = (np.array([r[side] for r in rows]) for side in ("cue_evidence", "cue_rest"))
    expected = stats.ttest_rel(evidence, rest).statistic / np.sqrt(12)
    np.testing.assert_allclose(profile.effect[0], expected)


def test_a_cue_that_one_side_lacks_is_left_out() -> None:
    profile = cue_profile([one_cue(NAN, 1.0), one_cue(3.0, 1.0), one_cue(3.0, NAN, "Ben")])
    assert profile is not None
    assert (profile.mean.item(), profile.counts.item()) == (2.0, 1)
    assert np.isnan([profile.low.item(), profile.effect.item()]).all()


def test_utterances_that_have_any_cue_are_counted_though_they_have_none_in_common() -> None:
    pitch, level = [3.0, NAN], [NAN, 5.0]
    sides = [(pitch, "Anna"), (level, "Ben"), (level, "Clara"), ([NAN, NAN], "Dora")]
    rows = [
        row("sad", speaker=name, utterance=f"{name}.wav", cue_names=["f0", "intensity"], cue_evidence=own,
            cue_rest=[0.0, 0.0])
        for own, name in sides
    ]  # fmt: skip
    profile, swarm = cue_profile(rows), beeswarm(rows)
    assert profile is not None
    assert swarm is not None
    assert profile.counts.tolist() == [[1, 2]]
    assert (profile.num_utterances.tolist(), profile.num_speakers.tolist()) == ([3], [3])
    assert (swarm.num_drawn, str(swarm)) == (3, "")
    assert "(3 utterances, 3 speakers)" in beeswarm_figure(swarm).axes[0].get_title(loc="left")
    unknown = cue_profile([*rows, rows[0] | {"speaker": None, "utterance": "e.wav"}])
    assert unknown is not None
    assert (unknown.num_utterances.tolist(), unknown.num_speakers.tolist()) == ([4], [0])


def test_of_one_speaker_there_is_no_interval() -> None:
    profile = cue_profile([one_cue(2.0, 1.0), one_cue(5.0, 1.0)])
    assert profile is not None
    assert np.isnan([profile.low, profile.high]).all()
    assert profile.mean.item() == 2.5


def test_what_differs_has_an_interval_without_0_from_six_speakers() -> None:
    profile = cue_profile(cue_rows({"happy": 6, "sad": 5}, shift=9.0))
    assert profile is not None
    assert (profile.low > 0).all()
    assert profile.differs.all(1).tolist() == [True, False]
    same = cue_profile(cue_rows({"sad": 6}))
    assert same is not None
    np.testing.assert_array_equal(same.differs, (same.low > 0) | (same.high < 0))


def test_where_the_speaker_is_unknown_an_utterance_stands_for_one() -> None:
    profile = cue_profile([one_cue(2.0, 1.0, None), one_cue(5.0, 1.0, None, utterance="b.wav")])
    assert profile is not None
    assert profile.speakers.item() == 2
    assert np.isfinite(profile.low).all()


def test_only_the_prediction_counts_and_rows_without_cues_are_ignored() -> None:
    assert cue_profile([row("sad"), one_cue(2.0, 1.0, prediction="happy")]) is None


def test_contrasts_of_the_prediction_have_cues_under_the_name_of_what_was_explained() -> None:
    profile = cue_profile([one_cue(2.0, 1.0, against="calm"), one_cue(3.0, 1.0, against="calm", utterance="b.wav")])
    assert profile is not None
    assert (profile.emotions, profile.mean.item(), profile.counts.item()) == (("sad - calm",), 1.5, 2)
    both = cue_profile([one_cue(2.0, 1.0, against="calm"), one_cue(5.0, 1.0)])
    assert both is not None
    assert (both.emotions, both.mean.item()) == (("sad",), 4.0)
