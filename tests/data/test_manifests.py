import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_sound

from speechshap.data import Stretch, read_corpus
from speechshap.data.manifest_rows import Columns
from speechshap.errors import UserError

BANDS = "path,label,start,end,low_hz,high_hz"


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def emobox_line(actor: int, emotion: str = "03") -> dict:
    """A line as EmoBox has it for RAVDESS."""
    name = f"03-01-{emotion}-01-01-01-{actor:02}"
    folder = "downloads/ravdess/audio/Audio_Speech_Actors_01-24"
    return {
        "key": f"ravdess-{name}", "dataset": "ravdess", "wav": f"{folder}/Actor_{actor:02}/{name}.wav", "type": "raw",
        "sample_rate": 48000, "length": 3.7, "task": "category", "emo": "Happy", "channel": 1,
    }  # fmt: skip


def test_csv_manifest(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,speaker,start,end\nb.wav,happy,S2,0.5,1.25\na.wav,sad,S1,,\n")
    corpus = read_corpus(tmp_path / "list.csv")
    first, second = corpus.utterances
    assert (first.id, first.path, first.label, first.speaker) == ("a.wav", tmp_path / "a.wav", "sad", "S1")
    assert first.stretches == ()
    assert second.stretches == (Stretch(0.5, 1.25),)
    assert corpus.classes == ["happy", "sad"]


def test_sessions_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,session\na.wav,sad, 1 \nb.wav,sad,\n")
    assert [utterance.session for utterance in read_corpus(tmp_path / "list.csv").utterances] == ["1", None]
    write_lines(tmp_path / "list.jsonl", [{"wav": "a.wav", "emo": "sad", "session": 2}])
    assert [utterance.session for utterance in read_corpus(tmp_path / "list.jsonl").utterances] == ["2"]


@pytest.mark.parametrize("is_csv", [True, False])
@pytest.mark.parametrize(
    ("start", "end", "low_hz", "high_hz", "stretches"),
    [
        ("0.31 1.2", "0.5  1.5", "", "", (Stretch(0.31, 0.5), Stretch(1.2, 1.5))),
        ("1.2 0", "1.5 1.2", "300 0", "3e3 200", (Stretch(0, 1.2, 0, 200), Stretch(1.2, 1.5, 300, 3000))),
    ],
)
def test_several_stretches_and_their_bands(
    tmp_path: Path, is_csv: bool, start: str, end: str, low_hz: str, high_hz: str, stretches: tuple[Stretch, ...]
) -> None:
    path = tmp_path / ("list.csv" if is_csv else "list.jsonl")
    columns = {"path": "a.wav", "label": "sad", "start": start, "end": end, "low_hz": low_hz, "high_hz": high_hz}
    path.write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n")
    if not is_csv:
        columns["wav"] = columns.pop("path")
        write_lines(path, [columns])
    assert read_corpus(path).utterances[0].stretches == stretches


@pytest.mark.parametrize(("start", "end"), [(0, 1.5), ([0], [1.5]), ("0", [1.5])])
def test_json_lines_have_numbers_and_lists_of_them(tmp_path: Path, start: object, end: object) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"wav": "a.wav", "emo": "sad", "start": start, "end": end}])
    assert read_corpus(path).utterances[0].stretches == (Stretch(0, 1.5),)


