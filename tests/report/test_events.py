import errno
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from helpers import full_from, without_locks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.summary_pb2 import Summary

from speechshap.report.events import MarkedEvents, append_record, events, new_event_file, record

NUM_PICTURES = 60

WRITER = f"""
import sys, time
from pathlib import Path
from speechshap.report.events import MarkedEvents
from tensorboard.compat.proto.summary_pb2 import Summary

log = MarkedEvents(Path(sys.argv[1]))
print("reading is done", flush=True)
for number in sorted(range({NUM_PICTURES}), reverse=sys.argv[2] == "True"):
    image = Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=bytes(100_000))
    values = [Summary.Value(tag=f"{{number}}/figure", image=image), Summary.Value(tag=str(number), simple_value=number)]
    log.write(f"picture {{number}}", values, number)
    time.sleep(0.01)  # so that another process, which asks for the lock now and then, has its turn
"""


def value(tag: str, number: float = 0.5) -> list[Summary.Value]:
    return [Summary.Value(tag=tag, simple_value=number)]


def start(folder: Path, *, backwards: bool = False) -> subprocess.Popen[str]:
    """A process that writes all pictures, from the first or from the last."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(backwards)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading is done\n"
    return process


def event_file(folder: Path) -> Path:
    (path,) = folder.glob("events.*")
    return path


def shown(folder: Path) -> Counter[str]:
    """How often TensorBoard has each tag of the scalars and images of a folder."""
    accumulated = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = accumulated.Tags()
    counts = Counter({tag: len(accumulated.Scalars(tag)) for tag in tags["scalars"]})
    counts.update({tag: len(accumulated.Images(tag)) for tag in tags["images"]})
    return counts


def test_the_records_are_those_that_tensorboard_reads(tmp_path: Path) -> None:
    log = MarkedEvents(tmp_path)
    for number in range(3):
        log.write(f"curve {number}", value("loss", number), number + 7)
    path = event_file(tmp_path)
    found = [event for event, _ in events(path)]
    assert found == list(LegacyEventFileLoader(str(path)).Load())
    assert found[0].file_version == "brain.Event:2"
    assert [event.step for event in found[1:]] == [7, 8, 9]
    assert log.steps == MarkedEvents(tmp_path).steps == {"curve 0": 7, "curve 1": 8, "curve 2": 9}


def test_tensorboard_shows_values_and_no_marks(tmp_path: Path) -> None:
    MarkedEvents(tmp_path).write("curve", value("loss"), 1)
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert {kind: names for kind, names in tags.items() if names} == {"scalars": ["loss"]}


def test_nothing_is_written_twice_by_any_process(tmp_path: Path) -> None:
    first, second = MarkedEvents(tmp_path, rank=0), MarkedEvents(tmp_path, rank=1)
    for log in (first, second, MarkedEvents(tmp_path)):
        log.write("curve", value("loss"), 1)
    assert shown(tmp_path) == {"loss": 1}


def test_steps_of_a_curve_rise_whoever_writes_its_points(tmp_path: Path) -> None:
    first, second = MarkedEvents(tmp_path, rank=0), MarkedEvents(tmp_path, rank=1)
    for number, (log, step) in enumerate([(first, 1), (second, 1), (second, 2), (first, 3), (first, 8)]):
        log.write(f"curve {number}", value("loss", number), step)
        log.write(f"picture {number}", [Summary.Value(tag=str(number), image=Summary.Image())], 0)
    # One file, as TensorBoard reads the files one after the other, and drops what a smaller step follows.
    points = [event for event, _ in events(event_file(tmp_path)) if event.step]
    assert [event.step for event in points] == [1, 2, 3, 4, 8]
    assert [event.summary.value[0].simple_value for event in points] == [0, 1, 2, 3, 4]
    assert MarkedEvents(tmp_path).steps == first.steps | second.steps


def test_a_file_that_ends_with_half_a_record_is_not_written_to(tmp_path: Path) -> None:
    MarkedEvents(tmp_path).write("first", value("a"), 1)
    broken = event_file(tmp_path)
    os.truncate(broken, broken.stat().st_size - 1)
    MarkedEvents(tmp_path).write("first", value("a"), 1)
    MarkedEvents(tmp_path).write("second", value("b"), 2)
    assert [path == broken for path in sorted(tmp_path.glob("events.*"))] == [True, False]
    assert shown(tmp_path) == {"a": 1, "b": 1}


@pytest.mark.parametrize("stamp", ["9999999999.000000", "0000000001.000000"], ids=["later", "earlier"])
def test_after_a_training_has_gone_on_a_new_file_is_begun(tmp_path: Path, stamp: str) -> None:
    """TensorBoard, having come to the training's events, looks at no earlier file again."""
    MarkedEvents(tmp_path).write("first", value("a"), 1)
    (former,) = tmp_path.glob("events.*")
    (tmp_path / f"events.out.tfevents.{stamp}.host.1.0").touch()
    resumed = MarkedEvents(tmp_path)
    for step in (2, 3):  # one new file for both, whatever its name
        resumed.write(f"number {step}", value("b"), step)
    new = set(tmp_path.glob("events.*.explain")) - {former}
    assert len(new) == (stamp > "1")


