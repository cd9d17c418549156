"""Rows of the page's table."""

import numpy as np
import pytest
from helpers import make_explanation

from speechshap.report.page.row import SPARK_COLUMNS, spark, table_row
from speechshap.results.estimate import Estimate
from speechshap.results.segments import Resolution


def test_every_target_has_its_error_and_gap() -> None:
    values = np.ones((3, 49), np.float32)
    errors = values * np.array([[0.1], [0.3], [0.9]], np.float32)
    gaps = Estimate(np.array([0.5, -0.25, np.nan], np.float32), np.array([0.1, 0.2, np.nan], np.float32))
    row = table_row(
        make_explanation(targets=("happy", "sad", "calm"), frames=Estimate(values, errors), completeness_gap=gaps)
    )
    assert (row["target"], row["grade"], row["gap"], row["unit"]) == ("happy", "sharp", 0.5, "logits")
    assert (row["error"], row["gap_error"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert [other[0] for other in row["others"]] == ["sad", "calm"]
    assert [other[2] for other in row["others"]] == ["fair", "noise"]
    assert row["others"][0][3:] == [-0.25, pytest.approx(0.2)]
    assert row["others"][1][3:] == [None, None]


def test_errors_that_are_unknown_are_said_to_be() -> None:
    row = table_row(make_explanation(relative_error=None))
    assert (row["error"], row["grade"], row["gap_error"]) == (None, None, None)


@pytest.mark.parametrize(("probability", "shown"), [(1.0, 1.0), (1 - 1e-9, 0.999999), (0.25, 0.25), (None, None)])
def test_a_probability_is_1_only_where_it_was(probability: float | None, shown: float | None) -> None:
    assert table_row(make_explanation(probability=probability))["probability"] == shown


def test_the_sparkline_has_the_sum_of_what_is_significant_in_each_part() -> None:
    values = np.zeros((1, 80))
    values[0, 10:12], values[0, 40], values[0, 60:62] = 3.0, -2.0, 0.5
    known = spark(Resolution("frames", np.arange(81.0), Estimate(values, np.full_like(values, 0.3))))
    expected = np.zeros(SPARK_COLUMNS, int)
    expected[5], expected[20] = 9, -3  # 6 and -2; a part has two frames, and 0.5 ± 0.3 is not significant
    assert known == expected.tolist()
    unknown = spark(Resolution("frames", np.arange(81.0), Estimate(values)))
    expected[30] = 2  # 1 of 6, rounded
    assert unknown == expected.tolist()


def test_a_small_significant_part_is_seen_and_none_is_made_up() -> None:
    values = np.zeros((1, 40))
    values[0, 3], values[0, 7] = 1000.0, 1.0
    drawn = spark(Resolution("frames", np.arange(41.0), Estimate(values, np.full_like(values, 1e-3))))
    assert drawn is not None
    assert (drawn[3], drawn[7], sum(drawn)) == (9, 1, 10)


def test_a_single_frame_silence_and_what_is_not_finite_have_a_sparkline_or_none() -> None:
    one, zero, broken = (Estimate(np.full((1, count), size)) for count, size in ((1, 2.0), (9, 0.0), (9, np.nan)))
    assert spark(Resolution("frames", np.array([0.0, 0.025]), one)) == [9] * SPARK_COLUMNS
    assert spark(Resolution("frames", np.arange(10.0), zero)) == [0] * SPARK_COLUMNS
    assert spark(Resolution("frames", np.arange(10.0), broken)) is None
