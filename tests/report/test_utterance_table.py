import re
from html import unescape
from typing import Any

import numpy as np
import pytest
from tensorboard.plugin_util import markdown_to_safe_html

from speechshap.report.utterance_table import MOST_LINES, UtteranceTable


def row(name: str = "a.wav", **fields: Any) -> dict[str, Any]:
    return {
        "utterance": name, "label": "sad", "prediction": "happy", "probability": 0.75, "target": "happy",
        "against": None, "relative_error": 0.1, "completeness_gap": -0.25, "completeness_gap_standard_error": 0.125,
        **fields,
    }  # fmt: skip


def table(*rows: dict[str, Any]) -> UtteranceTable:
    made = UtteranceTable()
    for each in rows:
        made.take(each)
    return made


def shown(of: UtteranceTable) -> list[list[str]]:
    """Cells as TensorBoard makes them of the text."""
    lines = re.findall(r"<tr>(.*?)</tr>", markdown_to_safe_html(of.markdown()), re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", line, re.DOTALL)] for line in lines[1:]]


def test_a_line_has_all_that_is_known_of_an_utterance() -> None:
    assert shown(table(row())) == [["a.wav", "happy", "0.75", "sad", "happy", "0.10", "sharp", "-0.250 ± 0.125"]]
    unknown = dict.fromkeys(("label", "prediction", "probability", "relative_error", "completeness_gap"))
    assert shown(table(row(**unknown))) == [["a.wav", "unknown", "", "unknown", "happy", "", "unknown", ""]]


@pytest.mark.parametrize(
    "name",
    ["a|b.wav", "`a`.wav", "<img src=x onerror=alert(1)>.wav", "_a_ **b** [c](d).wav", "a\\|b", "غاضب 😀.wav",
     "&lt;b&gt;", "https://a.b/c.wav", "# a", "~~a~~", "a&b;"],
)  # fmt: skip
def test_tensorboard_shows_a_name_letter_by_letter(name: str) -> None:
    ((utterance, prediction, _, label, explained, *_),) = shown(
        table(row(name, label=name, prediction=name, target=name))
    )
    assert (utterance, prediction, label) == (name, name, name)
    assert explained == name


def test_the_most_precise_come_first_and_what_is_cut_is_counted() -> None:
    errors = [*np.random.default_rng(0).permutation(5 * MOST_LINES), None, float("nan")]
    made = table(*(row(f"{error}", relative_error=error) for error in errors))
    assert [line[0] for line in shown(made)] == [str(error) for error in range(MOST_LINES)]
    assert made.markdown().endswith(
        f"\n\n{4 * MOST_LINES + 2} utterances with larger or unknown relative errors are not shown here; Parquet has "
        "all of them."
    )
    assert "not shown" not in table(row()).markdown()
    few = table(row("unknown", relative_error=None), row("noise", relative_error=0.9), row("sharp"))
    assert [line[0] for line in shown(few)] == ["sharp", "noise", "unknown"]
