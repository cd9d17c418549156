import warnings

import numpy as np
import pytest
from corpus_rows import EMOTIONS, NAN, agreement_of_three, corpus, row
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from speechshap.report.colours import CLASSES, WARNING
from speechshap.report.corpus import band_profile, class_agreement, layer_profile, time_profile
from speechshap.report.corpus_figures import (
    band_profile_figure,
    class_agreement_figure,
    layer_profile_figure,
    time_profile_figure,
)


def panel_titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


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
    correlations = [text.get_text() for text in axes.texts if not text.get_text().isdigit()]
    assert " ".join(correlations) == "1.00 −1.00 none −1.00 1.00 1.00 none 1.00 1.00"
    image = axes.images[0]
    assert image.get_clim() == (-1, 1)
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), np.isnan(agreement.correlation))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_each_pair_of_classes_has_its_number_of_utterances_and_few_are_faded() -> None:
    both = {"against": None, "prediction": "a"}
    rows = [
        {**both, "utterance": f"{number}.wav", "target": target, "frame_attribution": [0.0, 1.0, float(number % 2)]}
        for number in range(8)
        for target in ("a", "b", "c")[: 3 if number < 2 else 2]
    ]
    agreement = class_agreement(rows)
    assert agreement is not None
    figure = class_agreement_figure(agreement)
    axes = figure.axes[0]
    numbers = {text.get_position(): text.get_text() for text in axes.texts if text.get_text().isdigit()}
    expected = [[8, 8, 2], [8, 8, 2], [2, 2, 2]]
    assert numbers == {(x, y + 0.26): str(expected[y][x]) for x in range(3) for y in range(3)}
    np.testing.assert_array_equal(np.asarray(axes.images[0].get_alpha()) < 1, np.array(expected) < 6)
    assert "small: number of utterances; faded: fewer than 6" in figure.get_suptitle().replace("\n", " ")


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
            figure.draw_without_rendering()
            assert len(figure.axes) == len(emotions)
            assert all(axes.patches and np.isfinite(axes.patches[0].get_data().values).all() for axes in figure.axes)
        assert (agreement is None) == (len(emotions) == 1)
        if agreement is not None:
            class_agreement_figure(agreement).draw_without_rendering()


@pytest.mark.parametrize(
    ("speakers", "title", "is_weak"),
    [(["Anna"], "sad (1 utterance, 1 speaker)", True), (["Anna", "Anna"], "sad (2 utterances, 1 speaker)", True),
     (["Anna", "Ben"], "sad (2 utterances, 2 speakers)", False), ([None], "sad (1 utterance)", True),
     (["Anna", None], "sad (2 utterances)", False)],
)  # fmt: skip
def test_a_panel_of_one_utterance_or_speaker_is_faded_in_every_figure(
    speakers: list[str | None], title: str, is_weak: bool
) -> None:
    own = [each for number in range(len(speakers)) for each in corpus(("sad",), 1, seed=number)]
    rows = [
        {**each, "utterance": f"{number}.wav", "speaker": name}
        for number, (each, name) in enumerate(zip(own, speakers, strict=True))
    ]
    for make, draw in (
        (time_profile, time_profile_figure), (band_profile, band_profile_figure), (layer_profile, layer_profile_figure),
    ):  # fmt: skip
        profile = make(rows)
        assert profile is not None
        figure = draw(profile)
        (axes,) = figure.axes
        assert axes.get_title(loc="left") == title
        assert (axes._left_title.get_color() == WARNING) == is_weak
        assert ((axes.patches[0].get_alpha() or 1.0) < 1) == is_weak
        assert ("faded: of one utterance or speaker" in figure.get_suptitle()) == is_weak


def test_a_name_from_right_to_left_leaves_the_numbers_behind_it_in_their_order() -> None:
    profile = time_profile(corpus(("\u05e2\u05e6\u05d5\u05d1",), 2))
    assert profile is not None
    (title,) = panel_titles(time_profile_figure(profile))
    assert title == "\u200e\u05e2\u05e6\u05d5\u05d1\u200e (2 utterances)"


LONG = "an emotion whose name has 40 letters or so"


@pytest.mark.parametrize("count", [1, 2, 9, 30])
def test_nothing_is_cut_or_runs_into_its_neighbour_however_long_the_names(count: int) -> None:
    profile = time_profile(corpus([f"{LONG} {number}" for number in range(count)], 1, 1, 1))
    assert profile is not None
    figure = time_profile_figure(profile)
    figure.draw_without_rendering()
    titles = [axes._left_title.get_window_extent() for axes in figure.axes]
    for one in titles:
        assert one.x0 >= 0
        assert one.x1 <= figure.bbox.x1
        assert sum(one.overlaps(other) for other in titles) == 1
    told = figure._suptitle.get_window_extent()
    assert told.x0 >= 0
    assert not any(told.overlaps(one) for one in titles)


def test_the_agreement_of_classes_with_long_names_is_not_cut() -> None:
    agreement = class_agreement(corpus([f"{LONG} {number}" for number in range(4)], 1, 1, 1))
    assert agreement is not None
    figure = class_agreement_figure(agreement)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels(), figure._suptitle]:
        extent = label.get_window_extent()
        assert min(extent.x0, extent.y0) >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y1 <= figure.bbox.y1
    cell = axes.get_window_extent().width / 4
    assert cell > max(text.get_window_extent().width for text in axes.texts)


def test_attributions_of_zero_are_drawn() -> None:
    profile = time_profile([row("sad", frame_attribution=[0.0, 0.0])] * 2)
    assert profile is not None
    figure = time_profile_figure(profile)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high
