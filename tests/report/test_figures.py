import dataclasses
import re
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import make_explanation
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from scipy.stats import ttest_1samp

from speechshap.attribution.targets import Target
from speechshap.data import Stretch
from speechshap.errors import UserError
from speechshap.mel import hertz, mel
from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR, WARNING
from speechshap.report.figures import explanation_figure, methods_figure, visualize_audio_attributions
from speechshap.report.panels import ATTRIBUTION_MAP
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import BandAttribution, Explanation
from speechshap.results.rows import from_rows, to_rows

RATE = 16000
T_24 = 2.063899  # the 97.5 % quantile of Student's t with 24 degrees of freedom, from a table


def draw(explanation: Explanation, top_k: int = 3) -> Figure:
    waveform = np.random.default_rng(1).normal(size=round(explanation.duration * RATE)).astype(np.float32)
    figure = explanation_figure(waveform, RATE, explanation, top_k)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return figure


def caption(figure: Figure, panel: int) -> str:
    return figure.axes[panel].get_title(loc="left")


def estimate(value: float, error: float | None = None) -> Estimate:
    """Of one target."""
    return Estimate(np.array([value]), None if error is None else np.array([error]))


def panels(figure: Figure) -> dict[str, Any]:
    """Axes by the words of their caption."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def test_a_method_with_a_unit_of_its_own_says_nothing_for_or_against_a_target() -> None:
    figure = draw(make_explanation(provenance={"method": "saliency"}, relative_error=None))
    assert caption(figure, 0) == "strongest frames, errors unknown: orange above 0, blue below"
    assert figure.axes[2].get_ylabel() == "|gradient| a frame"


@pytest.mark.parametrize(("size", "label"), [(3e-9, "2e−09"), (3e7, "2e+07"), (3.0, "2")])
def test_an_axis_of_any_size_has_numbers_that_need_no_power_of_ten(size: float, label: str) -> None:
    figure = draw(make_explanation(frames=Estimate(np.linspace(0, size, 49)[None])))
    axes = figure.axes[2]
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert label in [text.get_text() for text in axes.get_yticklabels()]
    assert caption(figure, 2) == "frame attribution"


def test_three_panels_share_a_time_axis_in_seconds() -> None:
    explanation = make_explanation()
    figure = draw(explanation)
    wave, spectrogram, attribution = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["amplitude", "frequency (kHz)", "logits a frame"]
    assert attribution.get_xlabel() == "time (s)"
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 1)] * 3
    outline = wave.collections[0].get_paths()[0].vertices
    assert (outline[:, 0].min(), outline[:, 0].max()) == pytest.approx((0, 1), abs=1e-3)
    line, _, _, band = attribution.patches
    (frames,), errors = explanation.frames.values, explanation.frames.standard_error
    assert errors is not None
    np.testing.assert_allclose(line.get_data().values, frames)
    np.testing.assert_allclose(line.get_data().edges, explanation.frame_edges)
    np.testing.assert_allclose(band.get_data().values, frames + T_24 * errors[0], rtol=1e-5)
    np.testing.assert_allclose(band.get_data().baseline, frames - T_24 * errors[0], rtol=1e-5)
    left, right, *_ = spectrogram.images[0].get_extent()
    assert left == pytest.approx(-0.005)
    assert right == pytest.approx(1.005)


def test_a_tone_is_where_its_frequency_is() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    axes = explanation_figure(tone, RATE, make_explanation()).axes[1]
    (image,) = axes.images
    _, _, low, high = image.get_extent()
    rows = np.asarray(image.get_array())
    loudest = low + (rows.mean(1).argmax() + 0.5) / len(rows) * (high - low)
    assert loudest == pytest.approx(float(mel(1000)), abs=(high - low) / len(rows))
    ticks = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert ticks["1"] == pytest.approx(float(mel(1000)))


def test_the_strongest_frames_are_marked_where_they_are() -> None:
    frames = np.zeros((1, 49))
    frames[0, [10, 20, 30]] = [1.0, -2.0, 0.1]
    explanation = make_explanation(frames=Estimate(frames, np.zeros_like(frames)))
    figure = draw(explanation, top_k=2)
    marks = {round(patch.get_x(), 4): (patch.get_width(), patch.get_facecolor()) for patch in figure.axes[0].patches}
    first, second = (round(float(explanation.frame_edges[frame]), 4) for frame in (10, 20))
    assert set(marks) == {first, second}
    assert marks[first][1][:3] == to_rgb(SPEAKS_FOR)
    assert marks[second][1][:3] == to_rgb(SPEAKS_AGAINST)
    assert marks[first][0] == pytest.approx(0.02)


def test_noise_is_not_marked_and_what_is_significant_is_told_apart() -> None:
    frames = np.ones((1, 49))
    frames[0, 10], frames[0, 20] = 9.0, -7.0
    explanation = make_explanation(frames=Estimate(frames, np.full_like(frames, 0.8), 100))
    figure = draw(explanation, top_k=20)
    edges = explanation.frame_edges
    assert {round(patch.get_x(), 4) for patch in figure.axes[0].patches} == {round(edges[10], 4), round(edges[20], 4)}
    _, speaks_for, speaks_against, _ = figure.axes[2].patches
    assert np.flatnonzero(speaks_for.get_data().values).tolist() == [10]
    assert np.flatnonzero(speaks_against.get_data().values).tolist() == [20]


def test_where_nothing_is_significant_it_is_said() -> None:
    frames = np.random.default_rng(0).normal(size=(1, 49))
    cells = np.random.default_rng(1).normal(size=(1, 8, 101))
    bands = BandAttribution(hertz(np.linspace(0, mel(8000), 8)), 0.01, Estimate(cells, np.ones_like(cells), 16))
    explanation = make_explanation(frames=Estimate(frames, np.ones_like(frames), 16))
    figure = draw(dataclasses.replace(explanation, bands=bands))
    assert caption(figure, 0) == "of the frames, none is significant"
    assert not figure.axes[0].patches
    assert caption(figure, 1) == "spectrogram, no significant attribution to happy"
    assert not np.asarray(figure.axes[1].images[1].get_array())[..., 3].any()


def test_layers_that_are_not_significant_are_pale() -> None:
    explanation = make_explanation(layers=3, relative_error=0.4)
    assert explanation.layers is not None
    (title,) = [name for name in panels(draw(explanation)) if "neurons" in name]
    (mesh,) = panels(draw(explanation))[title].collections
    is_significant = explanation.layers.frames.significant
    assert is_significant is not None
    assert 0 < is_significant[0].sum() < is_significant[0].size
    np.testing.assert_array_equal(mesh.get_alpha(), np.where(is_significant[0], 1.0, 0.25))
    assert "pale: not significant" in title


def test_known_evidence_is_framed() -> None:
    truth = (Stretch(0.25, 0.5), Stretch(0.75, 0.9, 1000.0, 2000.0))
    figure = draw(make_explanation(truth=truth, relative_error=None, frames=Estimate(np.zeros((1, 49)))))
    for axes in figure.axes[:2]:
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [(box.get_x(), box.get_x() + box.get_width()) for box in frames] == [(0.25, 0.5), (0.75, 0.9)]
    box = figure.axes[1].patches[1]
    assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((float(mel(1000)), float(mel(2000))))


def test_target_and_runner_up_are_on_one_axis() -> None:
    explanation = make_explanation(targets=("happy", "sad"))
    axes = draw(explanation).axes[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sad", "happy", "95 % interval"]
    drawn = {patch.get_label(): patch.get_data().values for patch in axes.patches}
    np.testing.assert_allclose(drawn["happy"], explanation.frames.values[0])
    np.testing.assert_allclose(drawn["sad"], explanation.frames.values[1])


def test_all_targets_are_rows_of_one_scale() -> None:
    explanation = make_explanation(targets=("happy", "sad", "angry"))
    axes = panels(draw(explanation))["frames of every target; pale: not significant"]
    (mesh,) = axes.collections
    np.testing.assert_allclose(mesh.get_array(), explanation.frames.values)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy", "sad", "angry"]
    assert mesh.norm.vmax == -mesh.norm.vmin == pytest.approx(np.abs(explanation.frames.values).max())
    assert axes.yaxis.get_inverted()
    assert axes.get_xlim() == (0, 1)
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], explanation.frame_edges)
    assert to_rgba(mesh.cmap(1.0)) == to_rgba(SPEAKS_FOR)
    assert to_rgba(mesh.cmap(0.0)) == to_rgba(SPEAKS_AGAINST)


def test_long_names_have_room_beside_their_rows() -> None:
    targets = ("pleasantly surprised", Target("pleasantly surprised", "calm"), "unexpectedly nervous")
    figure = draw(make_explanation(targets=targets))
    labels = panels(figure)["frames of every target; pale: not significant"].get_yticklabels()
    assert [label.get_text() for label in labels] == ["pleasa…rised", "pleasa… calm", "unexpe…rvous"]
    assert all(label.get_window_extent().x0 >= 0 for label in labels)
    assert figure.axes[2].get_legend().get_window_extent().x0 >= figure.axes[2].get_window_extent().x0


@pytest.mark.parametrize(
    "letters", ["anxious_and_simultaneously_bored_voi", "ANXIOUS_AND_SIMULTANEOUSLY_BORED_VOI", "喜" * 36]
)
@pytest.mark.parametrize("relative_error", [0.2, None])
@pytest.mark.filterwarnings("ignore:Glyph")  # of the machine's fonts
def test_nothing_is_cut_with_thirty_classes_of_forty_letters(letters: str, relative_error: float | None) -> None:
    names = tuple(f"{letters}_{number:03d}" for number in range(30))
    explanation = make_explanation(
        targets=(Target(names[0], names[1]), *names[1:]), label=names[3], layers=3, bands=8, words=("one", "two"),
        relative_error=relative_error, utterance=f"{letters * 3}.wav",
    )  # fmt: skip
    figure = explanation_figure(np.zeros(RATE, np.float32), RATE, explanation)
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    for text in texts:
        box = text.get_window_extent()
        assert (box.x0 >= 0, box.x1 <= figure.bbox.x1, text.get_text()) == (True, True, text.get_text())
    rows = [text.get_text() for text in texts if re.fullmatch(rf"{letters[:3]}.*….*\d+", text.get_text())]
    assert len(set(rows)) >= len(names)


def test_layers_have_a_heat_map_and_their_shares() -> None:
    explanation = make_explanation(layers=4)
    figure = draw(explanation)
    (title,) = [name for name in panels(figure) if "neurons" in name]
    (mesh,) = panels(figure)[title].collections
    np.testing.assert_allclose(mesh.get_array(), explanation.layers.frames.values[0])  # type: ignore[union-attr]
    bars = figure.axes[-1]
    assert bars.get_xlabel() == "share (%)"
    mass = explanation.layers.mass[0]  # type: ignore[union-attr]
    np.testing.assert_allclose([patch.get_width() for patch in bars.patches], 100 * mass / mass.sum(), rtol=1e-5)


def test_spectrogram_and_attribution_have_the_same_bands() -> None:
    figure = draw(make_explanation(bands=20))
    spectrogram, overlay = figure.axes[1].images
    assert spectrogram.get_extent()[2:] == overlay.get_extent()[2:]
    assert spectrogram.get_array().shape[0] == overlay.get_array().shape[0] == 20
    assert figure.axes[1].get_ylim() == pytest.approx(overlay.get_extent()[2:])


@pytest.mark.parametrize("scale", ["mel", "linear"])
def test_the_time_frequency_attribution_lies_over_the_spectrogram(scale: str) -> None:
    bands = np.zeros((1, 64, 101))
    bands[0, 20, 40], bands[0, 50, 60] = 1.0, -1.0
    frequencies = hertz(np.linspace(0, mel(8000), 64)) if scale == "mel" else np.linspace(0, 8000, 64)
    attribution = BandAttribution(frequencies, 0.01, Estimate(bands))
    figure = draw(dataclasses.replace(make_explanation(), bands=attribution))
    image = figure.axes[1].images[1]
    rgba = np.asarray(image.get_array())
    np.testing.assert_allclose(rgba[20, 40], to_rgba(SPEAKS_FOR), atol=0.01)
    np.testing.assert_allclose(rgba[50, 60], to_rgba(SPEAKS_AGAINST), atol=0.01)
    assert (rgba[..., 3] > 0).sum() == 2  # nothing hides the spectrogram elsewhere
    left, right, low, high = image.get_extent()
    assert left + (40 + 0.5) * (right - left) / 101 == pytest.approx(0.4)
    middle = low + (20 + 0.5) * (high - low) / 64
    position = mel(frequencies[20]) if scale == "mel" else frequencies[20] / 1000
    assert middle == pytest.approx(float(position), rel=1e-6)


def test_the_title_says_what_was_predicted_and_how_sure_it_is() -> None:
    figure = draw(make_explanation())
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["a.wav", "predicted happy (75 %), labelled sad, relative error 0.20"]
    assert caption(figure, 2) == "frame attribution"
    unknown = draw(make_explanation(label=None, prediction="sad", relative_error=None))
    assert unknown.texts[1].get_text() == "predicted sad (75 %), explained happy"


def test_a_contrast_is_named_by_both_classes() -> None:
    figure = draw(make_explanation(targets=(Target("happy", "a - b"), "sad"), prediction="happy"))
    assert figure.texts[1].get_text().endswith('explained happy - "a - b", relative error 0.20')
    assert 'orange for happy - "a - b", blue against' in caption(figure, 0)


def test_a_regression_shows_its_outputs_in_place_of_a_prediction() -> None:
    outputs = np.array([0.714, -0.32, 0.5, 0.1], np.float32)
    names = ("arousal", "valence", "dominance", "liking")
    figure = draw(make_explanation(targets=names, outputs=outputs, prediction=None, probability=None, label=None))
    assert figure.texts[1].get_text() == "arousal 0.71, valence -0.32, dominance 0.50, relative error 0.20"


def test_without_errors_no_interval_is_drawn_and_none_is_told() -> None:
    unknown = Estimate(np.full(2, np.nan))
    figure = draw(
        make_explanation(relative_error=None, completeness_gap=unknown, bands=8, layers=2, targets=("happy", "sad"))
    )
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["sad", "happy"]
    assert len(figure.axes[2].patches) == 2
    assert "error" not in figure.texts[1].get_text()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"relative_error": 0.9}, "take more draws"),
        ({"relative_error": np.inf}, "take more draws"),
        ({"completeness_gap": estimate(0.5, 0.1)}, "+0.50 ± 0.10 logits are unaccounted for"),
        ({"completeness_gap": estimate(0.5)}, "+0.50 logits are unaccounted for"),
        ({"frames": Estimate(np.zeros((1, 49)), np.zeros((1, 49)))}, "0 everywhere"),
        ({"frames": Estimate(np.full((1, 49), np.nan))}, "49 of 49 frames have no finite attribution"),
    ],
)
def test_what_is_not_to_be_read_as_it_stands_says_so_in_red(fields: dict[str, Any], words: str) -> None:
    figure = draw(make_explanation(**fields))
    assert words in caption(figure, 2).replace("\n", " ")
    everything = " ".join([*(text.get_text() for text in figure.texts), caption(figure, 2)])
    assert everything.count("relative error") <= 1
    assert figure.axes[2].title.get_text() == ""
    assert figure.axes[2]._left_title.get_color() == WARNING
    assert figure.texts[1].get_color() == WARNING


@pytest.mark.parametrize(
    "fields",
    [
        {"completeness_gap": estimate(0.3, 0.1)},
        {"completeness_gap": estimate(0.01, 0.0)},
        {"completeness_gap": estimate(0.01), "relative_error": None},
        {"completeness_gap": estimate(np.nan), "relative_error": 0.49},
    ],
)
def test_what_is_well_measured_has_no_warning(fields: dict[str, Any]) -> None:
    assert "frame attribution" in caption(draw(make_explanation(**fields)), 2)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.025, 0.035, 5.0, 600.0])
def test_every_length_has_a_picture(seconds: float) -> None:
    explanation = make_explanation(seconds, targets=("happy", "sad", "angry"), layers=2, bands=16)
    figure = draw(explanation)
    timed = [axes for name, axes in panels(figure).items() if name != "logits"]  # but for the colour bars
    assert {axes.get_xlim() for axes in timed} == {(0, seconds)}
    narrowest = min(patch.get_width() for patch in figure.axes[0].patches)
    assert narrowest >= seconds / 401  # a frame of ten minutes is still seen


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.full(RATE, np.nan)])
def test_silence_has_a_picture(sound: np.ndarray) -> None:
    figure = explanation_figure(sound.astype(np.float32), RATE, make_explanation())
    figure.draw_without_rendering()
    assert np.asarray(figure.axes[1].images[0].get_array()).max() == -80
    assert figure.axes[0].get_ylim() == pytest.approx((-1.08e-4, 1.08e-4))


def test_names_are_shown_as_they_are() -> None:
    name = r"<b>$\alpha_$ & _x_</b>.wav"
    figure = draw(make_explanation(utterance=name, targets=("$a_$", "b$"), prediction="$a_$"))
    assert figure.texts[0].get_text() == name
    assert not figure.texts[0].get_parse_math()


def test_layers_without_neurons_that_matter_and_partly_missing_rows() -> None:
    explanation = make_explanation(targets=("a", "b", "c"), layers=2)
    assert explanation.layers is not None
    explanation.layers.mass[:] = 0
    explanation.layers.frames.values[:] = np.nan
    explanation.frames.values[1] = np.nan
    figure = draw(explanation)
    assert "logits" in [axes.get_title(loc="left") for axes in figure.axes]


def test_attributions_of_samples_are_summed_over_frames() -> None:
    samples = np.random.default_rng(0).normal(size=RATE)
    figure = visualize_audio_attributions(np.zeros(RATE), samples, RATE, 2, 0.5)
    (line,) = figure.axes[2].patches
    assert len(line.get_data().values) == 50
    np.testing.assert_allclose(line.get_data().values[3], samples[3 * 320 : 4 * 320].sum())
    assert figure.texts[0].get_text() == "attribution to class 2, predicted with 50%"


def test_reference_samples_are_averaged_with_their_interval() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 49))
    line, _, _, band = visualize_audio_attributions(np.zeros(RATE), rows, RATE, "sad", 0.5).axes[2].patches
    np.testing.assert_allclose(line.get_data().values, rows.mean(0))
    of_means = ttest_1samp(rows, 0).confidence_interval(0.95)
    np.testing.assert_allclose(band.get_data().values, of_means.high)
    np.testing.assert_allclose(band.get_data().baseline, of_means.low)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize(("count", "second_edge"), [(49, 0.0225), (100, 0.01), (1, 1.0)])
def test_frames_lie_where_a_model_of_their_number_has_them(count: int, second_edge: float, rate: int) -> None:
    figure = visualize_audio_attributions(np.zeros(rate), np.ones(count), rate, "sad", 0.5)
    assert figure.axes[2].patches[0].get_data().edges[1] == pytest.approx(second_edge, abs=1e-4)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3, 4), (RATE + 1,)])
def test_attributions_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="`attributions`"):
        visualize_audio_attributions(np.zeros(RATE), np.zeros(shape), RATE, 0, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio": np.zeros((2, RATE))}, r"`audio` has shape \(2, 16000\); expected \(time,\)"),
        ({"sample_rate": 0}, "`sample_rate` is 0; expected samples a second"),
        ({"top_k": -1}, "`top_k` is -1; expected 0 at least"),
    ],
)
def test_a_sound_or_a_number_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    usual = {"audio": np.zeros(RATE), "sample_rate": RATE, "top_k": 3}
    with pytest.raises(UserError, match=message):
        visualize_audio_attributions(
            attributions=np.zeros(49), target_class=0, prediction_prob=0.5, **{**usual, **options}
        )


def test_several_methods_are_strips_on_one_time_axis() -> None:
    by_shap = make_explanation(2.0)
    by_energy = make_explanation(2.0, relative_error=None, provenance={"method": "energy"})
    figure = methods_figure([by_shap, by_energy], np.zeros(32000, np.float32), 16000)
    figure.draw_without_rendering()
    strips = figure.axes[2]
    assert [axes.get_xlim() for axes in figure.axes[:3]] == [(0, 2)] * 3
    assert [text.get_text().split(":")[0] for text in strips.texts] == ["gradient_shap", "energy"]
    shap, energy = (mesh.get_facecolor() for mesh in strips.collections)
    values, is_significant = by_shap.frames.values[0], by_shap.frames.significant
    assert is_significant is not None
    assert set(shap[~is_significant[0], 3]) == {0.25}
    assert set(shap[is_significant[0], 3]) == {1.0}
    assert set(energy[:, 3]) == {1.0}
    largest = int(np.abs(values).argmax())
    np.testing.assert_allclose(shap[largest, :3], ATTRIBUTION_MAP(1.0 if values[largest] > 0 else 0.0)[:3])
    assert "pale: not significant" in strips.get_title(loc="left").replace("\n", " ")
    assert list(methods_figure([by_energy, by_shap], None, 16000).axes[0].get_xlim()) == [0, 2]


def test_methods_of_several_utterances_are_no_picture() -> None:
    with pytest.raises(UserError, match="`explanations` are of 2 utterances; expected those of one"):
        methods_figure([make_explanation(), make_explanation(utterance="b.wav")], None, 16000)


def spoken(**fields: Any) -> Explanation:
    """Three words, of which the second's interval contains 0."""
    explanation = make_explanation(words=["<so>", "", "$it$"], **fields)
    segments = explanation.segments
    assert segments is not None
    values, errors = segments.estimate.values.copy(), np.full_like(segments.estimate.values, 0.1)
    values[0, :3] = [2.0, 0.1, -1.0]
    return dataclasses.replace(
        explanation, segments=dataclasses.replace(segments, estimate=Estimate(values, errors, 25))
    )


