"""Datasets of the hub, all of them in folders: nothing here asks a network."""

import io
import json
import logging
import socket
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speechshap.data import read_corpus
from speechshap.data.audio import inspect_audio
from speechshap.data.catalogue import Catalogue
from speechshap.data.hub import HubDataset, find_root
from speechshap.data.manifest_rows import Columns
from speechshap.data.splits import SplitOptions
from speechshap.errors import UserError

datasets = pytest.importorskip("datasets")

COLUMNS = Columns("emotion", "speaker_id")
EMOTIONS = ["sad", "happy"]  # not in the order of the alphabet


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A cache of its own, without a network; its folder."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection was asked for: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "speechshap")
    return tmp_path / "cache"


def tone(number: int, kind: str = "WAV", seconds: float = 0.25) -> bytes:
    """A sound file of a tone, each number another one."""
    content, time = io.BytesIO(), np.arange(round(16000 * seconds)) / 16000
    wave = np.sin(2 * np.pi * (200 + 10 * number) * time)
    soundfile.write(content, (10000 * wave).astype(np.int16), 16000, format=kind)
    return content.getvalue()


def rows(numbers: Sequence[int], **audio: Any) -> Any:
    """Rows of a dataset; ``audio`` has other sounds by the number of the row, as ``_3=...``."""
    features = datasets.Features(
        {
            "audio": datasets.Audio(),
            "emotion": datasets.ClassLabel(names=EMOTIONS),
            "speaker_id": datasets.Value("int64"),
            "path": datasets.Value("string"),  # which is another one than that of a manifest
            "start": datasets.Value("float64"),
            "embedding": datasets.List(datasets.Value("float32")),
        }
    )
    columns = {
        "audio": [audio.get(f"_{n}", {"bytes": tone(n), "path": f"clip{n}.wav"}) for n in numbers],
        "emotion": [number % 2 for number in numbers],
        "speaker_id": [number // 2 for number in numbers],
        "path": ["/somewhere/else.mp3"] * len(numbers),
        "start": [3.5] * len(numbers),
        "embedding": [[1.0]] * len(numbers),
    }
    return datasets.Dataset(pa.table(columns, schema=features.arrow_schema))


def save(folder: Path, **splits: Any) -> Path:
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def shards(folder: Path, **splits: Any) -> Path:
    """As a repository of the hub has them."""
    (folder / "data").mkdir(parents=True)
    for name, part in splits.items():
        part.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
    return folder


def of(folder: Path) -> HubDataset:
    dataset = find_root(f"hf://{folder}")
    assert isinstance(dataset, HubDataset)
    return dataset


def read(folder: Path, columns: Columns = COLUMNS) -> list[Any]:
    return read_corpus(of(folder).manifest(columns), columns=columns).utterances


@pytest.mark.parametrize("store", [save, shards])
def test_a_dataset_is_read_as_a_manifest_would_be(
    tmp_path: Path, own_machine: Path, store: Callable[..., Path]
) -> None:
    folder = store(tmp_path / "set", train=rows(range(8)), validation=rows([8, 9]), test=rows([10, 11]))
    utterances = read(folder)
    splits = {"train": "train", "val": "validation", "test": "test"}
    assert [(each.id, each.label, each.speaker, each.duration) for each in utterances] == sorted(
        (f"{splits[split]}/clip{n}.wav", EMOTIONS[n % 2], str(n // 2), 0.25)
        for split, numbers in (("train", range(8)), ("val", (8, 9)), ("test", (10, 11)))
        for n in numbers
    )
    assert all(splits[each.split or "train"] == each.id.split("/")[0] for each in utterances)
    assert all(each.path.is_relative_to(own_machine) for each in utterances)
    assert all(each.path.read_bytes() == tone(int(each.path.stem.removeprefix("clip"))) for each in utterances)
    assert not any(each.stretches for each in utterances)  # its column start is something else


def test_files_are_written_once(tmp_path: Path, own_machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path / "set", train=rows(range(4)), test=rows([4, 5]))
    first = of(folder).manifest(COLUMNS)
    assert (
        f"hf://{folder} are written as files into {first.parent}, once and beside the dataset itself: up to"
        in caplog.text
    )
    caplog.clear()
    times = {path: path.stat().st_mtime_ns for path in own_machine.rglob("*") if path.is_file()}
    assert of(folder).manifest(Columns("speaker_id")) == first  # another label takes no other files
    assert not caplog.text
    assert times == {path: path.stat().st_mtime_ns for path in own_machine.rglob("*") if path.is_file()}


def test_another_version_of_the_dataset_is_written_anew(tmp_path: Path) -> None:
    first = of(save(tmp_path / "set", train=rows(range(4)), test=rows([4, 5]))).manifest(COLUMNS)
    second = of(save(tmp_path / "set", train=rows(range(6)), test=rows([6, 7]))).manifest(COLUMNS)
    assert first != second
    assert len(pq.read_table(second)) == 8


def test_what_a_stopped_process_has_written_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "set", train=rows(range(6)))
    written: list[str] = []
    write = Path.write_bytes

    def note(path: Path, content: bytes) -> int:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", note)
    with pytest.raises(KeyboardInterrupt):
        read(folder)
    assert not list(tmp_path.glob("cache/**/manifest.parquet"))
    assert len(list(tmp_path.glob("cache/**/*.wav"))) == 3
    written.clear()
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: written.append(path.name) or write(path, content))
    assert len(read(folder)) == 6
    assert len(written) == 3


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train"], [None]),  # as datasets calls what nobody has split
        (["test"], ["test"]),
        (["train", "dev"], ["val", "train"]),
        (["train.clean.100", "test.other"], ["test", "train"]),
        (["fold1", "fold2"], [None, None]),
        (["train", "extra"], ["train"]),
    ],
)
def test_names_of_splits(tmp_path: Path, names: list[str], expected: list[str | None]) -> None:
    folder = save(tmp_path / "set", **{name: rows([number]) for number, name in enumerate(names)})
    assert [each.split for each in read(folder)] == expected


