from typing import Any

import optuna
import pytest

from speechshap.errors import UserError
from speechshap.training.search_space import OF_HEAD, SearchSpace, check_space, suggest

SPACE: SearchSpace = {
    "model.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.hidden_units": {"low": 8, "high": 512, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.pooling": ["mean", "mean_std"],
    "model.hidden_layer": [None, 1],
}


def test_a_trial_chooses_within_ranges_and_of_lists() -> None:
    check_space(SPACE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    tried = [suggest(study.ask(), SPACE) for _ in range(200)]
    assert all(list(each) == list(SPACE) for each in tried)
    rates = [each["model.learning_rate"] for each in tried]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    assert 60 < sum(rate < 1e-3 for rate in rates) < 140  # half of them, evenly in the logarithm
    units = [each["model.hidden_units"] for each in tried]
    assert all(isinstance(each, int) and 8 <= each <= 512 for each in units)
    assert {each["model.pooling"] for each in tried} == {"mean", "mean_std"}
    assert {each["model.hidden_layer"] for each in tried} == {None, 1}


def test_what_is_tried_without_being_asked_for_can_be_tried() -> None:
    check_space(OF_HEAD)
    suggest(optuna.create_study().ask(), OF_HEAD)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "`search` is empty"),
        ({"learning_rate": [0.1]}, "`search`: learning_rate is no option of a training"),
        ({"model.pooling": []}, r"`search`: model\.pooling has no values"),
        ({"model.dropout": {"low": 0.2, "high": 0.2}}, "expected `low` below `high`"),
        ({"model.dropout": {"low": 0.2, "high": float("inf")}}, "expected `low` below `high`"),
        ({"model.dropout": {"low": 0.0, "high": 0.2, "log": True}}, r"from 0\.0 on; expected more than 0"),
    ],
)
def test_what_is_no_range_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_space(space)
