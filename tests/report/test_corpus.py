import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from corpus_rows import INF, NAN, agreement_of_three, corpus, row

from speechshap.report.corpus import band_profile, class_agreement, layer_profile, time_profile


def of_predicted(rows: list[dict[str, Any]], emotion: str) -> list[dict[str, Any]]:
    return [each for each in rows if each["target"] == each["prediction"] == emotion]


@pytest.mark.parametrize(
    ("num_frames", "num_bins"), [(1, 50), (2, 3), (49, 50), (50, 50), (51, 50), (1499, 50), (7, 1)]
)
def test_frames_are_spread_over_bins_by_overlap_and_keep_their_sum(num_frames: int, num_bins: int) -> None:
    frames = np.random.default_rng(0).normal(size=num_frames)
    begin = np.maximum(np.arange(num_bins)[:, None] / num_bins, np.arange(num_frames) / num_frames)
    end = np.minimum((np.arange(num_bins)[:, None] + 1) / num_bins, (np.arange(num_frames) + 1) / num_frames)
    expected = (np.maximum(end - begin, 0) * num_frames) @ frames
    profile = time_profile([row("sad", frame_attribution=frames.tolist())], num_bins)
    assert profile is not None
    np.testing.assert_allclose(profile.mean[0], expected, atol=1e-9)
    assert profile.mean.sum() == pytest.approx(frames.sum())


def test_bins_lie_in_the_middle_of_their_share_of_the_duration() -> None:
    profile = time_profile(corpus())
    assert profile is not None
    np.testing.assert_allclose(profile.positions, np.arange(0.01, 1, 0.02))


def test_the_mean_over_time_is_that_of_the_utterances_of_each_emotion() -> None:
    rows = corpus(("sad", "happy"), per_emotion=4)
    profile = time_profile(rows, 4)
    assert profile is not None
    assert profile.emotions == ("happy", "sad")
    assert profile.counts.tolist() == [4, 4]
    for number, emotion in enumerate(profile.emotions):
        # Each frame 4 times, so that a bin is as many whole quarters of frames as the utterance has frames.
        spread = [
            np.repeat(each["frame_attribution"], 4).reshape(4, -1).sum(1) / 4 for each in of_predicted(rows, emotion)
        ]
        np.testing.assert_allclose(profile.mean[number], np.mean(spread, 0))
        np.testing.assert_allclose(profile.standard_error[number], pd.DataFrame(spread).sem())


def test_attributions_to_classes_that_were_not_predicted_are_no_part_of_a_profile() -> None:
    rows = [
        row("sad", frame_attribution=[1.0]),
        row("happy", "sad", frame_attribution=[5.0]),
        row("sad", against="happy", frame_attribution=[7.0]),
    ]
    profile = time_profile(rows, 1)
    assert profile is not None
    assert (profile.emotions, profile.mean.tolist(), profile.left_out) == (("sad",), [[1.0]], 0)


def test_where_contrasts_alone_explain_the_prediction_profiles_are_theirs_and_say_so() -> None:
    rows = [
        row("sad", utterance="a.wav", against="calm", frame_attribution=[1.0]),
        row("sad", utterance="b.wav", against="calm", frame_attribution=[3.0]),
        row("calm", utterance="c.wav", against="sad", frame_attribution=[5.0]),
        row("calm", utterance="d.wav", against="happy", frame_attribution=[8.0]),
        row("happy", "calm", utterance="e.wav", against="calm", frame_attribution=[9.0]),
    ]
    profile = time_profile(rows, 1)
    assert profile is not None
    assert profile.emotions == ("calm - another class", "sad - calm")
    assert (profile.mean.tolist(), profile.counts.tolist()) == ([[6.5], [2.0]], [2, 2])


def test_every_output_of_a_regression_has_a_profile() -> None:
    rows = [row(name, frame_attribution=[value]) | {"prediction": None} for name, value in (("a", 1.0), ("v", 2.0))]
    profile = time_profile(rows, 1)
    assert profile is not None
    assert (profile.emotions, profile.mean.tolist()) == (("a", "v"), [[1.0], [2.0]])