def test_a_dataset_without_splits(tmp_path: Path) -> None:
    rows(range(4)).save_to_disk(str(tmp_path / "set"))
    assert [(each.id, each.split) for each in read(tmp_path / "set")] == [(f"clip{n}.wav", None) for n in range(4)]


def test_sounds_without_a_name_or_of_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    nameless = {"bytes": tone(0, "FLAC"), "path": None}
    again = {"bytes": tone(1), "path": "clip2.wav"}
    (tmp_path / "set").mkdir()
    rows(range(3), _0=nameless, _1=again).save_to_disk(str(tmp_path / "set"))
    assert [each.id for each in read(tmp_path / "set")] == ["0000000.flac", "2-clip2.wav", "clip2.wav"]


def test_a_bad_recording_is_left_out_by_the_check_as_any_file(tmp_path: Path) -> None:
    bad = {"_1": {"bytes": b"", "path": "empty.wav"}, "_2": {"bytes": b"RIFF", "path": "cut.wav"}, "_3": None}
    folder = save(tmp_path / "set", train=rows(range(8), **bad), test=rows(range(8, 12)))
    options = SplitOptions(val_fraction=0)
    for check in ("first", "lazily"):
        catalogue = Catalogue(of(folder), options=options, columns=COLUMNS, check=check)
        assert len(catalogue.set_up_splits("fit").train) == 5
        assert {each.path.name for each in catalogue.skipped} == {"empty.wav", "cut.wav", "0000003.wav"}


def test_labels_that_are_missing_stay_so(tmp_path: Path) -> None:
    table = rows([0, 1]).data.table
    column = table.column_names.index("emotion")
    unlabelled = table.set_column(column, table.schema.field("emotion"), pa.array([-1, None], pa.int64()))
    datasets.Dataset(unlabelled).save_to_disk(str(tmp_path / "set"))
    assert [each.label for each in read(tmp_path / "set")] == [None, None]


def test_plain_parquet_with_bytes_is_enough(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    columns = {"audio": [{"bytes": tone(0), "path": "a.wav"}], "emotion": ["sad"], "speaker_id": ["S1"]}
    pq.write_table(pa.table(columns), tmp_path / "set" / "0.parquet")
    (utterance,) = read(tmp_path / "set")
    assert (utterance.label, utterance.speaker, utterance.path.read_bytes()) == ("sad", "S1", tone(0))


def test_files_of_this_machine_are_not_copied(
    tmp_path: Path, own_machine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "set" / "train"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(tone(0))
    (folder / "metadata.csv").write_text("file_name,emotion,speaker_id\na.wav,sad,S1\n")
    (utterance,) = read(tmp_path / "set")
    assert (utterance.path, utterance.label, utterance.duration) == (folder / "a.wav", "sad", 0.25)
    assert not list(own_machine.rglob("*.wav"))
    assert "are written" not in caplog.text


def test_shards_of_a_webdataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "train-0000.tar", "w") as tar:
        for number in range(3):
            for suffix, content in (("wav", tone(number)), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:04}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    utterances = read(tmp_path / "set", Columns("cls"))
    assert [each.label for each in utterances] == ["0", "1", "0"]
    assert [each.path.read_bytes() for each in utterances] == [tone(number) for number in range(3)]


def test_a_configuration_of_a_folder(tmp_path: Path) -> None:
    for name, numbers in (("english", [0, 1]), ("german", [2, 3, 4])):
        shards(tmp_path / "set" / name, train=rows(numbers))
    configs = [{"config_name": name, "data_files": f"{name}/data/*.parquet"} for name in ("english", "german")]
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    with pytest.raises(UserError, match=r"cannot be read as a dataset .Config name is missing.*english.*german"):
        read(tmp_path / "set")
    assert len(read(tmp_path / "set" / "german")) == 3  # a folder of its own
    (tmp_path / "set" / "german").rename(tmp_path / "set" / "data-de")
    configs[1]["data_files"] = "data-de/data/*.parquet"
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert len(read(tmp_path / "set" / "german")) == 3
    with pytest.raises(UserError, match=r"cannot be read as a dataset .*french"):
        read(tmp_path / "set" / "french")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(), "has no column label; name one of emotion, speaker_id as `label_column`"),
        (Columns("mood"), "has no column mood; name one of emotion, speaker_id as `label_column`"),
        (Columns("emotion", "voice"), "has no column voice; name one of emotion, speaker_id as `speaker_column`"),
    ],
)
def test_a_missing_column_is_told_before_anything_is_written_and_after(
    tmp_path: Path, own_machine: Path, columns: Columns, message: str
) -> None:
    folder = save(tmp_path / "set", train=rows([0, 1]))
    with pytest.raises(UserError, match=message):
        read(folder, columns)
    assert not list(own_machine.rglob("*.wav"))
    read(folder)
    with pytest.raises(UserError, match=message):
        read(folder, columns)


