from typing import Any

import pytest

from speechshap.report.selection import Selection, select


def row(label: str | None, prediction: str | None, probability: float | None) -> dict[str, Any]:
    return {"label": label, "prediction": prediction, "probability": probability}


ROWS = [
    row("sad", "sad", 0.5),
    row("sad", "happy", 0.6),
    row("happy", "sad", 0.9),
    row("happy", "happy", 0.8),
    row("happy", "happy", 0.95),
    row(None, "calm", 0.4),
]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("first", [0, 1, 2, 3]),
        ("wrong", [2, 1]),
        ("unsure", [5, 0, 1, 3]),
        ("each_class", [5, 4, 2, 0]),
    ],
)
def test_what_is_chosen(selection: Selection, expected: list[int]) -> None:
    assert select(ROWS, selection, 4) == [ROWS[number] for number in expected]


def test_each_class_has_its_surest_right_and_wrong_one() -> None:
    assert select(ROWS, "each_class", 9)[-1] == ROWS[1]
    assert select([], "wrong", 9) == []


@pytest.mark.parametrize(("selection", "expected"), [("first", 2), ("wrong", 0), ("unsure", 2), ("each_class", 2)])
def test_a_regression_has_no_wrong_ones_and_all_are_equally_sure(selection: Selection, expected: int) -> None:
    rows = [row(None, None, None), row("sad", None, None)]
    assert len(select(rows, selection, 9)) == expected
