from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from speechshap.evaluation import Difference, compare_groups


def names(count: int, prefix: str = "s") -> list[str]:
    return [f"{prefix}{number:02}" for number in range(count)]


def paired(differences: Any, **options: Any) -> Difference:
    values = np.asarray(differences, dtype=float)
    speakers = names(len(values))
    found = compare_groups(values, np.zeros_like(values), speakers, speakers, **options)
    assert found is not None
    assert found.paired
    return found


def unpaired(first: Any, second: Any) -> Difference:
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    found = compare_groups(one, other, names(len(one), "a"), names(len(other), "b"))
    assert found is not None
    assert not found.paired
    return found


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 2 / 8),  # as large with all signs alike only
        ([3, 1, -1], 6 / 8),  # sums of 5, 3, 3 and 1, and the same with all signs the other way round
        ([1, 2, -3], 1.0),
        ([2, 2, 2, 2], 2 / 16),  # a spread of 0
        ([0, 0, 0], 1.0),
    ],
)
def test_signs_flipped_by_hand(differences: list[float], p: float) -> None:
    found = paired(np.array(differences)[:, None])
    assert found.p[0] == pytest.approx(p)
    assert found.smallest_p == pytest.approx(2 / 2 ** len(differences))


@pytest.mark.parametrize(
    ("first", "second", "p", "smallest"),
    [([0, 1], [2, 3], 2 / 6, 2 / 6), ([9, 8], [1, 2, 3], 1 / 10, 1 / 10), ([1, 2], [1, 2, 3], 7 / 10, 1 / 10)],
)
def test_speakers_exchanged_by_hand(first: list[float], second: list[float], p: float, smallest: float) -> None:
    found = unpaired(np.array(first)[:, None], np.array(second)[:, None])
    assert found.p[0] == pytest.approx(p)
    assert found.smallest_p == pytest.approx(smallest)


def test_differences_within_speakers_are_those_of_scipy() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 9, 1))
    found = compare_groups(first + 0.5, second, names(9), names(9))
    assert found is not None
    known = stats.permutation_test(
        (first[:, 0] + 0.5, second[:, 0]), lambda x, y: stats.ttest_rel(x, y).statistic, permutation_type="samples"
    )
    assert found.p[0] == pytest.approx(known.pvalue)
    test = stats.ttest_rel(first[:, 0] + 0.5, second[:, 0])
    assert found.difference[0] / found.standard_error[0] == pytest.approx(test.statistic)
    assert found.half_interval[0] == pytest.approx(np.ptp(test.confidence_interval()) / 2)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 6)])