@pytest.mark.parametrize("name", ["nowhere", "sounds"])
def test_what_is_no_dataset_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "notes.xyz").write_text("no dataset")
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(f"hf://{tmp_path / name}")
    assert len(str(error.value).splitlines()) == 1


def test_a_dataset_of_texts_is_refused(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "label": ["sad"]}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(UserError, match=r"expected one column with sound.*; found none among text, label"):
        read(tmp_path / "set", Columns())


def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'speechshap\[hub\]'"):
        read(tmp_path)


class OfflineHub:
    """A hub that does not answer."""

    def dataset_info(self, *arguments: Any, **options: Any) -> Any:
        raise ConnectionError("no route to the hub\nand more")


def test_a_hub_that_does_not_answer_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", OfflineHub)
    message = r"hf://owner/name cannot be had from the Hugging Face hub \(no route to the hub\); correct the name, or"
    with pytest.raises(UserError, match=message) as error:
        HubDataset("owner/name").manifest(COLUMNS)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_called_like_a_dataset_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", OfflineHub)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(UserError, match=r"or give hf://\./owner/name for the folder"):
        HubDataset("owner/name").manifest(COLUMNS)


def test_the_hub_is_asked_for_the_revision_and_then_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Hub:
        def dataset_info(self, name: str, **options: Any) -> Any:
            asked.append(name)
            sibling = type("Sibling", (), {"size": 3_000_000})
            return type("Info", (), {"sha": "5f3a", "siblings": [sibling, sibling]})

    def load_dataset(*arguments: Any, **options: Any) -> Any:
        asked.append((*arguments, options))
        return datasets.DatasetDict(train=rows(range(4)))

    asked: list[Any] = []
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    manifest = HubDataset("owner/name/english").manifest(COLUMNS)
    assert asked == ["owner/name", ("owner/name", "english", {"revision": "5f3a", "streaming": True})]
    assert "up to 6 MB" in caplog.text
    monkeypatch.setattr("huggingface_hub.HfApi", OfflineHub)
    assert HubDataset("owner/name/english").manifest(COLUMNS) == manifest
    assert (
        "the Hugging Face hub does not answer; hf://owner/name/english is taken as it was written before" in caplog.text
    )


def test_nothing_is_counted_or_told_to_the_hub(tmp_path: Path) -> None:
    import huggingface_hub

    read(save(tmp_path / "set", train=rows([0, 1])))
    assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
    assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS


def test_folds_take_the_place_of_the_splits_of_a_dataset(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=rows(range(8)), test=rows(range(8, 16)))
    tested = []
    for fold in (1, 2):
        options = SplitOptions(val_fraction=0, folds=2, fold=fold)
        splits = Catalogue(of(folder), options=options, columns=COLUMNS).set_up_splits("fit")
        tested += [utterance.id for utterance in splits.test]
    assert len(tested) == len(set(tested)) == 16


def test_the_same_recording_in_two_splits_is_found(tmp_path: Path) -> None:
    twin = {"bytes": tone(10, "FLAC"), "path": "again.flac"}
    folder = save(tmp_path / "set", train=rows(range(8), _3=twin), test=rows([10, 11]))
    catalogue = Catalogue(of(folder), options=SplitOptions(val_fraction=0), columns=COLUMNS)
    assert len(catalogue.set_up_splits("fit").train) == 7
    assert [each.reason for each in catalogue.skipped] == ["the same sound as test/clip10.wav of the test split"]
    utterance = catalogue.splits.test[0] if catalogue.splits else None
    assert utterance is not None
    assert catalogue.digest(utterance) == inspect_audio(utterance.path).digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "ravdess"}, "`corpus` is ravdess, but a dataset has its labels in a column"),
        ({"audio_root": Path()}, "`audio_root` is for the paths of a manifest"),
        ({"options": SplitOptions(folds="emobox", fold=1)}, "`folds` is emobox, which is for EmoBox's fold files"),
    ],
)
def test_options_that_a_dataset_has_no_use_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Catalogue(HubDataset("owner/name"), **options)
