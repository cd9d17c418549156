import numpy as np
import pytest
from helpers import make_explanation

from speechshap.report.strips import strips
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation


def explained(method: str, frames: list[float], error: list[float] | None = None, target: str = "sad") -> Explanation:
    values, errors = np.zeros((1, 49), np.float32), None
    values[0, : len(frames)] = frames
    if error is not None:
        errors = np.zeros((1, 49), np.float32)
        errors[0, : len(error)] = error
    gap = Estimate(np.full(1, np.nan, np.float32))
    return make_explanation(
        targets=(target,), frames=Estimate(values, errors), completeness_gap=gap, provenance={"method": method}
    )


def test_each_method_is_relative_to_its_own_largest_amount() -> None:
    shap, energy = strips([explained("occlusion", [2, -4]), explained("energy", [0, 300, 75])], "sad")
    np.testing.assert_allclose(shap.shares[:3], [0.5, -1, 0])
    np.testing.assert_allclose(energy.shares[:3], [0, 1, 0.25])
    assert (shap.label, energy.label) == ("occlusion: largest 4 logits", "energy: largest 300 energy, without sign")


def test_frames_that_are_not_significant_are_unsure() -> None:
    known, unknown = strips(
        [explained("gradient_shap", [4, -1, 3], [1, 0.6, 0.5]), explained("occlusion", [1, -1])], "sad"
    )
    assert known.is_unsure[:3].tolist() == [False, True, False]
    assert not unknown.is_unsure.any()


def test_what_is_unknown_or_not_to_be_relied_on_is_said() -> None:
    other, zero, noisy = strips(
        [
            explained("occlusion", [1], target="happy"),
            explained("lime", []),
            explained("gradient_shap", [1, np.nan], [0.1]),
        ],
        "sad",
    )
    assert (other.label, other.is_warning) == ("occlusion: does not explain sad", False)
    assert np.isnan(other.shares).all()
    assert zero.label.startswith("lime: the attribution is 0 everywhere")
    assert not zero.shares.any()
    assert (noisy.label, noisy.is_warning) == (
        "gradient_shap: 1 of 49 frames have no finite attribution", True
    )  # fmt: skip
    assert noisy.shares[:2] == pytest.approx([1, np.nan], nan_ok=True)
