"""What is called significant, compared with t-tests of the replicates and the rule as it was published."""

import math

import numpy as np
from helpers import make_explanation
from scipy.stats import ttest_1samp

from speechshap.results.estimate import Estimate
from speechshap.results.rows import from_rows, to_rows
from speechshap.results.significance import significant


def as_published(chances: np.ndarray, level: float = 0.05) -> np.ndarray:
    """The rule of Benjamini & Hochberg (1995): of m, the k smallest, k the largest with p(k) <= k / m * level."""
    order = np.argsort(chances)
    below = [rank for rank, place in enumerate(order, start=1) if chances[place] <= rank / len(chances) * level]
    found = np.zeros(len(chances), bool)
    found[order[: max(below, default=0)]] = True
    return found


def test_it_is_the_published_rule_on_t_tests_of_the_replicates() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.normal(np.r_[np.zeros(40), np.linspace(0.2, 3, 20)], 1.0, size=(8, 2, 60))
    error = replicates.std(0, ddof=1) / math.sqrt(8)
    found = significant(replicates.mean(0), error, degrees=7)
    expected = [as_published(ttest_1samp(replicates[:, row], 0).pvalue) for row in range(2)]
    assert np.array_equal(found, expected)
    assert 0 < found.sum() < found.size


def test_of_pure_noise_next_to_nothing_is_significant() -> None:
    replicates = np.random.default_rng(1).normal(size=(16, 400, 100))
    error = replicates.std(0, ddof=1) / 4
    intervals = np.abs(replicates.mean(0)) > 2.13 * error
    with_any = significant(replicates.mean(0), error, degrees=15).any(1)
    assert intervals.any(1).mean() > 0.95  # what single intervals would mark
    assert with_any.mean() < 0.08  # at most 5 % expected, and the noise of 400 rows


def test_cells_of_a_target_are_a_family_of_their_own() -> None:
    values = np.zeros((2, 3, 4))
    values[0, 1, 2], values[1] = 5.0, 3.0
    found = significant(values, np.ones_like(values), math.inf)
    assert np.argwhere(found[0]).tolist() == [[1, 2]]
    assert found[1].all()


def test_what_is_exact_is_significant_and_what_is_0_or_not_finite_is_not() -> None:
    values = np.array([[1e-9, 0.0, np.nan, np.inf, 4.0]])
    found = significant(values, np.array([[0.0, 0.0, 1.0, np.nan, 1.0]]), math.inf)
    assert found.tolist() == [[True, False, False, False, True]]


def test_sizes_are_not_tested_against_0() -> None:
    """A mean of absolute values lies above 0 even where there is nothing but noise."""
    noise = np.abs(np.random.default_rng(0).normal(size=(16, 1, 50)))
    sizes = Estimate(noise.mean(0), noise.std(0, ddof=1) / 4, 16, is_signed=False)
    assert significant(sizes.values, np.full((1, 50), 0.15), 15).all()
    assert sizes.significant is None
    assert sizes.part(np.arange(5)).significant is None
    read = from_rows(to_rows(make_explanation(provenance={"method": "smooth_grad"})))
    assert read.frames.reach is not None
    assert read.frames.significant is None


def test_it_holds_for_frames_that_share_their_noise_and_for_those_of_a_fixed_sum() -> None:
    """Benjamini and Hochberg's proof is for independent values."""
    rng = np.random.default_rng(2)
    alike = rng.normal(size=(16, 500, 1)) + rng.normal(size=(16, 500, 100))
    balanced = rng.normal(size=(16, 500, 100))
    balanced -= balanced.mean(2, keepdims=True)
    for replicates in (alike, balanced):
        found = significant(replicates.mean(0), replicates.std(0, ddof=1) / 4, degrees=15)
        assert found.any(1).mean() < 0.075  # 5 % at most expected of each, and the noise of 500 rows


def test_without_errors_it_is_unknown() -> None:
    assert Estimate(np.ones((1, 3))).significant is None
    assert Estimate(np.ones((1, 3)), np.zeros((1, 3)), n_replicates=1).significant.all()


def test_a_target_whose_errors_are_unknown_is_told_apart_from_one_that_is_not_significant() -> None:
    explanation = make_explanation(targets=("happy", "sad"), bands=4, layers=2, words=["so"])
    known, unknown = to_rows(explanation)
    errors = [name for name in unknown if name.endswith("standard_error")]
    read = from_rows([known, unknown | dict.fromkeys(errors)])
    assert read.layers is not None
    assert read.bands is not None
    assert read.segments is not None
    for estimate in (read.frames, read.layers.frames, read.bands.estimate, read.segments.estimate):
        assert estimate.of(0).significant is not None
        assert estimate.of(0).values.shape == estimate.values[:1].shape
        assert estimate.of(1).significant is None
        assert estimate.of(1).reach is None
        np.testing.assert_array_equal(estimate.of(1).values[0], estimate.values[1])
    (values,) = read.resolution(1).estimate.of(1).values
    np.testing.assert_array_equal(read.evidence_weights(1), values)  # nothing is 0 for lack of significance


def test_a_gap_without_error_is_judged_by_its_size_also_among_gaps_with_errors() -> None:
    gap = Estimate(np.array([0.1, 0.9], np.float32), np.array([0.1, np.nan], np.float32), 25)
    explanation = make_explanation(targets=("happy", "sad"), completeness_gap=gap)
    assert explanation.reservation(0) is None
    assert explanation.reservation(1) == "+0.90 logits are unaccounted for; try other baselines"
