from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from helpers import make_explanation

from speechshap.attribution.targets import Target
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.rows import SCHEMA


def explanation(
    utterance: str, *targets: str | Target, settings: str = "s", fingerprint: str = "abc", **fields: object
) -> Explanation:
    names = {"settings_fingerprint": settings, "fingerprint": fingerprint}
    return make_explanation(0.065, targets or ("happy",), provenance=names, utterance=utterance, **fields)


def test_parts_load_with_pandas_as_one_table(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path, rank=0)
    parts = [first.write([explanation("a.wav"), explanation("b.wav", label=None)]), first.write([explanation("c.wav")])]
    assert [part.name for part in parts] == ["part-0-00000.parquet", "part-0-00001.parquet"]
    last = explanation("d.wav", relative_error=None)
    assert ResultsFolder(tmp_path, rank=1).write([last]).name == "part-1-00000.parquet"
    assert ResultsFolder(tmp_path, rank=0).next_number == 2
    table = pd.read_parquet(tmp_path)
    assert sorted(table.utterance) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert list(table.columns) == SCHEMA.names
    assert table.frame_attribution[3].tolist() == last.frames.values[0].tolist()
    assert table.frame_standard_error.isna().tolist() == table.relative_error.isna().tolist() == [False] * 3 + [True]
    assert table.label.isna().sum() == 1


def test_what_is_explained_is_known_by_target_and_fingerprint(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    assert folder.explained() == set()
    folder.write([explanation("a.wav", "happy", Target("happy", "a - b")), explanation("b.wav", fingerprint="xyz")])
    ResultsFolder(tmp_path, rank=3).write([explanation("c.wav")])
    assert folder.explained() == {
        ("a.wav", Target("happy"), "abc"),
        ("a.wav", Target("happy", "a - b"), "abc"),
        ("b.wav", Target("happy"), "xyz"),
        ("c.wav", Target("happy"), "abc"),
    }


def test_rows_are_found_by_settings_and_utterance(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    first = folder.write([explanation("a.wav"), explanation("b.wav", settings="t")])
    second = folder.write([explanation("a.wav", settings="t")])
    assert [found["utterance"] for found in folder.read(settings="t")] == ["b.wav", "a.wav"]
    assert folder.read(("target",), utterance="b.wav") == [{"target": "happy"}]
    assert folder.places() == {"a.wav": [first, second], "b.wav": [first]}


def test_rows_of_an_earlier_version_are_passed_over(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    old = folder.write([explanation("old.wav")])
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(old).drop_columns(["settings", "against"]), old)
    folder.write([explanation("new.wav")])
    assert [row["utterance"] for row in folder.read()] == ["new.wav"]
    assert set(folder.places()) == {"new.wav"}


def test_explanations_are_read_one_for_each_utterance_and_settings(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.write([explanation("a.wav", "happy", "sad"), explanation("b.wav")])
    folder.write([explanation("a.wav", settings="t"), explanation("b.wav", fingerprint="of the new sound")])
    read = folder.explanations()
    assert [(found.utterance, len(found.targets)) for found in read] == [("a.wav", 2), ("b.wav", 1), ("a.wav", 1)]
    (latest,) = folder.explanations(utterance="b.wav", settings="s")
    assert latest.provenance.fingerprint == "of the new sound"


def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    with pytest.raises(Exception, match=r"probability|convert|float"):
        folder.write([explanation("a.wav", probability="high")])
    assert list(tmp_path.iterdir()) == []
