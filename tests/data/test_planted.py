import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import without_locks

from speechshap.data import read_corpus
from speechshap.data.planted import make_planted_corpus
from speechshap.data.planted_clip import CLASSES, PLANTED_KINDS, PlantedKind, planted_stretches
from speechshap.errors import UserError


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        make_planted_corpus(tmp_path / name, num_clips=4, num_speakers=2, duration_seconds=0.5, seed=seed)
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*")) for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 5
    for file in files[0]:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        assert (tmp_path / "one" / file).read_bytes() != (tmp_path / "three" / file).read_bytes()


def start_making(root: Path, num_clips: int = 48) -> subprocess.Popen[str]:
    """Another process that makes the corpus."""
    code = (
        "from pathlib import Path; from speechshap.data import make_planted_corpus; "
        f"make_planted_corpus(Path({str(root)!r}), num_clips={num_clips}, duration_seconds=0.5)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def wait_for_a_clip(root: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(root.parent.glob(f".{root.name}.*.partial/*/*.wav")):
        assert time.monotonic() < deadline, "no clip was written"
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_make_one_corpus(tmp_path: Path) -> None:
    root = tmp_path / "data" / "planted"
    processes = [start_making(root) for _ in range(3)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert len(read_corpus(root).utterances) == len(list(root.rglob("*.wav"))) == 48
    assert {path.name for path in root.parent.iterdir()} == {"planted"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_leaves_no_half_corpus(tmp_path: Path, number: signal.Signals) -> None:
    root = tmp_path / "planted"
    process = start_making(root, num_clips=5000)
    wait_for_a_clip(root)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert not root.exists()
    assert bool(list(tmp_path.glob(".planted.*.partial"))) == (number == signal.SIGKILL)  # which cannot be answered
    make_planted_corpus(root, num_clips=4, duration_seconds=0.5)
    assert {path.name for path in tmp_path.iterdir()} == {"planted"}


def test_what_was_left_behind_is_removed_though_the_corpus_is_there(tmp_path: Path) -> None:
    make_planted_corpus(tmp_path / "planted", num_clips=4, duration_seconds=0.5)
    for name in (".planted.0123.partial", ".planted.partial"):
        (tmp_path / name / "speaker_00").mkdir(parents=True)
    make_planted_corpus(tmp_path / "planted", num_clips=4, duration_seconds=0.5)
    assert not list(tmp_path.glob("*.partial"))


def test_without_locks_a_corpus_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.ENOLCK)
    of_another = tmp_path / ".planted.0123.partial"
    of_another.mkdir()
    make_planted_corpus(tmp_path / "planted", num_clips=4, duration_seconds=0.5)
    assert len(read_corpus(tmp_path / "planted").utterances) == 4
    assert of_another.exists()


def test_a_corpus_that_is_there_is_kept_and_anything_else_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "planted"
    root.mkdir()
    make_planted_corpus(root, num_clips=4, duration_seconds=0.5)
    written = (root / "manifest.csv").stat().st_mtime_ns
    make_planted_corpus(root, num_clips=4, duration_seconds=0.5)
    assert (root / "manifest.csv").stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"`root`: .*planted is there and holds something else; remove it, or name"):
        make_planted_corpus(root, num_clips=4, duration_seconds=0.5, seed=1)
    with pytest.raises(UserError, match="holds something else"):
        make_planted_corpus(root, "planted_pair", num_clips=4, duration_seconds=0.5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        make_planted_corpus(tmp_path / "mine", num_clips=4, duration_seconds=0.5)


def test_classes_and_speakers_are_dealt_out_evenly(planted_root: Path) -> None:
    rows = list(csv.DictReader((planted_root / "manifest.csv").open()))
    assert len(rows) == 60
    for speaker in {row["speaker"] for row in rows}:
        labels = [row["label"] for row in rows if row["speaker"] == speaker]
        assert sorted(labels) == sorted([*CLASSES] * 3)


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_the_manifest_has_the_truth_of_each_clip(kind: PlantedKind, tmp_path: Path) -> None:
    make_planted_corpus(tmp_path / kind, kind, num_clips=10, num_speakers=2, duration_seconds=0.5, seed=3)
    corpus = read_corpus(tmp_path / kind, kind)
    assert corpus.name == kind
    for utterance in corpus.utterances:
        assert utterance.label is not None
        clip = int(utterance.path.stem.rpartition("_")[2])
        expected = planted_stretches(utterance.label, 0.5, 3, clip, kind)
        assert len(utterance.stretches) == len(expected)
        for stretch, true in zip(utterance.stretches, expected, strict=True):
            assert (stretch.start, stretch.end) == pytest.approx((true.start, true.end), abs=1e-4)
            assert (stretch.low_hz, stretch.high_hz) == (true.low_hz, true.high_hz)
