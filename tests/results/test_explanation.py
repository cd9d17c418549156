"""What a record says of itself."""

import re

import numpy as np
import pytest
from helpers import make_explanation

from speechshap.results.estimate import Estimate
from speechshap.results.explanation import LayerAttribution, unit_of

FRAMES = np.array([[3.0, -4.0]], np.float32)


def gap(value: float, error: float | None) -> Estimate:
    return Estimate(np.array([value]), None if error is None else np.array([error]))


def test_an_estimate_refuses_errors_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) for values of shape \(3,\)"):
        Estimate(np.zeros(3), np.zeros(2))


@pytest.mark.parametrize(("n_replicates", "reach"), [(None, 1.96), (2, 12.71), (4, 3.18), (16, 2.13), (10**6, 1.96)])
def test_the_fewer_the_replicates_the_further_an_interval_reaches(n_replicates: int | None, reach: float) -> None:
    found = Estimate(np.zeros(2), np.array([0.5, 0.0]), n_replicates).reach
    assert found == pytest.approx([reach / 2, 0.0], abs=0.005)


def test_without_errors_there_is_no_interval() -> None:
    assert Estimate(np.zeros(2), n_replicates=16).reach is None


@pytest.mark.parametrize(
    ("mass", "shares"), [([[1.0, 3.0]], [[25, 75]]), ([[0.0, 0.0]], [[0, 0]]), ([[np.nan, 2.0]], [[0, 100]])]
)
def test_shares_of_layers_are_percentages_of_what_is_known(mass: list[list[float]], shares: list[list[float]]) -> None:
    layers = LayerAttribution(("one", "two"), Estimate(np.zeros((1, 2, 3))), np.array(mass))
    assert layers.shares.tolist() == shares


@pytest.mark.parametrize(
    ("method", "output", "prediction", "unit"),
    [
        ("occlusion", "logit", "sad", "logits"),
        ("gradient_x_input", "log_odds", "sad", "log odds"),
        ("gradient_shap", "logit", None, "output units"),
        ("of another version", "probability", "sad", "probability"),
        ("saliency", "logit", "sad", "|gradient|"),
        ("energy", "logit", None, "energy"),
    ],
)
def test_units_are_those_of_the_output_unless_the_method_has_its_own(
    method: str, output: str, prediction: str | None, unit: str
) -> None:
    assert unit_of(method, output, prediction) == unit


@pytest.mark.parametrize(
    ("errors", "expected"),
    [([[0.3, 0.4]], 0.1), ([[0.0, 0.0]], 0.0), (None, np.nan)],
)
def test_the_relative_error_is_that_of_the_norms(errors: list[list[float]] | None, expected: float) -> None:
    frames = Estimate(FRAMES, None if errors is None else np.array(errors))
    assert make_explanation(frames=frames).relative_error == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize(
    ("frames", "completeness_gap", "words"),
    [
        (Estimate(FRAMES, 0.1 * FRAMES), gap(0.01, 0.01), None),
        (Estimate(FRAMES), gap(np.nan, None), None),
        (Estimate(np.array([[np.nan, 1.0]])), gap(0, None), "1 of 2 frames have no finite attribution"),
        (Estimate(np.zeros((1, 2))), gap(0, None), "the output does not change"),
        (Estimate(FRAMES, 0.6 * FRAMES), gap(0, None), "relative error 0.60: mostly Monte Carlo noise"),
        (Estimate(FRAMES, 0.1 * FRAMES), gap(-0.5, 0.1), r"-0.50 ± 0.10 logits are unaccounted for"),
        (Estimate(FRAMES, 0.1 * FRAMES), gap(0.3, 0.1), None),  # within its own error
        (Estimate(FRAMES), gap(0.5, None), r"\+0.50 logits are unaccounted for"),
    ],
)  # fmt: skip
def test_reservations_name_what_speaks_against_an_attribution(
    frames: Estimate, completeness_gap: Estimate, words: str | None
) -> None:
    found = make_explanation(frames=frames, completeness_gap=completeness_gap).reservation()
    assert found is None if words is None else re.search(words, found or "")


def test_zeros_of_a_method_that_compares_with_nothing_speak_of_no_reference() -> None:
    zeros = make_explanation(frames=Estimate(np.zeros((1, 2))), provenance={"method": "energy"})
    assert zeros.reservation() == "the attribution is 0 everywhere"
    assert not zeros.is_signed
