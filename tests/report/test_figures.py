import numpy as np
import pytest
from matplotlib.figure import Figure

from speechshap.data import FrameGrid
from speechshap.report.figures import SPEAKS_AGAINST, SPEAKS_FOR, confusion_matrix_figure, explanation_figure

RATE = 16000


def draw(length: int = RATE, targets: tuple[str, ...] = ("happy",), **options: object) -> tuple[Figure, np.ndarray]:
    generator = np.random.default_rng(0)
    edges = FrameGrid().edges(length).numpy()
    frames = generator.normal(size=(len(targets), len(edges) - 1))
    arguments = {
        "waveform": generator.normal(size=length).astype(np.float32), "sample_rate": RATE, "frames": frames,
        "standard_error": np.full_like(frames, 0.5), "frame_edges": edges, "targets": targets, "title": "a.wav",
        "relative_error": 0.2, "completeness_gap": (0.1, 0.1), "top_k_frames": 3, **options,
    }  # fmt: skip
    return explanation_figure(**arguments), arguments["frames"]  # type: ignore[arg-type, return-value]


def test_three_panels_share_a_time_axis_in_seconds() -> None:
    figure, frames = draw()
    wave, spectrogram, attribution = figure.axes
    assert attribution.get_xlabel() == "time (s)"
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 1)] * 3
    assert spectrogram.get_ylabel() == "frequency (kHz)"
    assert spectrogram.images[0].get_extent() == [0, 1, 0, 8]
    np.testing.assert_allclose(wave.lines[0].get_xdata()[[0, -1]], [0, 1 - 1 / RATE])
    line, band = attribution.patches
    np.testing.assert_allclose(line.get_data().values, frames[0])
    np.testing.assert_allclose(band.get_data().values, frames[0] + 1.96 * 0.5)
    np.testing.assert_allclose(band.get_data().baseline, frames[0] - 1.96 * 0.5)


def test_the_strongest_frames_are_marked_where_they_are() -> None:
    frames = np.zeros((1, 49))
    frames[0, [10, 20, 30]] = [1.0, -2.0, 0.1]
    figure, _ = draw(frames=frames, standard_error=np.zeros_like(frames), top_k_frames=2)
    marks = {round(patch.get_x(), 4): (patch.get_width(), patch.get_facecolor()) for patch in figure.axes[0].patches}
    edges = FrameGrid().edges(RATE).numpy() / RATE
    assert set(marks) == {round(edges[10], 4), round(edges[20], 4)}
    from matplotlib.colors import to_rgb

    assert marks[round(edges[10], 4)][1][:3] == to_rgb(SPEAKS_FOR)
    assert marks[round(edges[20], 4)][1][:3] == to_rgb(SPEAKS_AGAINST)
    assert marks[round(edges[10], 4)][0] == pytest.approx(0.02)


@pytest.mark.parametrize(("error", "noisy"), [(0.2, False), (0.9, True), (float("nan"), True)])
def test_a_large_error_is_said_in_the_picture(error: float, noisy: bool) -> None:
    figure, _ = draw(relative_error=error)
    assert ("take more samples" in figure.axes[2].get_title(loc="left")) is noisy


@pytest.mark.parametrize(("gap", "told"), [((0.3, 0.1), False), ((0.5, 0.1), True), ((0.01, 0.0), False)])
def test_an_incomplete_attribution_is_said_in_the_picture(gap: tuple[float, float], told: bool) -> None:
    figure, _ = draw(completeness_gap=gap)
    assert ("unaccounted for" in figure.axes[2].get_title(loc="left")) is told


@pytest.mark.parametrize("length", [400, 560, 5 * RATE])
def test_any_length_and_several_targets(length: int) -> None:
    figure, _ = draw(length, targets=("happy", "sad", "angry"))
    assert len(figure.axes[2].get_legend().get_texts()) == 4
    figure.canvas.draw()


def test_an_attribution_of_zero_marks_nothing() -> None:
    frames = np.zeros((1, 49))
    figure, _ = draw(frames=frames, standard_error=frames)
    assert not figure.axes[0].patches
    figure.canvas.draw()


def test_confusion_matrix_shows_counts_and_shares() -> None:
    figure = confusion_matrix_figure(np.array([[3, 1], [0, 0]]), ["happy", "sad"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert axes.get_title() == "4 utterances"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