def test_a_bar_with_its_interval_stands_for_each_word() -> None:
    explanation = spoken()
    axes = panels(draw(explanation))["words, 95 % intervals; hollow: not significant"]
    bars, intervals = axes.collections
    (tier,) = explanation.read_tiers
    for path, first, last, value in zip(bars.get_paths(), tier.starts, tier.ends, tier.estimate.values[0], strict=True):
        corners = path.vertices
        assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx((first, last))
        assert corners[np.abs(corners[:, 1]).argmax(), 1] == pytest.approx(value)
    faces = bars.get_facecolors()
    assert [tuple(face) for face in faces[[0, 2]]] == [to_rgba(SPEAKS_FOR), to_rgba(SPEAKS_AGAINST)]
    assert faces[1, 3] == 0  # hollow: no evidence
    reach = [line[:, 1] for line in intervals.get_segments()]
    np.testing.assert_allclose(reach[0], [2 - 0.1 * T_24, 2 + 0.1 * T_24], rtol=1e-6)
    assert [text.get_text() for text in axes.texts] == ["<so>", r"\$it\$"]
    assert axes.get_ylabel() == "logits"


def test_a_label_without_room_is_left_out_or_shortened() -> None:
    words = ["incomprehensibilities", *["no"] * 60]
    axes = panels(draw(make_explanation(words=words, seconds=3.0)))["words, 95 % intervals; hollow: not significant"]
    assert not axes.texts
    axes = panels(draw(make_explanation(words=words[:6], seconds=3.0)))[
        "words, 95 % intervals; hollow: not significant"
    ]
    assert [text.get_text() for text in axes.texts][1:] == ["no"] * 5
    assert "…" in axes.texts[0].get_text()


