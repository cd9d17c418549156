"""Writing into a folder of results: nothing is lost, nothing is there twice, whoever else writes."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from filelock import FileLock
from helpers import full_from, make_explanation, without_locks, write_part

from speechshap import run_lock
from speechshap.attribution.targets import Target
from speechshap.errors import UserError
from speechshap.results import parts
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.rows import SCHEMA, to_rows
from speechshap.results.writer import ResultsWriter


def explanation(utterance: str, *targets: str | Target, fingerprint: str = "abc", **fields: object) -> Explanation:
    names = {"settings_fingerprint": "s", "fingerprint": fingerprint}
    return make_explanation(0.065, targets or ("happy",), provenance=names, utterance=utterance, **fields)


def utterances(folder: Path) -> list[str]:
    return [row["utterance"] for row in ResultsFolder(folder).read(("utterance",))]


def start_another_run(folder: Path, *, forks: bool = False) -> subprocess.Popen[str]:
    """A process that writes into the folder until it is killed; one that it forked itself may live on."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom speechshap.results.writer import ResultsWriter\n"
        "writer = ResultsWriter(Path(sys.argv[1]))\n"
        "is_child = sys.argv[2] == 'True' and os.fork() == 0\n"
        "print(flush=True)\ntime.sleep(5 if is_child else 60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(forks)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def another_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with start_another_run(tmp_path) as process:
        yield process
        process.kill()


def test_parts_have_names_of_their_own_in_the_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 0)
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        for number in range(3):
            one.write([explanation(f"{number} one")])
            two.write([explanation(f"{number} two")])
    names = [f"{number} {run}" for run in ("one", "two") for number in range(3)]
    assert utterances(tmp_path) == names
    assert len(ResultsFolder(tmp_path).parts) == 6


def test_a_row_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        first, second = explanation("a.wav"), explanation("a.wav", "happy", "sad")
        assert one.write([first]) == [first]
        assert two.write([first]) == []
        assert two.write([second, explanation("b.wav")])[0] is second
        assert one.write([second]) == []
    rows = [(row["utterance"], row["target"]) for row in ResultsFolder(tmp_path).read(("utterance", "target"))]
    assert rows == [("a.wav", "happy"), ("a.wav", "sad"), ("b.wav", "happy")]


