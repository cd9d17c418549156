import os.path
from itertools import product

import numpy as np
import pytest
from helpers import make_explanation

from speechshap.report.log import caption, common_folder, short_name
from speechshap.results.estimate import Estimate


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a.wav"], ""),
        (["x/a.wav", "a.wav"], ""),
        (["x/a.wav"], "x/"),
        (["/a.wav", "/x/b.wav"], "/"),
        (["x/y/a.wav", "x/yy/a.wav", "x/y/z/a.wav"], "x/"),
        (["/x/a.wav", "x/a.wav"], ""),
    ],
)
def test_the_common_folder_is_of_whole_names(names: list[str], expected: str) -> None:
    assert common_folder(names) == expected


def test_the_common_folder_is_that_of_the_standard_library() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        names = ["/".join(["top", *generator.choice(list("ab"), generator.integers(1, 5)), "x"]) for _ in range(3)]
        expected = os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120, as text
        assert common_folder(names) == f"{expected}/"


@pytest.mark.parametrize("folder", ["", "x/", "/x/", "/"])
def test_no_two_utterances_are_named_alike(folder: str) -> None:
    names = ["".join(parts) for parts in product(("", "/"), ("", "x/", "x/x/"), ("", "y/"), ("1.wav", "x.wav"))]
    assert len({short_name(name, folder) for name in names}) == len(names)


def test_a_caption_tells_what_is_known() -> None:
    assert caption(make_explanation()) == (
        "a.wav: predicted happy (75 %), labelled sad, explained happy, relative error 0.20 (fair), completeness gap "
        "+0.10 logits"
    )
    gap = Estimate(np.full(1, np.nan, np.float32))
    unknown = make_explanation(relative_error=None, completeness_gap=gap, prediction=None, label=None)
    assert caption(unknown) == "a.wav: happy 0.00, explained happy, relative error unknown"
