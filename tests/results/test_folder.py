"""Reading a folder of results, whatever else is in it."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers import make_explanation, write_part

from speechshap.attribution.targets import Target
from speechshap.errors import UserError
from speechshap.results import parts
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.rows import SCHEMA, SHOWN, from_rows


def explanation(
    utterance: str, *targets: str | Target, settings: str = "s", fingerprint: str = "abc", **fields: object
) -> Explanation:
    names = {"settings_fingerprint": settings, "fingerprint": fingerprint}
    return make_explanation(0.065, targets or ("happy",), provenance=names, utterance=utterance, **fields)


def utterances(folder: Path) -> list[str]:
    return [row["utterance"] for row in ResultsFolder(folder).read(("utterance",))]


def test_parts_load_with_pandas_as_one_table(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav"), explanation("b.wav", label=None))
    write_part(tmp_path, explanation("c.wav"))
    last = explanation("d.wav", relative_error=None)
    write_part(tmp_path, last)
    table = pd.read_parquet(tmp_path)
    assert sorted(table.utterance) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert list(table.columns) == SCHEMA.names
    assert table.frame_attribution[3].tolist() == last.frames.values[0].tolist()
    assert table.frame_standard_error.isna().tolist() == table.relative_error.isna().tolist() == [False] * 3 + [True]
    assert table.label.isna().sum() == 1


def test_what_is_explained_is_known_by_target_and_fingerprint(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    assert folder.places_of_rows() == {}
    first = write_part(
        tmp_path, explanation("a.wav", "happy", Target("happy", "a - b")), explanation("b.wav", fingerprint="xyz")
    )
    second = write_part(tmp_path, explanation("c.wav"))
    assert folder.places_of_rows() == {
        ("a.wav", Target("happy"), "abc"): first,
        ("a.wav", Target("happy", "a - b"), "abc"): first,
        ("b.wav", Target("happy"), "xyz"): first,
        ("c.wav", Target("happy"), "abc"): second,
    }


def test_rows_are_found_by_settings_and_utterance(tmp_path: Path) -> None:
    first = write_part(tmp_path, explanation("a.wav"), explanation("b.wav", settings="t", fingerprint="t"))
    second = write_part(tmp_path, explanation("a.wav", settings="t", fingerprint="t"))
    folder = ResultsFolder(tmp_path)
    assert [found["utterance"] for found in folder.read(settings="t")] == ["b.wav", "a.wav"]
    assert folder.read(("target",), utterance="b.wav") == [{"target": "happy"}]
    assert folder.places() == {"a.wav": [first, second], "b.wav": [first]}


def test_rows_of_an_earlier_version_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = write_part(tmp_path, explanation("old.wav"))
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(old).drop_columns(["settings", "against"]), old)
    write_part(tmp_path, explanation("new.wav"))
    assert utterances(tmp_path) == ["new.wav"]
    assert set(ResultsFolder(tmp_path).places()) == {"new.wav"}
    assert not caplog.text


def test_parts_with_the_names_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav")).rename(tmp_path / "part-0-00003.parquet")
    write_part(tmp_path, explanation("b.wav"))
    assert utterances(tmp_path) == ["a.wav", "b.wav"]


def test_explanations_are_read_one_for_each_utterance_and_settings(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav", "happy", "sad"), explanation("b.wav"))
    write_part(
        tmp_path,
        explanation("a.wav", settings="t", fingerprint="t"),
        explanation("b.wav", fingerprint="of the new sound"),
    )
    folder = ResultsFolder(tmp_path)
    read = folder.explanations()
    assert [(found.utterance, len(found.targets)) for found in read] == [("a.wav", 2), ("b.wav", 1), ("a.wav", 1)]
    (latest,) = folder.explanations(utterance="b.wav", settings="s")
    assert latest.provenance.fingerprint == "of the new sound"


def cut_short(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-100])


def overwrite_in_the_middle(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[4:400] = bytes(396)
    part.write_bytes(content)


def empty(part: Path) -> None:
    part.write_bytes(b"")


def write_another_table(part: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"city": ["Tallinn"]}), part)


def write_other_types(part: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"utterance": [["a", "b"]], "settings": ["{}"]}), part)


def change_a_value(part: Path) -> None:
    part.write_bytes(part.read_bytes().replace(b"b.wav", b"x.wav", 1))


def write_what_is_no_text(part: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part), part)  # without checksums, as earlier versions did
    part.write_bytes(part.read_bytes().replace(b"b.wav", b"\xff.wav", 1))


def make_a_link_to_nothing(part: Path) -> None:
    part.unlink()
    part.symlink_to("nowhere")


@pytest.mark.parametrize(
    "spoil",
    [
        cut_short, overwrite_in_the_middle, empty, write_another_table, write_other_types, change_a_value,
        write_what_is_no_text, make_a_link_to_nothing,
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_read_is_named_and_costs_itself_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    write_part(tmp_path, explanation("a.wav"))
    spoilt = write_part(tmp_path, explanation("b.wav"))
    write_part(tmp_path, explanation("c.wav"))
    spoil(spoilt)
    folder = ResultsFolder(tmp_path)
    assert [row["utterance"] for row in folder.read()] == ["a.wav", "c.wav"]
    assert [found.utterance for found in folder.explanations()] == ["a.wav", "c.wav"]
    assert {name for name, _, _ in folder.places_of_rows()} == set(folder.places()) == {"a.wav", "c.wav"}
    assert caplog.text.count(str(spoilt)) == 1
    assert "move it out of the folder" in caplog.text


@pytest.mark.parametrize("name", ["part-0-00003 (copy).parquet", "kept.parquet", "part-7-00000.parquet"])
def test_a_copy_of_a_part_doubles_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    part = write_part(tmp_path, explanation("a.wav", "happy", "sad"))
    shutil.copy(part, tmp_path / name)
    assert utterances(tmp_path) == ["a.wav", "a.wav"]
    assert (f"{name} is not read" in caplog.text) == (name != "part-7-00000.parquet")


def test_files_that_are_no_parquet_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_part(tmp_path, explanation("a.wav"))
    for name in ("report.html", "_learnt-abc.json", ".hidden.parquet", "_metadata.parquet"):
        (tmp_path / name).write_text("something else")
    assert utterances(tmp_path) == ["a.wav"]
    assert not caplog.text


def test_a_folder_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert ResultsFolder(tmp_path / "missing").read() == []
    assert not list(tmp_path.iterdir())


def by_name(folder: Path, settings: str = "s") -> dict[str, list[str]]:
    groups = list(ResultsFolder(folder).utterances(("label",), settings))
    found = {group[0]["utterance"]: [row["target"] for row in group] for group in groups}
    assert len(found) == len(groups)  # none comes twice
    return found


def test_utterances_come_one_by_one_with_all_their_rows(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav", "happy", "sad"), explanation("b.wav"), explanation("c.wav"))
    write_part(tmp_path, explanation("d.wav"), explanation("b.wav", "calm"), explanation("x.wav", settings="t"))
    assert by_name(tmp_path) == {
        "a.wav": ["happy", "sad"], "b.wav": ["happy", "calm"], "c.wav": ["happy"], "d.wav": ["happy"],
    }  # fmt: skip
    assert by_name(tmp_path, "t") == {"x.wav": ["happy"]}
    assert by_name(tmp_path / "nowhere") == {}


def test_of_a_file_that_changed_the_later_rows_come_alone(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav", "happy", "sad"))
    write_part(tmp_path, explanation("a.wav", "calm", fingerprint="of the new sound"), explanation("b.wav"))
    assert by_name(tmp_path) == {"a.wav": ["calm"], "b.wav": ["happy"]}


def test_a_part_that_was_copied_counts_once(tmp_path: Path) -> None:
    part = write_part(tmp_path, explanation("a.wav", "happy", "sad"))
    shutil.copy(part, tmp_path / "part-0-00003.parquet")
    assert by_name(tmp_path) == {"a.wav": ["happy", "sad"]}


def test_more_rows_than_are_read_at_once_lose_nothing_at_the_seams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part(tmp_path, *(explanation(f"{number}.wav", "happy", "sad", "calm") for number in range(11)))
    monkeypatch.setattr(parts, "_BATCH_ROWS", 4)
    assert by_name(tmp_path) == {f"{number}.wav": ["happy", "sad", "calm"] for number in range(11)}
    assert len(ResultsFolder(tmp_path).read(("target",))) == 33


def test_what_an_utterance_has_is_what_was_written(tmp_path: Path) -> None:
    one, other = (
        make_explanation(seconds, ("happy",), layers=2, bands=3, cues=True, words=["a", "b"], utterance=f"{seconds}")
        for seconds in (0.1, 0.3)
    )
    write_part(tmp_path, one, other)
    rows = [
        row for group in ResultsFolder(tmp_path).utterances(SHOWN, one.provenance.settings_fingerprint) for row in group
    ]
    assert len(rows) == 2
    for row, made in zip(rows, (one, other), strict=True):
        np.testing.assert_array_equal(row["frame_attribution"], made.frames.values[0])
        assert made.bands is not None
        np.testing.assert_array_equal(np.array(row["time_frequency_attribution"]), made.bands.estimate.values[0])
        assert row["time_frequency_hop_seconds"] == made.bands.hop_seconds
        assert row["layer_names"] == ["layer_1", "layer_2"]
        back, again = from_rows([row]), ResultsFolder(tmp_path).explanations(utterance=row["utterance"])[0]
        assert back.segments is not None
        assert again.segments is not None
        np.testing.assert_array_equal(back.segments.estimate.values, again.segments.estimate.values)


def test_the_latest_row_is_found(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav", settings="last"), explanation("b.wav"))
    later = datetime.now(UTC) + timedelta(days=1)
    names = {"settings_fingerprint": "last", "fingerprint": "x", "explained_at": later}
    write_part(tmp_path, make_explanation(0.065, provenance=names, utterance="c.wav"))
    write_part(tmp_path, explanation("d.wav"))
    assert ResultsFolder(tmp_path).latest(("utterance", "settings_fingerprint"))["utterance"] == "c.wav"
    with pytest.raises(UserError, match="has no explanations"):
        ResultsFolder(tmp_path / "nowhere").latest(("utterance",))


def test_utterances_are_counted_once_for_each_settings(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav", "happy", "sad"), explanation("b.wav"))
    write_part(tmp_path, explanation("b.wav", "sad"), explanation("a.wav", settings="t", fingerprint="t"))
    folder = ResultsFolder(tmp_path)
    assert [folder.num_explained(settings) for settings in ("s", "t", "u")] == [2, 1, 0]


def test_the_places_of_some_utterances(tmp_path: Path) -> None:
    first = write_part(tmp_path, explanation("a.wav"), explanation("b.wav"))
    second = write_part(tmp_path, explanation("c.wav"), explanation("a.wav", "sad"))
    assert ResultsFolder(tmp_path).places({"a.wav", "c.wav", "z.wav"}) == {"a.wav": [first, second], "c.wav": [second]}
