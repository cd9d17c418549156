import warnings

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle, StepPatch

from speechshap.evaluation import Difference
from speechshap.report.colours import CLASSES, WARNING
from speechshap.report.comparison import Comparison
from speechshap.report.comparison_figures import pair_figure, rest_figure

POSITIONS = {
    "time": np.array([0.125, 0.375, 0.625, 0.875]),
    "band": np.array([0.0, 1000.0, 2000.0, 3000.0]),
    "cue": np.array(["f0", "rate", "voice_$", "pause"]),
}
P = np.array([0.01, 0.6, 0.05, 0.06])


def comparison(quantity: str, emotion: str = "angry", other: str | None = None, speakers: int = 8) -> Comparison:
    smallest = 2 / 2**speakers
    found = Difference(
        np.array([0.1, 0.0, -0.2, 0.05]), np.full(4, 0.02), np.maximum(P, smallest), speakers, True, smallest
    )
    return Comparison(quantity, emotion, other, POSITIONS[quantity], (12, 40), found)


def marks(axes: Axes) -> list[float]:
    """Left bounds of what is marked below."""
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [bar.get_x() for bar in bars if bar.get_facecolor() == to_rgba("black")]


@pytest.mark.parametrize("quantity", ["time", "band"])
def test_significant_positions_are_strong_and_marked_and_the_others_faint(quantity: str) -> None:
    axes = pair_figure([comparison(quantity, other="sad")]).axes[0]
    faint, strong = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    edges = faint.get_data().edges
    np.testing.assert_allclose(faint.get_data().values, [10, 0, -20, 5])
    np.testing.assert_allclose(strong.get_data().values, [10, np.nan, -20, np.nan])
    assert (faint.get_alpha(), strong.get_alpha()) == (0.4, 1.0)
    np.testing.assert_allclose(marks(axes), edges[[0, 2]])
    of_class = [bar for bar in axes.patches if bar.get_facecolor()[:3] == to_rgba(CLASSES[0])[:3]]
    assert {bar.get_alpha() for bar in of_class if isinstance(bar, Rectangle)} == {0.4, 0.4 * 0.4}


def test_intervals_are_those_of_student() -> None:
    axes = pair_figure([comparison("time", other="sad")]).axes[0]
    heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height() > 0.1]
    np.testing.assert_allclose(heights, [2 * 2 * 2.3646] * 4, rtol=1e-4)  # t of 7 degrees of freedom


def test_cues_are_drawn_in_their_standard_errors() -> None:
    axes = pair_figure([comparison("cue", other="sad")]).axes[0]
    points = {x: y for line in axes.lines[1:] for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert points == pytest.approx({0.5: 5, 1.5: 0, 2.5: -10, 3.5: 2.5})
    assert [label.get_text() for label in axes.get_xticklabels()] == ["f0", "rate", r"voice \$", "pause"]
    assert axes.get_ylabel() == "standard errors"


def test_a_pair_shows_all_quantities_side_by_side() -> None:
    figure = pair_figure([comparison(quantity, other="sad") for quantity in POSITIONS])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "time (share of the duration)", "frequency (kHz)", "mean over the evidence minus that over the rest",
    ]  # fmt: skip
    assert (
        figure.get_suptitle()
        .replace("\n", " ")
        .startswith("Where the evidence for angry lies, compared with sad (above 0: more for ang")
    )


def test_the_caption_tells_test_and_correction_and_each_panel_its_speakers() -> None:
    figure = rest_figure([comparison("time"), comparison("time", "sad", speakers=5)])
    told = figure.get_suptitle().replace("\n", " ")
    assert "p ≤ 0.05, permutation test over speakers, corrected for the positions of a panel (largest |t|)" in told
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "angry (12 utterances, 8 paired speakers)", "sad (12 utterances, 5 paired speakers: too few\nto tell)",
    ]  # fmt: skip
    assert not marks(figure.axes[1])


def test_panels_of_too_few_speakers_have_titles_in_the_colour_of_a_warning() -> None:
    known, few = rest_figure([comparison("time"), comparison("time", "sad", speakers=5)]).axes
    assert [axes._left_title.get_color() == WARNING for axes in (known, few)] == [False, True]
    (pair,) = pair_figure([comparison("time", other="sad", speakers=5)]).axes
    assert pair.get_title(loc="left").startswith("12 and 40 utterances\n5 paired speakers")
    assert pair._left_title.get_color() == WARNING


def test_emotions_that_cannot_be_compared_are_named() -> None:
    told = rest_figure([comparison("time")], missing=["calm", "a$b"]).get_suptitle().replace("\n", " ")
    assert told.endswith(r"of too few speakers to be compared: calm, a\$b")
    assert "too few" not in rest_figure([comparison("time")]).get_suptitle()


@pytest.mark.parametrize("quantity", list(POSITIONS))
def test_eight_emotions_are_drawn_without_a_warning(quantity: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = rest_figure([comparison(quantity, f"emotion {number}") for number in range(8)])
        figure.draw_without_rendering()
    assert len(figure.axes) == 8