def test_json_lines_of_emobox(tmp_path: Path) -> None:
    rows = [
        {"key": "emodb-03a01Fa", "wav": "downloads/emodb/03a01Fa.wav", "length": 1.9, "emo": "F", "sample_rate": 16000},
        {"key": "emodb-03a01Wa", "wav": "downloads/emodb/03a01Wa.wav", "length": 1.8, "emo": "W", "sample_rate": 16000},
    ]
    (tmp_path / "fold.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    write_sound(tmp_path / "elsewhere" / "downloads/emodb/03a01Fa.wav")
    corpus = read_corpus(tmp_path / "fold.jsonl", audio_root=tmp_path / "elsewhere")
    assert [utterance.id for utterance in corpus.utterances] == ["emodb-03a01Fa", "emodb-03a01Wa"]
    assert corpus.utterances[0].path == tmp_path / "elsewhere/downloads/emodb/03a01Fa.wav"
    assert [utterance.speaker for utterance in corpus.utterances] == ["03", "03"]  # by the corpus' own rule
    assert corpus.classes == ["F", "W"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,emotion\na.wav,sad\n", "path,label"),
        ("a.csv", "path,label,start\na.wav,sad,soon\n", "line 2 .*start is soon; expected seconds"),
        ("a.csv", "path,label\n", "lists no utterance"),
        ("a.csv", "path,label\na.wav,sad\na.wav,sad\n", "line 3 repeats a.wav of line 2;"),
        ("a.csv", "path,label,split\na.wav,sad,later\n", "line 2 .*split 'later'; expected train, val or test"),
        ("a.csv", "", "the manifest is empty; the first line must name the columns path,label"),
        ("a.csv", "path;label\na.wav;sad\n", "path,label.*; it is 'path;label'"),
        ("a.csv", "path,label,label\na.wav,sad,happy\n", "names the column label twice"),
        ("a.csv", 'path,label\na.wav,sad\n"b.wav,sad\nc.wav,sad\n', "line 3 cannot be read .*a quoted cell ends on"),
        ("a.csv", 'path,label\na.wav,sad\n"b\n.wav",sad\n', "line 3 cannot be read .*a quoted cell ends on"),
        ("a.csv", 'path,label\n\n"b"c.wav,sad\n', "line 3 cannot be read .*expected after"),
        ("a.csv", "path,label\nb, c.wav,sad\n", "line 2 has 3 cells, while the first line names 2 columns"),
        ("a.csv", "path,label,speaker\na.wav,sad\n", "line 2 has 2 cells, while the first line names 3 columns"),
        ("a.csv", "path,label\n,sad\n", "line 2 .*the path is ''"),
        ("a.csv", "path,label\na\0.wav,sad\n", "line 2 is not text in UTF-8"),
        ("a.csv", "path,label,start\na.wav,sad,nan\n", "line 2 .*start is nan; expected seconds"),
        ("a.csv", "path,label,start\na.wav,sad,-0.5\n", "line 2 .*start is -0.5; expected seconds"),
        ("a.csv", "path,label,end\na.wav,sad,inf\n", "line 2 .*end is inf; expected seconds"),
        ("a.csv", "path,label,start,end\na.wav,sad,2,1.5\n", "line 2 .*end is 1.5, while start is 2; expected a later"),
        ("a.csv", "path,label,start\na.wav,sad,1\n", "line 2 .*start has 1 number, while end has 0; expected as many"),
        ("a.csv", "path,label,start,end\na.wav,sad,1 2,3\n", "start has 2 numbers, while end has 1; expected as many"),
        ("a.csv", "path,label,start,end\na.wav,sad,0 2,3 4\n", "starts at 2, before that from 0 to 3 ends; expected"),
        ("a.csv", "path,label,start,end\na.wav,sad,0 2,1 -\n", "end is -; expected seconds"),
        ("a.csv", f"{BANDS}\na.wav,sad,0,1,9,\n", "low_hz has 1 number, while high_hz has 0; expected as many"),
        ("a.csv", f"{BANDS}\na.wav,sad,0 1,1 2,9,10\n", "low_hz has 1 number, while start has 2; expected as many"),
        ("a.csv", f"{BANDS}\na.wav,sad,,,9,10\n", "low_hz has 1 number, while start has 0; expected as many"),
        ("a.csv", f"{BANDS}\na.wav,sad,0,1,9,9\n", "high_hz is 9, while low_hz is 9; expected a higher frequency"),
        ("a.csv", f"{BANDS}\na.wav,sad,0,1,low,9\n", "line 2 .*low_hz is low; expected a frequency in Hz, 0 or more"),
        (
            "a.jsonl",
            '{"wav": "a.wav", "emo": "sad", "start": [[1]], "end": 2}\n',
            r"start is \[1\]; expected seconds",
        ),
        ("a.jsonl", "", "lists no utterance"),
        ("a.jsonl", '{"key": "a"}\n', "line 1 .*wav"),
        ("a.jsonl", '{"wav": "a.wav", "emo": ["sad"]}\n', "line 1 .*is no text"),
        ("a.jsonl", '{"wav": "a.wav", "emo": NaN}\n', "line 1 .*NaN is not JSON"),
        ("a.jsonl", '\n{"wav": 7, "emo": "sad"}\n', "line 2 .*the path is 7; expected the name of a sound file"),
        ("a.jsonl", '{"wav": "\\ud800.wav", "emo": "sad"}\n', "line 1 .*not text in Unicode"),
        ("a.jsonl", '{"wav": "a", "emo": "b"}\n{"wav": "a", "emo": "b", "key": "c"}\n', "line 2 repeats .*a of line 1"),
        ("a.jsonl", "[1]\n", "line 1 is not an object"),
        ("a.jsonl", "no json\n", "line 1"),
        ("a.csv", "path,label\na.wav,fröhlich\n", "line 2 is not text in UTF-8; save the manifest as UTF-8"),
        ("a.txt", "path,label\n", "expected .csv, .jsonl or .parquet"),
    ],
)
def test_a_mistake_in_a_manifest_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message) as error:
        read_corpus(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_another_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("path,label\na.wav,sad\n", encoding=encoding)
    with pytest.raises(UserError, match="line 1 is not text in UTF-8; save the manifest as UTF-8"):
        read_corpus(tmp_path / "a.csv")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ends_are_read(tmp_path: Path, line_end: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"path,label{line_end}{line_end}é.wav,sad{line_end}".encode("utf-8-sig"))
    assert [(u.id, u.label) for u in read_corpus(tmp_path / "a.csv").utterances] == [("é.wav", "sad")]


def random_names(seed: int) -> list[str]:
    """Names of quotes, commas and what Unicode counts as line ends."""
    generator = np.random.default_rng(seed)
    alphabet = list("ab ,;\"'\t\x0b\x0c\x1c\x1e\x85\u2028\u2029é声")
    return [f"{number}{''.join(generator.choice(alphabet, 8))}z" for number in range(50)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_a_csv_writer_wrote_is_read_back(tmp_path: Path, seed: int, quoting: int) -> None:
    names = random_names(seed)
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting).writerows([["path", "label"], *([name, name] for name in names)])
    found = read_corpus(tmp_path / "a.csv").utterances
    assert [(u.id, u.label) for u in found] == sorted((name, name) for name in names)


@pytest.mark.parametrize("is_ascii", [True, False])
def test_what_a_json_writer_wrote_is_read_back(tmp_path: Path, is_ascii: bool) -> None:
    names = random_names(3)
    lines = [json.dumps({"wav": name, "emo": name}, ensure_ascii=is_ascii) for name in names]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [(u.id, u.label) for u in read_corpus(tmp_path / "a.jsonl").utterances] == sorted((n, n) for n in names)


@pytest.mark.parametrize("seed", range(20))
def test_a_stray_quote_costs_no_row_in_silence(tmp_path: Path, seed: int) -> None:
    """All rows are there, or the line with the quote is named."""
    generator = np.random.default_rng(seed)
    lines = ["path,label,speaker"] + [f'"{number}, a.wav",sad,S{number}' for number in range(10)]
    number = int(generator.integers(1, len(lines)))
    place = int(generator.integers(len(lines[number]) + 1))
    lines[number] = lines[number][:place] + '"' + lines[number][place:]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    try:
        found = len(read_corpus(tmp_path / "a.csv").utterances)
    except UserError as error:
        found = 10 if f"line {number + 1} " in str(error) else 0
    assert found == 10


@pytest.mark.parametrize(
    ("spelled", "split"),
    [("train", "train"), ("Training", "train"), ("dev", "val"), ("valid", "val"), ("VALIDATION", "val"), ("val", "val"),
     ("test", "test"), ("", None)],
)  # fmt: skip
def test_a_split_column_is_read_as_it_is_spelled(tmp_path: Path, spelled: str, split: str | None) -> None:
    (tmp_path / "list.csv").write_text(f"path,label,split\na.wav,sad,{spelled}\n")
    assert read_corpus(tmp_path / "list.csv").utterances[0].split == split


def test_json_lines_may_say_audio_and_label_and_need_no_key(tmp_path: Path) -> None:
    rows = [{"audio": "x/a.wav", "label": "sad"}, {"wav": "b.wav", "emo": "happy", "key": "b"}]
    corpus = read_corpus(write_lines(tmp_path / "a.jsonl", rows))
    assert [(u.id, u.path, u.label) for u in corpus.utterances] == [
        ("b", tmp_path / "b.wav", "happy"),
        ("x/a.wav", tmp_path / "x/a.wav", "sad"),
    ]


def test_numbers_in_json_lines_are_names_and_0_is_one_of_them(tmp_path: Path) -> None:
    rows = [{"key": key, "wav": f"{key}.wav", "emo": key, "speaker": key, "split": "test"} for key in (0, 1)]
    corpus = read_corpus(write_lines(tmp_path / "a.jsonl", rows))
    assert [(u.id, u.label, u.speaker, u.split) for u in corpus.utterances] == [
        ("0", "0", "0", "test"),
        ("1", "1", "1", "test"),
    ]
    assert corpus.classes == ["0", "1"]


def test_fold_files_tell_the_split_and_sounds_are_found_by_name(tmp_path: Path) -> None:
    fold = tmp_path / "fold_1"
    for name, actor in (("ravdess_train_fold_1", 1), ("ravdess_valid_fold_1", 2), ("ravdess_test_fold_1", 3)):
        write_lines(fold / f"{name}.jsonl", [emobox_line(actor)])
        write_sound(tmp_path / "mine" / f"Actor_{actor:02}" / f"03-01-03-01-01-01-{actor:02}.flac")
    (fold / "label_map.json").write_text("{}")
    corpus = read_corpus(fold, audio_root=tmp_path / "mine")
    assert [(u.speaker, u.split, u.label) for u in corpus.utterances] == [
        ("Actor_01", "train", "Happy"),
        ("Actor_02", "val", "Happy"),
        ("Actor_03", "test", "Happy"),
    ]
    assert [u.path for u in corpus.utterances] == sorted((tmp_path / "mine").rglob("*.flac"))
    assert corpus.name == "manifest"


def test_the_path_decides_between_files_of_one_name(tmp_path: Path) -> None:
    for name in ("DC/a01.wav", "JE/a01.wav", "x/KL/b.wav", "y/KL/b.wav"):
        write_sound(tmp_path / "mine" / name)
    rows = [{"key": wav, "wav": wav, "emo": "a"} for wav in ("downloads/JE/a01.wav", "downloads/KL/b.wav")]
    corpus = read_corpus(write_lines(tmp_path / "list.jsonl", rows), audio_root=tmp_path / "mine")
    assert [u.path for u in corpus.utterances] == [tmp_path / "mine/JE/a01.wav"]
    (skipped,) = corpus.skipped
    assert skipped.path.name == "b.wav"
    assert "2 files under `audio_root` have its name" in skipped.reason


def test_a_recording_in_two_folds_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_lines(tmp_path / f"{split}.jsonl", [emobox_line(1)])
    with pytest.raises(UserError, match=r"train.jsonl: line 1 repeats ravdess-03-01-03-01-01-01-01"):
        read_corpus(tmp_path)


def test_a_folder_without_fold_files_is_told_from_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"no manifest.csv or manifest.parquet, and no .jsonl file with train, valid or test",
    ):
        read_corpus(tmp_path, "manifest")
    with pytest.raises(UserError, match=r"list.csv: no such folder, and no such manifest; correct `root`"):
        read_corpus(tmp_path / "list.csv", "manifest")
    (tmp_path / "list.csv").write_text("path,label\na.wav,sad\n")
    with pytest.raises(UserError, match="`audio_root`: no folder nowhere"):
        read_corpus(tmp_path / "list.csv", audio_root=Path("nowhere"))


