"""Who is known to be writing into a folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechshap import run_lock
from speechshap.errors import UserError
from speechshap.run_lock import RunLock, new_run_id

HOLDER = """
import sys, time
from pathlib import Path
from speechshap.run_lock import RunLock

lock = RunLock(Path(sys.argv[1]), sys.argv[2], 0)
with lock.register():
    pass
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def run() -> str:
    return new_run_id()


@pytest.fixture
def holder(tmp_path: Path, run: str) -> Iterator[subprocess.Popen[str]]:
    """A process that writes into the folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path), run]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def others(folder: Path) -> list[str]:
    """Runs that a new process finds alive."""
    lock = RunLock(folder, new_run_id(), 0)
    with lock.register() as found:
        pass
    lock.unregister()
    return [other.run for other in found]


def test_ids_are_of_one_run_alone_and_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(20)]
    assert ids == sorted(ids, key=lambda name: name[:21])
    assert len(set(ids)) == 20


def test_a_run_is_alive_until_it_ends(tmp_path: Path, holder: subprocess.Popen[str], run: str) -> None:
    assert others(tmp_path) == [run]
    holder.kill()
    holder.wait()
    assert list(tmp_path.glob(".run-*"))
    assert others(tmp_path) == []
    assert not list(tmp_path.glob(".run-*"))


def test_every_rank_of_a_run_is_told(tmp_path: Path, run: str) -> None:
    ranks = [RunLock(tmp_path, run, rank) for rank in range(3)]
    for rank, lock in enumerate(ranks):
        with lock.register() as found:
            assert [other.run for other in found] == [run] * rank
    ranks[1].unregister()
    assert others(tmp_path) == [run] * 2
    for lock in ranks:
        lock.unregister()
        lock.unregister()  # does nothing the second time
    assert [path.name for path in tmp_path.iterdir()] == [".write.lock"]


def test_files_with_other_names_are_no_runs_and_stay(tmp_path: Path) -> None:
    (tmp_path / ".run-of-mine.lock").touch()
    assert others(tmp_path) == []
    assert (tmp_path / ".run-of-mine.lock").exists()


def test_who_waits_too_long_for_the_folder_is_no_run(tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE_SECONDS", 0.1)
    lock = RunLock(tmp_path, run, 0)
    with RunLock(tmp_path, new_run_id(), 0).exclusive():
        with pytest.raises(UserError, match=r"\.write\.lock has been locked for"), lock.register():
            pytest.fail("the folder is another's")
        lock.unregister()
    assert not lock.is_held
    assert others(tmp_path) == []