def test_the_picture_has_the_finest_resolution_that_the_draws_support() -> None:
    """Frames are mostly noise, and 100 ms are not: these are shown, and it is said."""
    explanation = make_explanation(words=["so"], relative_error=0.7)
    segments = explanation.segments
    assert segments is not None
    errors = 0.3 * np.abs(segments.estimate.values)
    explanation = dataclasses.replace(
        explanation, segments=dataclasses.replace(segments, estimate=Estimate(segments.estimate.values, errors, 25))
    )
    assert explanation.reservation() is None
    figure = draw(explanation, top_k=7)
    axes = panels(figure)["attribution of 100 ms each: relative error 0.30, but 0.70\nfor single frames"]
    assert axes.get_ylabel() == "logits in 100 ms"
    steps = axes.patches[0].get_data()
    stretches = segments.tier("100 ms")
    np.testing.assert_allclose(steps.values, stretches.estimate.values[0])
    np.testing.assert_allclose(steps.edges, [*stretches.starts, stretches.ends[-1]])
    assert caption(figure, 0) == "2 of 10 significant 100 ms stretches: orange for happy, blue against"
    assert len(figure.axes[0].patches) == 2  # as much as 7 frames are
    assert "relative error" not in figure.texts[1].get_text()


def test_where_not_even_the_longest_stretches_are_known_it_is_said_of_these() -> None:
    figure = draw(make_explanation(words=["so"], relative_error=0.7))
    text = "relative error 0.70 even of 100 ms: mostly Monte Carlo\nnoise; take more draws"
    assert panels(figure)[text].get_ylabel() == "logits in 100 ms"


