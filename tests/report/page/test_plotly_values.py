"""Names that plotly, or a spreadsheet that reads what the page saves, would read as something else, in a browser."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from browsing import choose_number, until
from helpers import write_explanation

from speechshap.report.page import write_report

TEMPLATE = "%{x} %{meta.seed} <i>"
FORMULA = "=1+1"
NAMES = (TEMPLATE, FORMULA, "-")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An utterance explained twice, with three classes and segments of such names."""
    root = tmp_path_factory.mktemp("explanations")
    for settings in ({"n_samples": 50}, {"n_samples": 90}):
        write_explanation(
            root, "a.wav", targets=NAMES, words=[TEMPLATE, FORMULA], layers=2, bands=8, settings=settings,
            label=FORMULA,
        )  # fmt: skip
    write_report(root, {})
    return root


HOVER = """
Plotly.Fx.hover(picture, { xval: 0.5, yval: arguments[1] }, `x${picture.layout.meta.axes[arguments[0]]}`);
return [...picture.querySelectorAll(".hoverlayer text")].map((text) => text.textContent).join(" ");
"""


def test_a_name_that_looks_like_a_template_is_shown_as_it_is(page: Any) -> None:
    choose_number(page, 0)
    drawn = page.execute_script(
        "return [...picture.querySelectorAll('.annotation-text')].map((text) => text.textContent)"
    )
    assert TEMPLATE in drawn
    assert f"{TEMPLATE}: " in until(lambda: page.execute_script(HOVER, "targets", 0.5))


def test_a_name_that_looks_like_a_formula_is_none_in_a_spreadsheet_and_numbers_stay_numbers(page: Any) -> None:
    choose_number(page, 0)
    rows = list(csv.DictReader(io.StringIO(page.execute_script("return csvText()"))))
    assert {row["target"] for row in rows} == {TEMPLATE, f"'{FORMULA}", "'-"}
    assert {row["label"] for row in rows} == {"", TEMPLATE, f"'{FORMULA}"}
    assert min(float(row["attribution"]) for row in rows) < 0
