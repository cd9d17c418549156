import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_explanation
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import summary as make

from speechshap.report.settings_run import _HISTOGRAM_EDGES, Histogram, SettingsSummary, write_settings_run
from speechshap.results.parts import Row
from speechshap.results.rows import to_rows

KILLED = """
import os, signal, sys
from pathlib import Path
from speechshap.report import settings_run

settings_run._write_hyperparameters = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
settings_run.write_settings_run(Path(sys.argv[1]), settings_run.SettingsSummary([]), {}, None, True)
"""


def utterances(count: int = 2) -> list[list[Row]]:
    return [
        to_rows(make_explanation(utterance=f"{number}.wav", embedding=np.full(3, number, np.float32)))
        for number in range(count)
    ]


def summary(count: int = 2) -> SettingsSummary:
    return SettingsSummary(utterances(count))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("**/*") if path.is_file()}


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_that_grew_has_its_numbers_once(tmp_path: Path) -> None:
    folder = tmp_path / "settings" / "abc"
    for count in (2, 3):
        write_settings_run(folder, summary(count), {"n_samples": 50}, 1.0, is_alone=True)
    events = EventAccumulator(str(folder)).Reload()
    assert [event.value for event in events.Scalars("explain/utterances")] == [3.0]
    assert np.loadtxt(folder / "tensors.tsv").tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert len((folder / "metadata.tsv").read_text().splitlines()) == 4


@pytest.mark.parametrize("at", ["numpy.savetxt", "speechshap.report.settings_run.append_record"])
def test_a_full_disk_is_told_with_the_folder_and_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    folder = tmp_path / "settings" / "abc"
    write_settings_run(folder, summary(), {}, 1.0, is_alone=True)
    before = contents(tmp_path)
    monkeypatch.setattr(at, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_settings_run(folder, summary(3), {}, 1.0, is_alone=True)
    assert caught.value.filename == str(folder)
    assert contents(tmp_path) == before


def test_what_a_killed_process_has_left_is_removed_and_nothing_of_it_shows(tmp_path: Path) -> None:
    folder = tmp_path / "settings" / "abc"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=environment, check=False)
    assert process.returncode != 0
    assert not folder.exists()
    assert list(folder.parent.glob(".*.partial"))
    write_settings_run(folder, summary(), {}, None, is_alone=True)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["abc"]
    assert "explain/mean_seconds" not in EventAccumulator(str(folder)).Reload().Tags()["scalars"]


def test_what_another_process_may_be_writing_is_not_removed(tmp_path: Path) -> None:
    of_another = tmp_path / ".def.0123.partial"
    of_another.mkdir()
    write_settings_run(tmp_path / "abc", summary(), {}, None, is_alone=False)
    assert of_another.exists()
    assert (tmp_path / "abc" / "tensors.tsv").exists()


def test_a_histogram_is_that_of_summary_writer_in_whatever_portions_values_come() -> None:
    values = np.random.default_rng(0).normal(size=5000) * np.logspace(-9, 3, 5000)
    one, other, empty = Histogram(), Histogram(), Histogram()
    for number, part in enumerate(np.array_split(values, 250)):
        (one if number % 2 else other).take(part)
    one.take(np.zeros(0))
    one.merge(other)
    found, expected = one.summary("x"), make.histogram("x", values, _HISTOGRAM_EDGES)
    assert found is not None
    (mine,), (theirs,) = found.value, expected.value
    assert (mine.histo.bucket_limit, mine.histo.bucket) == (theirs.histo.bucket_limit, theirs.histo.bucket)
    for name in ("min", "max", "num", "sum", "sum_squares"):
        assert getattr(mine.histo, name) == pytest.approx(getattr(theirs.histo, name))
    assert empty.summary("x") is None


def test_of_many_utterances_the_projector_shows_a_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.report.settings_run.MOST_POINTS", 5)
    write_settings_run(tmp_path / "abc", summary(40), {}, None, is_alone=True)
    shown = [line.rsplit("\t")[-1] for line in (tmp_path / "abc" / "metadata.tsv").read_text().splitlines()[1:]]
    assert len(shown) == 5
    assert shown != [f"{number}.wav" for number in range(5)]
    assert shown == sorted(shown, key=lambda name: int(name.removesuffix(".wav")))
    assert [
        event.value for event in EventAccumulator(str(tmp_path / "abc")).Reload().Scalars("explain/utterances")
    ] == [40]


def test_what_is_shown_is_recognised_in_any_order() -> None:
    forwards, backwards = utterances(5), utterances(5)[::-1]
    assert SettingsSummary(forwards).digest == SettingsSummary(backwards).digest != SettingsSummary(forwards[1:]).digest
