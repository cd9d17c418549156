import dataclasses

import numpy as np
from helpers import make_explanation

from speechshap.data.cues import CUES
from speechshap.report.page.cues import cue_table
from speechshap.results.explanation import CueMeans


def test_a_row_for_each_cue_with_its_unit() -> None:
    explanation = make_explanation(cues=True, targets=("a", "b"))
    table = cue_table(explanation, 1)
    assert table is not None
    assert [tuple(row[:3]) for row in table["rows"]] == list(CUES.values())
    assert explanation.cues is not None
    np.testing.assert_allclose([row[3] for row in table["rows"]], explanation.cues.evidence[1], atol=0.006)
    assert table["rule"] == "what is significant and speaks for it"


def test_what_is_unknown_is_not_shown() -> None:
    assert cue_table(make_explanation(), 0) is None
    means = CueMeans(("f0", "new"), np.array([[np.nan, 1.0]]), np.array([[2.0, 1.0]]), ("top_fifth",))
    table = cue_table(dataclasses.replace(make_explanation(), cues=means), 0)
    assert table is not None
    assert [row[3:] for row in table["rows"]] == [[None, 2.0]]
    nothing = dataclasses.replace(means, rules=(None,))
    assert cue_table(dataclasses.replace(make_explanation(), cues=nothing), 0) is None