def test_a_row_of_a_run_that_came_and_went_is_not_written_again(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as one:
        one.write([explanation("a.wav")])
        write_part(tmp_path, explanation("b.wav"))
        assert one.write([explanation("b.wav")]) == []
    assert utterances(tmp_path) == ["a.wav", "b.wav"]


def test_a_part_grows_until_it_is_large_and_is_whole_at_all_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = pa.Table.from_pylist(to_rows(explanation("0.wav")), SCHEMA).nbytes
    monkeypatch.setattr(parts, "PART_BYTES", round(2.5 * size))
    with ResultsWriter(tmp_path) as writer:
        found = []
        for number in range(5):
            writer.write([explanation(f"{number}.wav")])
            found.append([len(pd.read_parquet(part)) for part in writer.results.parts])
        assert found == [[1], [2], [3], [3, 1], [3, 2]]
        assert utterances(tmp_path) == [f"{number}.wav" for number in range(5)]
        assert len(set(writer.known.values())) == 2


def test_a_part_that_another_run_adds_to_is_read_again(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        for name in ("a.wav", "b.wav"):
            one.write([explanation(name)])
            assert two.write([explanation(name)]) == []
    assert len(ResultsFolder(tmp_path).parts) == 1


def test_rows_of_other_settings_are_no_hindrance(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        one.write([explanation("a.wav")])
        assert two.write([explanation("a.wav", fingerprint="of other settings")])
    assert utterances(tmp_path) == ["a.wav", "a.wav"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    left = [tmp_path / ".part-x.parquet.1.partial", tmp_path / "layers" / "s" / ".a.safetensors.2.partial"]
    left[1].parent.mkdir(parents=True)
    for path in left:
        path.write_text("half")
    (tmp_path / ".report.html.3.partial").write_text("being written by report.py")
    ResultsWriter(tmp_path).close()
    assert not any(path.exists() for path in left)
    assert (tmp_path / ".report.html.3.partial").exists()


def test_what_another_run_is_writing_is_left_to_it(tmp_path: Path, another_run: subprocess.Popen[str]) -> None:
    partial = tmp_path / ".part-x.parquet.1.partial"
    partial.write_text("half")
    with ResultsWriter(tmp_path) as writer:
        assert not writer.was_alone
    assert partial.exists()
    another_run.kill()
    another_run.wait()
    with ResultsWriter(tmp_path) as writer:
        assert writer.was_alone
    assert not partial.exists()


def test_ranks_of_a_run_are_no_other_run(tmp_path: Path) -> None:
    run = run_lock.new_run_id()
    with ResultsWriter(tmp_path, run, rank=0) as first, ResultsWriter(tmp_path, run, rank=1) as second:
        assert first.was_alone
        assert second.was_alone
        first.write([explanation("a.wav")])
        second.write([explanation("b.wav")])
    assert utterances(tmp_path) == ["a.wav", "b.wav"]


def test_a_reader_removes_nothing(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav"))
    (tmp_path / ".part-x.parquet.1.partial").write_text("half")
    before = sorted(tmp_path.iterdir())
    folder = ResultsFolder(tmp_path)
    assert folder.read()
    assert folder.places()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_outlives_its_killed_run_is_no_run(tmp_path: Path) -> None:
    process = start_another_run(tmp_path, forks=True)
    process.kill()
    process.wait()
    try:
        with ResultsWriter(tmp_path) as writer:
            assert writer.was_alone
    finally:
        assert process.stdout is not None
        process.stdout.close()


def test_nothing_of_a_run_that_ended_is_left_but_what_it_wrote(tmp_path: Path) -> None:
    write_part(tmp_path, explanation("a.wav"))
    assert {path.suffix or path.name for path in tmp_path.iterdir()} == {".parquet", ".runs"}
    assert [path.name for path in (tmp_path / ".runs").iterdir()] == [".write.lock"]


def test_a_folder_that_stays_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE_SECONDS", 0.1)
    message = r"\.write\.lock has been locked for .* end the process that holds it"
    with (
        ResultsWriter(tmp_path) as one,
        ResultsWriter(tmp_path) as two,
        one._lock.exclusive(),
        pytest.raises(UserError, match=message),
    ):
        two.write([explanation("a.wav")])


def test_a_run_that_ends_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ResultsWriter(tmp_path) as one:
        two = ResultsWriter(tmp_path)
        monkeypatch.setattr("filelock.FileLock.acquire", refuse_to_wait(FileLock.acquire))
        with one._lock.exclusive():
            two.close()
        with ResultsWriter(tmp_path) as three:
            assert len(list(tmp_path.glob(".runs/.run-*.lock"))) == 2
            assert not three.was_alone
    assert not list(tmp_path.glob(".runs/.run-*.lock"))


def refuse_to_wait(acquire: Callable[..., Any]) -> Callable[..., Any]:
    def at_once(lock: FileLock, timeout: float, **options: Any) -> Any:
        return acquire(lock, 0, **options)

    return at_once


def test_a_writer_that_cannot_begin_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(ResultsFolder, "places_of_rows", fail)
        with pytest.raises(MemoryError) as caught:
            ResultsWriter(tmp_path)
    with ResultsWriter(tmp_path) as writer:
        assert writer.was_alone
    assert caught.tb is not None  # which would keep the lock alive


def test_without_locks_rows_are_written_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch, errno.ENOLCK)
    (tmp_path / ".part-x.parquet.1.partial").write_text("half")
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        assert one.write([explanation("a.wav")])
        assert two.write([explanation("b.wav")])
    assert utterances(tmp_path) == ["a.wav", "b.wav"]
    assert (tmp_path / ".part-x.parquet.1.partial").exists()
    assert len(caplog.messages) == 1


def test_the_index_is_not_copied_for_each_batch(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as one, ResultsWriter(tmp_path) as two:
        known = one.known
        two.write([explanation("a.wav")])
        one.refresh()
        assert one.known is known
        assert len(known) == 1


def test_rows_that_someone_removes_are_told_and_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 0)
    folder = tmp_path / "explanations"
    with ResultsWriter(folder) as writer:
        for name in ("a.wav", "b.wav"):
            writer.write([explanation(name)])
        shutil.rmtree(folder)
        writer.write([explanation("c.wav")])
        for _ in range(2):
            writer.refresh()
        assert [f"2 parts are gone from {folder} meanwhile" in text for text in caplog.messages] == [True]
        assert {name for name, _, _ in writer.known} == {"c.wav"}
        assert writer.write([explanation("a.wav"), explanation("c.wav")])
    assert utterances(folder) == ["c.wav", "a.wav"]


def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as writer, pytest.raises(Exception, match=r"probability|convert|float"):
        writer.write([explanation("a.wav", probability="high")])
    assert [path.name for path in tmp_path.iterdir()] == [".runs"]


@pytest.mark.parametrize("what", ["part", "neurons"])
def test_a_full_disk_is_told_with_the_path(tmp_path: Path, what: str) -> None:
    large, neurons = explanation("a.wav"), {"layer_1": torch.zeros(2000)}
    with ResultsWriter(tmp_path) as writer:
        write = partial(writer.write, [large]) if what == "part" else partial(writer.write_neurons, large, neurons)
        message = r"too large: '.*(part-.*0-00000.parquet|a.wav.safetensors)'$"
        with full_from(1000), pytest.raises(OSError, match=message):
            write()
        assert not writer.known
        assert writer.write([explanation("a.wav")])
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".partial"]