def test_differences_between_speakers_are_those_of_scipy(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    first, second = (generator.normal(size=(size, 1)) for size in sizes)
    found = unpaired(first + 0.7, second)
    known = stats.permutation_test(
        (first[:, 0] + 0.7, second[:, 0]), lambda x, y: abs(stats.ttest_ind(x, y).statistic), alternative="greater"
    )
    assert found.p[0] == pytest.approx(known.pvalue)
    test = stats.ttest_ind(first[:, 0] + 0.7, second[:, 0])
    assert found.difference[0] / found.standard_error[0] == pytest.approx(test.statistic)
    assert found.half_interval[0] == pytest.approx(np.ptp(test.confidence_interval()) / 2)


def test_p_is_corrected_by_the_largest_t_of_all_positions() -> None:
    differences = np.random.default_rng(2).normal([0, 0.5, 1, 2], size=(6, 4))
    largest = [
        np.abs(stats.ttest_1samp(differences * np.array(signs)[:, None], 0).statistic).max()
        for signs in product([1, -1], repeat=6)
    ]
    observed = np.abs(stats.ttest_1samp(differences, 0).statistic)
    expected = (np.array(largest)[:, None] >= observed - 1e-9).mean(0)
    np.testing.assert_allclose(paired(differences).p, expected)


def null_p(generator: np.random.Generator, speakers: int, both: bool) -> float:
    """Smallest p over 12 neighbouring positions of two groups that differ in nothing but their speakers."""
    own = generator.normal(size=(1 if both else 2, speakers, 1, 12))
    group = 0.3 * generator.normal(size=(2, speakers, 1, 12))  # a speaker's way of an emotion, which has no direction
    utterances = 0.5 * generator.normal(size=(2, speakers, 3, 12))
    first, second = np.cumsum(own + group + utterances, -1).reshape(2, -1, 12)
    who = np.repeat(names(speakers), 3).tolist()
    found = compare_groups(first, second, who, who if both else [f"other {name}" for name in who])
    assert found is not None
    return float(found.p.min())


@pytest.mark.parametrize(("speakers", "both"), [(8, True), (5, False), (16, True)])
def test_a_false_alarm_at_any_position_is_as_rare_as_the_level(speakers: int, both: bool) -> None:
    generator, count = np.random.default_rng(3), 100 if speakers == 16 else 400
    alarms = sum(null_p(generator, speakers, both) <= 0.05 for _ in range(count))
    assert stats.binomtest(alarms, count, 0.05).pvalue > 0.01


def test_a_difference_is_found_where_it_is() -> None:
    effect = np.zeros(12)
    effect[4:6] = 1.5
    differences = np.random.default_rng(4).normal(scale=0.8, size=(20, 12)) + effect
    np.testing.assert_array_equal(paired(differences).significant, effect > 0)


def test_many_utterances_of_a_speaker_count_as_one() -> None:
    first, second = np.random.default_rng(5).normal(size=(2, 7, 3))
    once = compare_groups(first, second, names(7), names(7))
    often = compare_groups(np.repeat(first, 50, 0), second, np.repeat(names(7), 50).tolist(), names(7))
    assert once is not None
    assert often is not None
    np.testing.assert_allclose(often.p, once.p)
    assert often.speakers == 7


@pytest.mark.parametrize(("count", "can_be"), [(2, False), (5, False), (6, True), (24, True)])
def test_fewer_than_six_speakers_with_both_cannot_differ(count: int, can_be: bool) -> None:
    found = paired(np.ones((count, 1)))
    assert found.can_be_significant == can_be
    assert found.significant.tolist() == [can_be]


def test_random_permutations_are_the_same_each_time() -> None:
    differences = np.random.default_rng(6).normal(size=(20, 5)) + 0.3
    np.testing.assert_array_equal(paired(differences).p, paired(differences).p)
    np.testing.assert_allclose(paired(differences).p, paired(differences, seed=1).p, atol=0.02)


def test_the_design_with_more_speakers_is_taken() -> None:
    first, second = np.random.default_rng(7).normal(size=(2, 5, 1))
    mostly_both = compare_groups(first, second, ["a", "b", "c", "d", "e"], ["a", "b", "c", "f", "g"])
    mostly_one = compare_groups(first, second, ["a", "b", "c", "d", "e"], ["a", "f", "g", "h", "i"])
    assert mostly_both is not None
    assert mostly_one is not None
    assert (mostly_both.paired, mostly_both.speakers) == (False, 4)
    assert (mostly_one.paired, mostly_one.speakers) == (False, 8)
    one_shared = compare_groups(first, second, ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "f"])
    assert one_shared is not None
    assert (one_shared.paired, one_shared.speakers) == (True, 4)


@pytest.mark.parametrize(("one", "other"), [("aaa", "aaa"), ("aab", "ccc"), ("aab", "acc"), ("abc", "aaa")])
def test_too_few_speakers_are_not_compared(one: str, other: str) -> None:
    first, second = np.random.default_rng(8).normal(size=(2, 3, 1))
    assert compare_groups(first, second, list(one), list(other)) is None


def test_what_is_unknown_is_left_out() -> None:
    first, second = np.random.default_rng(9).normal(size=(2, 4, 3))
    first[:, 1] = np.nan  # no utterance of the group has it
    second[3, 2] = np.nan  # nor has this speaker
    found = compare_groups(first, second, names(4), names(4))
    assert found is not None
    assert np.isnan([found.difference[1], found.standard_error[1], found.p[1]]).all()
    assert found.significant.tolist() == [False] * 3
    alone = compare_groups(first[:3, [0, 2]], second[:3, [0, 2]], names(3), names(3))
    assert alone is not None
    np.testing.assert_allclose(found.p[[0, 2]], alone.p)
    assert compare_groups(np.full((2, 1), np.nan), np.zeros((2, 1)), names(2), names(2)) is None
