"""Files and folders that are whole or not there, and locks that end with their process."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import full_from, without_locks

from speechshap import files
from speechshap.errors import UserError
from speechshap.files import locked, named_in_errors, remove_partial, whole_file, whole_folder

HOLDER = """
import sys, time
from pathlib import Path
from speechshap.files import locked

with locked(Path(sys.argv[1]), 0):
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock ``.lock``."""
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_lock_that_stays_held_is_told_with_the_way_out(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    message = r"\.lock has been locked for 0 s; end the process that holds it"
    with pytest.raises(UserError, match=message), locked(tmp_path / ".lock", 0, or_raise=UserError):
        pytest.fail("the lock is another's")


def test_who_need_not_have_a_lock_goes_on_without_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with locked(tmp_path / ".lock", 0.1) as is_held:
        assert not is_held


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path / ".lock", 0) as is_held:
        assert is_held


def test_a_long_wait_is_told(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_SILENT_SECONDS", 0.05)
    with locked(tmp_path / ".lock", 0.1):
        assert caplog.messages == [f"waiting for another process, which holds {tmp_path / '.lock'}"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_costs_one_warning_and_leaves_no_soft_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without_locks(monkeypatch, number)
    for _ in range(2):
        with locked(tmp_path / ".lock", 0) as is_held, locked(tmp_path / ".lock", 0) as is_held_twice:
            assert not is_held
            assert not is_held_twice
    assert len(caplog.messages) == 1
    assert f"the file system has no locks ({os.strerror(number)})" in caplog.text


def test_other_errors_of_a_lock_are_no_lack_of_locks(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path / ".lock", 0):
        pytest.fail("a folder is no lock")


def test_an_error_in_the_block_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / ".lock", 0):
        raise ZeroDivisionError
    with locked(tmp_path / ".lock", 0) as is_held:
        assert is_held


TAKE_TURNS = """
import sys
from pathlib import Path
from speechshap.files import locked
folder = Path(sys.argv[1])
for _ in range(200):
    with locked(folder / ".lock", 60):
        number = folder / "number"
        number.write_text(str(int(number.read_text()) + 1))
"""


@pytest.mark.slow
def test_processes_take_turns_and_leave_no_file_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", TAKE_TURNS, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "number").read_text() == "800"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with full_from(10), pytest.raises(OSError, match="too large") as caught, whole_file(path) as partial:
        partial.write_bytes(bytes(100))
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_opened_is_told_with_its_name_not_with_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(FileNotFoundError) as caught, whole_file(path) as partial:
        partial.open("r+b")
    assert caught.value.filename == str(path)


def test_a_file_within_a_folder_is_told_with_the_name_it_was_to_have(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_folder(tmp_path / "run") as partial:
        (partial / "missing" / "a.txt").write_text("")
    assert caught.value.filename == str(tmp_path / "run" / "missing" / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file", "sound.wav")
    with pytest.raises(FileNotFoundError) as caught, named_in_errors(tmp_path / "table.csv"):
        raise error
    assert caught.value is error


def test_a_folder_replaces_the_former_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for content in ("one", "two"):
        with whole_folder(path) as partial:
            (partial / f"{content}.txt").write_text(content)
    with pytest.raises(UnicodeEncodeError), whole_folder(path) as partial:
        (partial / "three.txt").write_text("three \ud800")
    assert [str(found.relative_to(tmp_path)) for found in sorted(tmp_path.rglob("*"))] == ["run", "run/two.txt"]


def test_partial_files_and_folders_of_a_pattern_are_removed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for path in (tmp_path / "a", tmp_path / "b"):
            stack.enter_context(whole_folder(path))
        stack.enter_context(whole_file(tmp_path / "a.txt")).write_text("half")
        remove_partial(tmp_path, ".a.*")
        assert [path.name[:3] for path in tmp_path.iterdir()] == [".b."]
        stack.pop_all()