def test_one_utterance_has_a_mean_and_no_standard_error() -> None:
    profile = time_profile([row("sad", frame_attribution=[2.0])], 2)
    assert profile is not None
    assert profile.mean.tolist() == [[1.0, 1.0]]
    assert np.isnan(profile.standard_error).all()


def test_an_attribution_of_zero_counts_as_any_other() -> None:
    rows = [row("sad", frame_attribution=[0.0, 0.0]), row("sad", frame_attribution=[2.0, 4.0])]
    profile = time_profile(rows, 2)
    assert profile is not None
    np.testing.assert_allclose(profile.mean, [[1, 2]])


@pytest.mark.parametrize("bad", [[1.0, NAN], [INF, 1.0], [INF, -INF], [1.0, None], []])
def test_frames_that_are_not_finite_are_left_out_and_counted(bad: list[float]) -> None:
    rows = [row("sad", frame_attribution=[1.0, 3.0]), row("sad", frame_attribution=bad)]
    with warnings.catch_warnings(action="error"):
        profile = time_profile(rows, 2)
    assert profile is not None
    assert (profile.mean.tolist(), profile.counts.tolist(), profile.left_out) == ([[1.0, 3.0]], [1], 1)


def test_an_error_that_is_not_finite_and_a_missing_label_change_nothing() -> None:
    profile = time_profile([row("sad", frame_attribution=[1.0], relative_error=INF, label=None)], 1)
    assert profile is not None
    assert profile.mean.tolist() == [[1.0]]


def test_bands_are_summed_over_time_and_averaged_over_utterances() -> None:
    rows = corpus(("sad", "happy"), per_emotion=5)
    profile = band_profile(rows)
    assert profile is not None
    np.testing.assert_allclose(profile.positions, 100 * 1.5 ** np.arange(6))
    for number, emotion in enumerate(profile.emotions):
        sums = pd.DataFrame(
            [np.array(each["time_frequency_attribution"]).sum(1) for each in of_predicted(rows, emotion)]
        )
        np.testing.assert_allclose(profile.mean[number], sums.mean())
        np.testing.assert_allclose(profile.standard_error[number], sums.sem())


def test_only_utterances_with_the_commonest_bands_are_averaged() -> None:
    other = row("happy", frequencies_hz=[50.0], time_frequency_attribution=[[9.0]])
    common = row("sad", frequencies_hz=[100.0, 200.0], time_frequency_attribution=[[1.0, 2.0], [3.0, 4.0]])
    profile = band_profile([other, common, common])
    assert profile is not None
    assert profile.positions.tolist() == [100.0, 200.0]
    assert (profile.emotions, profile.mean.tolist(), profile.left_out) == (("sad",), [[3.0, 7.0]], 1)


def test_layers_have_their_share_of_each_utterance() -> None:
    rows = corpus(("sad", "happy"), per_emotion=4)
    profile = layer_profile(rows)
    assert profile is not None
    assert profile.positions.tolist() == [f"layer_{number}" for number in range(5)]
    for number, emotion in enumerate(profile.emotions):
        mass = pd.DataFrame([each["layer_mass"] for each in of_predicted(rows, emotion)])
        share = mass.div(mass.sum(axis=1), axis=0)
        np.testing.assert_allclose(profile.mean[number], share.mean())
        np.testing.assert_allclose(profile.standard_error[number], share.sem())
    np.testing.assert_allclose(profile.mean.sum(1), 1)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, NAN]])
def test_layers_without_a_share_are_left_out_and_counted(bad: list[float]) -> None:
    names = ["layer_0", "layer_1"]
    rows = [row("sad", layer_names=names, layer_mass=mass) for mass in ([1.0, 3.0], bad)]
    profile = layer_profile(rows)
    assert profile is not None
    assert (profile.mean.tolist(), profile.left_out) == ([[0.25, 0.75]], 1)


