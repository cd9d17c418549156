import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import without_locks

from speechshap.data.checking import add_to_list
from speechshap.data.utterance import Skipped
from speechshap.errors import UserError
from speechshap.files import locked


def read_list(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_names_and_reasons_come_back_as_they_were(tmp_path: Path) -> None:
    names = ['a,"b".wav', "c\nd.wav", " é声.wav"]
    add_to_list(tmp_path / "skipped.csv", [Skipped(Path(name), 'no, "sound"') for name in names])
    add_to_list(tmp_path / "skipped.csv", [Skipped(Path("e.wav"), "silent")])
    rows = read_list(tmp_path / "skipped.csv")
    assert rows == [["path", "reason"], *([name, 'no, "sound"'] for name in names), ["e.wav", "silent"]]
    assert {path.name for path in tmp_path.iterdir()} == {"skipped.csv"}


def test_a_name_that_is_not_utf_8_is_listed(tmp_path: Path) -> None:
    add_to_list(tmp_path / "skipped.csv", [Skipped(Path(os.fsdecode(b"caf\xe9.wav")), "without a label")])
    assert read_list(tmp_path / "skipped.csv")[1][0].startswith("caf")


@pytest.mark.slow
def test_runs_at_once_lose_no_line(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from speechshap.data.checking import add_to_list; "
        "from speechshap.data.utterance import Skipped\n"
        "for i in range(20): add_to_list(Path(sys.argv[1]), [Skipped(Path(f'{sys.argv[2]}-{i}'), 'silent')])"
    )
    path = str(tmp_path / "skipped.csv")
    processes = [subprocess.Popen([sys.executable, "-c", code, path, str(number)]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(read_list(tmp_path / "skipped.csv")) == 61


def test_without_locks_the_list_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.ENOSYS)
    add_to_list(tmp_path / "skipped.csv", [Skipped(Path("a.wav"), "silent")])
    assert read_list(tmp_path / "skipped.csv")[1:] == [["a.wav", "silent"]]


def test_a_process_that_keeps_the_list_locked_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechshap.data.checking._PATIENCE_SECONDS", 0.1)
    with locked(tmp_path / ".skipped.csv.lock", 0):
        add_to_list(tmp_path / "skipped.csv", [Skipped(Path("a.wav"), "silent")])
    assert read_list(tmp_path / "skipped.csv")[1:] == [["a.wav", "silent"]]


@pytest.mark.parametrize("text", ["name,price\nbread,2\n", "path,reason\na.wav\n"])
def test_another_table_is_not_written_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "skipped.csv").write_text(text)
    with pytest.raises(UserError, match=r"not the list of files that were left out .*move it away"):
        add_to_list(tmp_path / "skipped.csv", [Skipped(Path("a.wav"), "silent")])
    assert (tmp_path / "skipped.csv").read_text() == text