def test_a_run_that_has_nothing_to_write_leaves_no_file(tmp_path: Path) -> None:
    MarkedEvents(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [5, 14, 60, -20, -1])
def test_a_record_that_was_cut_off_does_not_count_and_is_written_again(tmp_path: Path, left: int) -> None:
    log = MarkedEvents(tmp_path)
    log.write("first", value("a"), 1)
    path = event_file(tmp_path)
    size = path.stat().st_size
    log.write("second", value("b"), 2)
    os.truncate(path, size + left if left > 0 else path.stat().st_size + left)
    again = MarkedEvents(tmp_path)
    assert list(again.steps) == ["first"]
    again.write("second", value("b"), 2)
    assert shown(tmp_path) == {"a": 1, "b": 1}


def test_what_follows_a_damaged_length_is_not_read(tmp_path: Path) -> None:
    log = MarkedEvents(tmp_path)
    log.write("first", value("a"), 1)
    with event_file(tmp_path).open("ab") as file:
        file.write(bytes(100))
    assert list(MarkedEvents(tmp_path).steps) == ["first"]


def test_a_mark_that_a_disk_has_changed_ends_no_run(tmp_path: Path) -> None:
    log = MarkedEvents(tmp_path)
    log.write("a picture", value("a"), 1)
    path = event_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"a picture", b"a pi\xffture"))
    assert "a picture" not in MarkedEvents(tmp_path)


def test_a_full_disk_is_told_with_the_file_which_stays_whole(tmp_path: Path) -> None:
    path = new_event_file(tmp_path)
    size = append_record(path, record(value("a")))
    with full_from(size + 20), pytest.raises(OSError, match=r"events\.out\.tfevents"):
        append_record(path, record(value("b")))
    append_record(path, record(value("c")))
    assert shown(tmp_path) == {"a": 1, "c": 1}


def test_a_disk_that_is_full_from_the_start_gets_the_whole_file_later(tmp_path: Path) -> None:
    path = new_event_file(tmp_path)
    with full_from(10), pytest.raises(OSError, match=r"events\.out\.tfevents"):
        append_record(path, record(value("a")))
    append_record(path, record(value("a")))
    assert shown(tmp_path) == {"a": 1}


@pytest.mark.slow
def test_one_process_at_a_time_is_the_only_writer(tmp_path: Path) -> None:
    with MarkedEvents(tmp_path).only_writer() as is_alone:
        assert is_alone
        process = start(tmp_path)
        time.sleep(0.2)
        assert process.poll() is None
        assert shown(tmp_path) == {}
    process.communicate()
    assert len(shown(tmp_path)) == 2 * NUM_PICTURES


def test_without_locks_records_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.ENOTSUP)
    log = MarkedEvents(tmp_path)
    log.write("curve", value("loss"), 1)
    with log.only_writer() as is_alone:
        assert not is_alone
    assert shown(tmp_path) == {"loss": 1}


def test_a_process_that_is_paused_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.report.events._PATIENCE_SECONDS", 0.1)
    waited = []
    paused, log = MarkedEvents(tmp_path), MarkedEvents(tmp_path)
    acquire = FileLock.acquire

    def noted(lock: FileLock, timeout: float, **options: Any) -> Any:
        waited.append(timeout)
        return acquire(lock, timeout, **options)

    monkeypatch.setattr("filelock.FileLock.acquire", noted)
    with paused.only_writer():
        for number in range(3):
            log.write(f"curve {number}", value("loss"), number)
    for number in range(3, 5):
        log.write(f"curve {number}", value("loss"), number)
    assert waited == [0.1, 0.1, 0, 0, 0, 0.1]
    assert shown(tmp_path) == {"loss": 5}


def test_an_event_file_that_cannot_be_read_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.out.tfevents.1.explain.0").mkdir()
    log = MarkedEvents(tmp_path)
    log.write("curve", value("loss"), 1)
    assert list(log.steps) == ["curve"]
    (message,) = caplog.messages
    assert "events.out.tfevents.1.explain.0" in message


@pytest.mark.slow
def test_after_kills_everything_is_there_exactly_once(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for _ in range(3):
        process = start(tmp_path)
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        process.communicate()
    last = start(tmp_path)
    last.communicate()
    assert last.returncode == 0
    everything = [name for number in range(NUM_PICTURES) for name in (f"{number}/figure", str(number))]
    assert shown(tmp_path) == dict.fromkeys(everything, 1)


@pytest.mark.slow
def test_two_processes_at_once_write_everything_exactly_once(tmp_path: Path) -> None:
    with MarkedEvents(tmp_path).only_writer():  # so that both begin at the same time
        processes = [start(tmp_path), start(tmp_path, backwards=True)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert event_file(tmp_path)
    everything = [name for number in range(NUM_PICTURES) for name in (f"{number}/figure", str(number))]
    assert shown(tmp_path) == dict.fromkeys(everything, 1)