def test_frames_that_are_known_are_shown_as_they_are() -> None:
    explanation = make_explanation(words=["so"], relative_error=0.2)
    assert explanation.resolution().is_frames
    assert "frame attribution" in panels(draw(explanation))


def test_an_hour_of_words_is_drawn() -> None:
    words = [f"word{number}" for number in range(5000)]
    explanation = make_explanation(words=words, seconds=600.0)
    assert (
        len(panels(draw(explanation))["words, 95 % intervals; hollow: not significant"].collections[0].get_paths())
        == 5000
    )


def test_a_target_without_errors_is_hatched_among_others_with_errors() -> None:
    *rows, last = to_rows(make_explanation(targets=("happy", "sad", "angry")))
    explanation = from_rows([*rows, last | {"frame_standard_error": None, "relative_error": None}])
    axes = panels(draw(explanation))
    (name,) = [name for name in axes if "every target" in name]
    assert name.endswith("; pale: not significant, hatched: unknown")
    (hatched,) = axes[name].patches
    assert (hatched.get_hatch(), hatched.get_y(), hatched.get_height()) == ("////", 2, 1)
    alpha = axes[name].collections[0].get_alpha()
    assert (alpha[2] == 1).all()
    assert set(alpha[:2].ravel()) == {0.25, 1.0}
    caption_box, unit_box = (axes[each]._left_title.get_window_extent() for each in (name, "logits"))
    assert caption_box.x1 < unit_box.x0  # one does not run into the other


def test_below_a_curve_of_longer_stretches_targets_and_layers_are_said_to_be_of_frames() -> None:
    explanation = make_explanation(words=["so"], targets=("a", "b", "c"), layers=2, relative_error=0.7)
    assert not explanation.resolution().is_frames
    axes = panels(draw(explanation))
    for words in ("frames of every target", "neurons by layer and frame"):
        (panel,) = [own for name, own in axes.items() if name.startswith(words)]
        shape = np.shape(panel.collections[0].get_array())
        assert shape[1] == explanation.frames.values.shape[1]
        box = panel._left_title.get_window_extent()
        assert box.x1 < panel.figure.bbox.x1