def test_a_manifest_one_level_further_down_is_found(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "manifest.csv").write_text("path,label\na.wav,sad\n")
    write_sound(tmp_path / "corpus" / "a.wav")
    above, itself = read_corpus(tmp_path), read_corpus(tmp_path / "corpus")
    assert above == itself
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.csv").write_text("path,label\nb.wav,sad\n")
    assert read_corpus(tmp_path).name == "folder"


def write_parquet(path: Path, columns: dict[str, list]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    columns: dict[str, list] = {
        "path": ["b.wav", "a/c.wav"], "label": ["happy", "sad"], "speaker": ["S1", None], "split": ["dev", "test"],
        "session": ["1", "2"], "duration": ["2.5", None], "start": ["0.5 1.5", None], "end": ["1.25 2", None],
        "low_hz": ["100 0", None], "high_hz": ["200 300", None],
    }  # fmt: skip
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    as_text = read_corpus(write_parquet(tmp_path / "list.parquet", columns))
    assert as_text == read_corpus(tmp_path / "list.csv")
    numbers = {"session": [1, 2], "duration": [2.5, None], "start": [[0.5, 1.5], None], "end": [[1.25, 2], None]}
    bands = {"low_hz": [[100, 0], []], "high_hz": [[200, 300], []]}
    as_numbers = read_corpus(write_parquet(tmp_path / "other.parquet", {**columns, **numbers, **bands}))
    assert as_numbers.utterances == as_text.utterances


def test_a_folder_with_a_parquet_manifest_is_one(tmp_path: Path) -> None:
    write_parquet(tmp_path / "manifest.parquet", {"path": ["a.wav"], "label": ["sad"]})
    assert read_corpus(tmp_path).name == "manifest"
    assert [utterance.path for utterance in read_corpus(tmp_path).utterances] == [tmp_path / "a.wav"]
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,sad\n")
    with pytest.raises(UserError, match=r"has manifest.csv and manifest.parquet; give one of them as `root`"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a.wav"], "emotion": ["sad"]}, "must name the columns path,label.*; it has file, emotion"),
        ({"path": ["a.wav"], "label": ["sad"], "start": [2.0], "end": [1.5]}, "row 1 .*end is 1.5, while start is 2"),
        ({"path": ["a.wav", "a.wav"], "label": ["sad", "sad"]}, "row 2 repeats a.wav of row 1;"),
        ({"path": ["a.wav"], "label": [[1]]}, r"row 1 cannot be read \(\[1\] is no text"),
        ({"path": [3], "label": ["sad"]}, "row 1 .*the path is 3; expected the name of a sound file"),
        ({"path": ["a.wav"], "label": ["sad"], "duration": [-1.0]}, "row 1 .*duration is -1.0; expected seconds, abov"),
        ({"audio": [{"bytes": b"RIFF", "path": "a.wav"}], "label": [0]}, "with its recordings in it.*`root` hf:///"),
    ],
)
def test_a_mistake_in_parquet_is_named(tmp_path: Path, columns: dict, message: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError, match=message) as error:
        read_corpus(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\na.wav,sad\n"])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"a.parquet: the manifest cannot be read as Parquet"):
        read_corpus(tmp_path / "a.parquet")


@pytest.mark.parametrize(("given", "seconds"), [("2.5", 2.5), ("", None), ("3", 3.0)])
def test_durations_of_a_manifest(tmp_path: Path, given: str, seconds: float | None) -> None:
    (tmp_path / "a.csv").write_text(f"path,label,duration\na.wav,sad,{given}\n")
    assert [utterance.duration for utterance in read_corpus(tmp_path / "a.csv").utterances] == [seconds]
    row = {"wav": "a.wav", "emo": "sad", "length": seconds}
    assert read_corpus(write_lines(tmp_path / "a.jsonl", [row])).utterances[0].duration == seconds


@pytest.mark.parametrize("given", ["-1", "0", "long", "nan", "inf"])
def test_a_duration_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "a.csv").write_text(f"path,label,duration\na.wav,sad,{given}\n")
    with pytest.raises(UserError, match=f"line 2 .*duration is {given}; expected seconds, above 0"):
        read_corpus(tmp_path / "a.csv")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_other_names(tmp_path: Path, kind: str) -> None:
    row = {"path": "a.wav", "label": "7", "feeling": "sad", "voice": "S1"}
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    elif kind == "jsonl":
        write_lines(path, [{**row, "wav": "a.wav"}])
    else:
        write_parquet(path, {name: [value] for name, value in row.items()})
    (utterance,) = read_corpus(path, columns=Columns("feeling", "voice")).utterances
    assert (utterance.label, utterance.speaker) == ("sad", "S1")
    with pytest.raises(UserError, match="mood"):
        read_corpus(path, columns=Columns("mood"))
    with pytest.raises(UserError, match="singer"):
        read_corpus(path, columns=Columns("feeling", "singer"))


def test_a_corpus_without_a_manifest_has_no_columns(tmp_path: Path) -> None:
    write_sound(tmp_path / "sad" / "a.wav")
    with pytest.raises(UserError, match=r"`label_column` names a column, but .* is no manifest"):
        read_corpus(tmp_path, columns=Columns("feeling"))
