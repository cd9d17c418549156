import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from speechshap.report.colours import CLASSES
from speechshap.report.corpus import (
    ClassAgreement,
    band_profile,
    class_agreement,
    layer_profile,
    time_profile,
)
from speechshap.report.corpus_figures import (
    band_profile_figure,
    class_agreement_figure,
    layer_profile_figure,
    time_profile_figure,
)
from speechshap.report.corpus_table import TABLE_SCHEMA, corpus_table
from speechshap.results.rows import SCHEMA

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NAN, INF = float("nan"), float("inf")


def row(target: str, prediction: str | None = None, utterance: str = "a.wav", **columns: Any) -> dict[str, Any]:
    """A row as the Parquet gives it back: every column there, null where it was not asked for."""
    empty = dict.fromkeys(SCHEMA.names)
    return {**empty, "utterance": utterance, "target": target, "prediction": prediction or target, **columns}


def corpus(
    emotions: Sequence[str] = EMOTIONS, per_emotion: int = 3, num_layers: int = 5, num_bands: int = 6, seed: int = 0
) -> list[dict[str, Any]]:
    """Utterances of each emotion, explained for all of them, with layers and bands."""
    generator = np.random.default_rng(seed)
    rows = []
    for number, prediction in enumerate(np.repeat(emotions, per_emotion).tolist()):
        frames = int(generator.integers(5, 120))
        for target in emotions:
            rows.append(
                row(
                    target, prediction, f"{number}.wav",
                    frame_attribution=generator.normal(size=frames).tolist(),
                    layer_names=[f"layer_{layer}" for layer in range(num_layers)],
                    layer_mass=generator.uniform(size=num_layers).tolist(),
                    frequencies_hz=(100.0 * 1.5 ** np.arange(num_bands)).tolist(),
                    time_frequency_attribution=generator.normal(size=(num_bands, frames)).tolist(),
                )
            )  # fmt: skip
    return rows


def of_predicted(rows: list[dict[str, Any]], emotion: str) -> list[dict[str, Any]]:
    return [each for each in rows if each["target"] == each["prediction"] == emotion]


def panel_titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


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


def agreement_of_three() -> ClassAgreement:
    """Of classes a, b and c, where no utterance has both a and c."""
    up, down = [0.0, 1.0, 2.0], [1.0, 0.0, -1.0]
    rows = [
        row("a", "a", "1.wav", frame_attribution=up), row("b", "a", "1.wav", frame_attribution=down),
        row("b", "b", "2.wav", frame_attribution=up), row("c", "b", "2.wav", frame_attribution=up),
    ]  # fmt: skip
    agreement = class_agreement(rows)
    assert agreement is not None
    return agreement


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


def test_the_table_holds_every_value_with_its_error_and_count() -> None:
    rows = corpus(("sad", "happy"), per_emotion=3)
    time, bands, layers, agreement = time_profile(rows), band_profile(rows), layer_profile(rows), class_agreement(rows)
    table = corpus_table(time, bands, layers, agreement)
    assert table.schema == TABLE_SCHEMA
    frame = table.to_pandas()
    assert frame.groupby("quantity").size().to_dict() == {"time": 100, "band": 12, "layer": 10, "agreement": 4}
    for name, profile in (("time", time), ("band", bands), ("layer", layers)):
        assert profile is not None
        values = frame[(frame.quantity == name) & (frame.emotion == "sad")]
        np.testing.assert_array_equal(values.value, profile.mean[1])
        np.testing.assert_array_equal(values.standard_error, profile.standard_error[1])
        assert (values.n == 3).all()
        assert values.other.isna().all()
        np.testing.assert_array_equal(values.position.astype(profile.positions.dtype), profile.positions)
    assert agreement is not None
    pair = frame[(frame.quantity == "agreement") & (frame.emotion == "sad") & (frame.other == "happy")]
    assert pair.value.item() == agreement.correlation[1, 0]
    assert pair.n.item() == 6
    assert pair.position.isna().all()


def test_the_table_has_nulls_for_what_is_unknown() -> None:
    table = corpus_table(time_profile([row("sad", frame_attribution=[1.0])], 2), None, None, None)
    assert table["standard_error"].null_count == 2
    assert table["value"].to_pylist() == [0.5, 0.5]


def test_the_table_of_nothing_has_its_columns() -> None:
    table = corpus_table(None, None, None, None)
    assert (table.num_rows, table.schema) == (0, TABLE_SCHEMA)


def test_each_emotion_has_a_panel_with_its_mean_and_error_in_its_colour() -> None:
    profile = time_profile(corpus())
    assert profile is not None
    figure = time_profile_figure(profile)
    assert panel_titles(figure) == [f"{emotion} (3 utterances)" for emotion in sorted(EMOTIONS)]
    for number, axes in enumerate(figure.axes):
        (line,) = axes.patches
        np.testing.assert_allclose(line.get_data().values, profile.mean[number])
        np.testing.assert_allclose(line.get_data().edges, np.linspace(0, 1, 51))
        assert line.get_edgecolor() == to_rgba(CLASSES[number])
        (band,) = axes.collections
        bounds = band.get_paths()[0].vertices[:, 1]
        assert bounds.max() == pytest.approx((profile.mean + profile.standard_error)[number].max())
        assert bounds.min() == pytest.approx((profile.mean - profile.standard_error)[number].min())
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1