def test_there_is_no_profile_of_what_was_not_asked_for() -> None:
    rows = [row("sad", frame_attribution=[1.0, 2.0])]
    assert band_profile(rows) is None
    assert layer_profile(rows) is None
    assert class_agreement(rows) is None


def test_there_is_no_profile_where_no_utterance_is_of_use() -> None:
    assert time_profile([row("sad", frame_attribution=[NAN])]) is None
    assert time_profile([]) is None
    assert class_agreement([]) is None


def test_profiles_are_made_of_rows_that_come_one_by_one() -> None:
    rows = corpus(per_emotion=2)
    whole, streamed = time_profile(rows), time_profile(iter(rows))
    assert whole is not None
    assert streamed is not None
    np.testing.assert_array_equal(whole.mean, streamed.mean)


def test_the_agreement_is_the_mean_correlation_within_utterances() -> None:
    rows = corpus(("sad", "happy", "angry"), per_emotion=4)
    agreement = class_agreement(rows)
    assert agreement is not None
    assert agreement.classes == ("angry", "happy", "sad")
    values = {(each["utterance"], each["target"]): each["frame_attribution"] for each in rows}
    each_one = np.array([
        np.corrcoef([values[f"{number}.wav", name] for name in agreement.classes]) for number in range(12)
    ])  # fmt: skip
    np.testing.assert_allclose(agreement.correlation, each_one.mean(0))
    np.testing.assert_allclose(agreement.standard_error, each_one.std(0, ddof=1) / np.sqrt(12), atol=1e-12)
    assert (agreement.counts == 12).all()
    assert (np.diag(agreement.correlation) == 1).all()


def test_classes_that_no_utterance_has_both_of_have_no_agreement() -> None:
    agreement = agreement_of_three()
    np.testing.assert_allclose(agreement.correlation, [[1, -1, NAN], [-1, 1, 1], [NAN, 1, 1]])
    assert agreement.counts.tolist() == [[1, 1, 0], [1, 2, 1], [0, 1, 1]]


def test_contrasts_take_no_part_in_the_agreement() -> None:
    rows = [row("happy", frame_attribution=[0.0, 1.0], against=against) for against in (None, "sad")]
    assert class_agreement(rows) is None
    agreement = class_agreement([*rows, row("sad", "happy", frame_attribution=[1.0, 0.0])])
    assert agreement is not None
    assert agreement.classes == ("happy", "sad")


@pytest.mark.parametrize("bad", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, NAN, 1.0], [0.0, INF, 1.0]])
def test_attributions_without_a_correlation_are_left_out_and_counted(bad: list[float]) -> None:
    frames = {"a": [0.0, 1.0, 2.0], "b": [0.0, 2.0, 4.0], "c": bad}
    with warnings.catch_warnings(action="error"):
        agreement = class_agreement([row(name, "a", frame_attribution=values) for name, values in frames.items()])
    assert agreement is not None
    np.testing.assert_allclose(agreement.correlation, [[1, 1, NAN], [1, 1, NAN], [NAN, NAN, 1]])
    assert agreement.left_out == 1


def test_utterances_of_one_frame_have_no_agreement() -> None:
    agreement = class_agreement([row(name, "a", frame_attribution=[1.0]) for name in ("a", "b")])
    assert agreement is not None
    np.testing.assert_allclose(agreement.correlation, [[1, NAN], [NAN, 1]])
    assert agreement.left_out == 2


def test_a_file_that_changed_its_length_between_runs_is_two_utterances() -> None:
    rows = [
        row(name, "a", frame_attribution=np.random.default_rng(length).normal(size=length).tolist())
        for length in (5, 6)
        for name in ("a", "b")
    ]
    agreement = class_agreement(rows)
    assert agreement is not None
    assert agreement.counts.tolist() == [[2, 2], [2, 2]]
