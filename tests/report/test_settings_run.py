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

from speechshap.report.settings_run import compare_settings, comparison_table, is_written, write_settings_run
from speechshap.report.settings_summary import SettingsSummary
from speechshap.results.parts import Row
from speechshap.results.rows import to_rows

KILLED = """
import os, signal, sys
from pathlib import Path
from speechshap.report import settings_run

settings_run._write_events = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
settings_run.write_settings_run(Path(sys.argv[1]), settings_run.SettingsSummary([]), {}, None, 0, True)
"""


def utterances(count: int = 2, relative_error: float = 0.2) -> list[list[Row]]:
    return [
        to_rows(
            make_explanation(
                0.1,
                utterance=f"{number}.wav",
                embedding=np.full(3, number, np.float32),
                relative_error=relative_error,
            )
        )
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
        write_settings_run(folder, summary(count), {"n_samples": 50}, 1.0, 0, is_alone=True)
    events = EventAccumulator(str(folder)).Reload()
    assert [event.histogram_value.num for event in events.Histograms("explain/relative_error")] == [3]
    assert is_written(folder, summary(3))
    assert not is_written(folder, summary(2))
    assert np.loadtxt(folder / "tensors.tsv").tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert len((folder / "metadata.tsv").read_text().splitlines()) == 4


@pytest.mark.parametrize("at", ["numpy.savetxt", "speechshap.report.settings_run.append_record"])
def test_a_full_disk_is_told_with_the_folder_and_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    folder = tmp_path / "settings" / "abc"
    write_settings_run(folder, summary(), {}, 1.0, 0, is_alone=True)
    before = contents(tmp_path)
    monkeypatch.setattr(at, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_settings_run(folder, summary(3), {}, 1.0, 0, is_alone=True)
    assert caught.value.filename == str(folder)
    assert contents(tmp_path) == before


def test_what_a_killed_process_has_left_is_removed_and_nothing_of_it_shows(tmp_path: Path) -> None:
    folder = tmp_path / "settings" / "abc"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=environment, check=False)
    assert process.returncode != 0
    assert not folder.exists()
    assert list(folder.parent.glob(".*.partial"))
    write_settings_run(folder, summary(), {}, None, 0, is_alone=True)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["abc"]
    assert EventAccumulator(str(folder)).Reload().Tags()["histograms"]


def test_what_another_process_may_be_writing_is_not_removed(tmp_path: Path) -> None:
    of_another = tmp_path / ".def.0123.partial"
    of_another.mkdir()
    write_settings_run(tmp_path / "abc", summary(), {}, None, 0, is_alone=False)
    assert of_another.exists()
    assert (tmp_path / "abc" / "tensors.tsv").exists()


def test_of_many_utterances_the_projector_shows_a_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.report.settings_summary.MOST_POINTS", 5)
    write_settings_run(tmp_path / "abc", summary(40), {}, None, 0, is_alone=True)
    shown = [line.rsplit("\t")[-1] for line in (tmp_path / "abc" / "metadata.tsv").read_text().splitlines()[1:]]
    assert len(shown) == 5
    assert shown != [f"{number}.wav" for number in range(5)]
    assert shown == sorted(shown, key=lambda name: int(name.removesuffix(".wav")))
    histograms = EventAccumulator(str(tmp_path / "abc")).Reload().Histograms("explain/relative_error")
    assert [event.histogram_value.num for event in histograms] == [40]


def compared(run: Path) -> list[list[str]]:
    """The columns of the table of settings, which is there once."""
    (event,) = (
        EventAccumulator(str(run / "explanations" / "settings"))
        .Reload()
        .Tensors("explain/settings compared/text_summary")
    )
    head, _, *lines = event.tensor_proto.string_val[0].decode().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    return [list(column) for column in zip(*rows, strict=True)]


NUMBERS = ["mean relative error", "mean absolute completeness gap", "mean seconds", "utterances"]


def test_settings_and_methods_are_compared_in_one_table_that_grows(tmp_path: Path) -> None:
    settings = tmp_path / "explanations" / "settings"
    lime = {"method": "lime", "output": "logit", "seed": 0}
    write_settings_run(settings / "abc", summary(2), lime, 1.25, 0, is_alone=True)
    compare_settings(tmp_path, 0)
    assert compared(tmp_path) == [["run", "method", *NUMBERS], ["abc", "lime", "0.200", "0.100", "1.25", "2"]]
    of_method = tmp_path / "energy" / "explanations" / "settings" / "def"
    energy = {"method": "energy", "output": "logit"}
    write_settings_run(of_method, SettingsSummary(utterances(3, 0.1)), energy, None, 0, is_alone=True)
    write_settings_run(
        settings / "ghi", SettingsSummary(utterances(2, 0.5)), lime | {"seed": 1}, None, 0, is_alone=True
    )
    for _ in range(2):
        compare_settings(tmp_path, 0)
        assert compared(tmp_path) == [
            ["run", "method", "seed", *NUMBERS],
            ["def", "energy", "", "0.100", "0.100", "", "3"],
            ["abc", "lime", "0", "0.200", "0.100", "1.25", "2"],
            ["ghi", "lime", "1", "0.500", "0.100", "", "2"],
        ]


def test_many_runs_are_compared_in_several_tables() -> None:
    records = {
        f"run{number}": {"settings": {"method": "lime", "seed": number}, "numbers": {"mean_relative_error": number / 9}}
        for number in range(7)
    }
    first, second = comparison_table(records).split("\n\n")
    heads = [part.splitlines()[0].replace(" ", "").strip("|").split("|") for part in (first, second)]
    assert heads == [["run", "run0", "run1", "run2", "run3"], ["run", "run4", "run5", "run6"]]