def test_each_panel_shows_the_other_emotions_in_grey() -> None:
    profile = time_profile(corpus(("sad", "happy", "calm")))
    assert profile is not None
    grey = [line.get_ydata() for line in time_profile_figure(profile).axes[1].lines if len(line.get_xdata()) == 50]
    np.testing.assert_allclose(grey, profile.mean[[0, 2]])


def test_axes_say_what_they_are_in_which_unit() -> None:
    rows = corpus()
    time, bands, layers = time_profile(rows), band_profile(rows), layer_profile(rows)
    assert time is not None
    assert bands is not None
    assert layers is not None
    labels = [
        (figure.get_supxlabel(), figure.get_supylabel().replace("\n", " "))
        for figure in (
            time_profile_figure(time),
            band_profile_figure(bands, "probability"),
            layer_profile_figure(layers),
        )
    ]
    assert labels == [
        ("time (share of the duration)", "mean attribution (logits per 2 % of the duration)"),
        ("frequency (kHz, mel scale)", "mean attribution (probability a band)"),
        ("layer", "share of the absolute neuron attributions (%)"),
    ]


def test_the_figure_says_how_many_utterances_were_left_out() -> None:
    profile = time_profile([*corpus(), row("sad", frame_attribution=[NAN])])
    assert profile is not None
    assert "1 utterance left out" in time_profile_figure(profile).get_suptitle()


def test_equally_spaced_bands_are_drawn_over_hertz() -> None:
    bands = {"frequencies_hz": [0.0, 1000.0, 2000.0], "time_frequency_attribution": [[1.0], [2.0], [3.0]]}
    profile = band_profile([row("sad", **bands)])
    assert profile is not None
    figure = band_profile_figure(profile)
    assert figure.get_supxlabel() == "frequency (kHz)"
    np.testing.assert_allclose(figure.axes[0].patches[0].get_data().edges, [-0.5, 0.5, 1.5, 2.5])
    assert figure.axes[0].get_xlim() == (0, 2.5)


def test_mel_bands_are_ticked_in_kilohertz() -> None:
    profile = band_profile(corpus(num_bands=11))
    assert profile is not None
    axes = band_profile_figure(profile).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.25", "0.5", "1", "2", "4"]
    np.testing.assert_allclose(axes.get_xticks(), 2595 * np.log10(1 + np.array([250, 500, 1000, 2000, 4000]) / 700))


def test_layers_are_named_below_their_share_in_per_cent() -> None:
    profile = layer_profile(corpus())
    assert profile is not None
    axes = layer_profile_figure(profile).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3", "4"]
    np.testing.assert_allclose(axes.patches[0].get_data().values, 100 * profile.mean[-1])
    assert axes.get_ylim()[0] == 0


def test_of_many_layers_every_second_is_named() -> None:
    profile = layer_profile(corpus(num_layers=25))
    assert profile is not None
    names = [label.get_text() for label in layer_profile_figure(profile).axes[-1].get_xticklabels()]
    assert names == [str(number) for number in range(0, 25, 2)]


def test_the_agreement_is_drawn_with_numbers_on_one_scale_to_both_sides_of_0() -> None:
    agreement = agreement_of_three()
    axes = class_agreement_figure(agreement).axes[0]
    assert " ".join(text.get_text() for text in axes.texts) == "1.00 −1.00 none −1.00 1.00 1.00 none 1.00 1.00"
    image = axes.images[0]
    assert image.get_clim() == (-1, 1)
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), np.isnan(agreement.correlation))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_title().endswith("0 to 1 utterance a pair")


@pytest.mark.parametrize(
    ("emotions", "per_emotion", "num_layers", "num_bands"),
    [(["sad"], 1, 1, 1), (["sad"], 2, 1, 2), (["a$b", "a_$c"], 1, 2, 3), (EMOTIONS[:3], 1, 13, 40),
     ([f"emotion {number}" for number in range(11)], 1, 25, 4)],
)  # fmt: skip
def test_figures_of_any_number_of_emotions_layers_and_bands_are_drawn(
    emotions: list[str], per_emotion: int, num_layers: int, num_bands: int
) -> None:
    rows = corpus(emotions, per_emotion, num_layers, num_bands)
    time, bands, layers, agreement = time_profile(rows), band_profile(rows), layer_profile(rows), class_agreement(rows)
    assert time is not None
    assert bands is not None
    assert layers is not None
    figures = [time_profile_figure(time), band_profile_figure(bands), layer_profile_figure(layers)]
    with warnings.catch_warnings(action="error"):
        for figure in figures:
            figure.canvas.draw()
            assert len(figure.axes) == len(emotions)
            assert all(axes.patches and np.isfinite(axes.patches[0].get_data().values).all() for axes in figure.axes)
        assert (agreement is None) == (len(emotions) == 1)
        if agreement is not None:
            class_agreement_figure(agreement).canvas.draw()


def test_attributions_of_zero_are_drawn() -> None:
    profile = time_profile([row("sad", frame_attribution=[0.0, 0.0])] * 2)
    assert profile is not None
    figure = time_profile_figure(profile)
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high
