from typing import Any

import numpy as np
import pytest
from helpers import make_explanation

from speechshap.report.settings_summary import SettingsSummary
from speechshap.results.estimate import Estimate
from speechshap.results.parts import Row
from speechshap.results.rows import to_rows


def utterances(count: int = 2, **fields: Any) -> list[list[Row]]:
    return [to_rows(make_explanation(0.1, utterance=f"{number}.wav", **fields)) for number in range(count)]


def test_what_is_shown_is_recognised_in_any_order() -> None:
    forwards, backwards = utterances(5), utterances(5)[::-1]
    assert SettingsSummary(forwards).digest == SettingsSummary(backwards).digest != SettingsSummary(forwards[1:]).digest


def test_every_utterance_counts_once_whatever_number_of_targets_it_has() -> None:
    gap = Estimate(np.array([0.3, 5.0], np.float32), np.array([0.1, 1.0], np.float32), 25)
    found = SettingsSummary(utterances(3, targets=("happy", "sad"), completeness_gap=gap))
    sums = {value.tag: (value.histo.num, value.histo.sum) for part in found.summaries() for value in part.value}
    assert sums["explain/completeness_gap"] == pytest.approx((3, 0.9))
    assert sums["explain/completeness_gap_in_standard_errors"] == pytest.approx((3, 9.0))
    assert sums["explain/relative_error"] == pytest.approx((3, 0.6))
    assert sums["explain/probability"] == pytest.approx((3, 2.25))
    assert [line.explained for line in found.table.lines] == ["happy"] * 3


def test_a_gap_without_an_error_is_in_no_unit_of_it() -> None:
    exact = Estimate(np.zeros(1, np.float32), np.zeros(1, np.float32), 25)
    found = SettingsSummary([*utterances(2, relative_error=None), *utterances(1, completeness_gap=exact)])
    tags = {value.tag for part in found.summaries() for value in part.value}
    assert "explain/completeness_gap" in tags
    assert "explain/completeness_gap_in_standard_errors" not in tags
    assert found.numbers(None) == {
        "mean_relative_error": pytest.approx(0.2), "mean_absolute_completeness_gap": pytest.approx(0.2 / 3),
        "num_utterances": 3.0,
    }  # fmt: skip
