import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import pytest
from helpers import without_locks

from speechshap.data import read_corpus
from speechshap.data.planted import EMOTIONS, make_planted_corpus, synthesize
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
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        make_planted_corpus(tmp_path / "mine", num_clips=4, duration_seconds=0.5)


def test_emotions_and_speakers_are_dealt_out_evenly(planted_root: Path) -> None:
    rows = list(csv.DictReader((planted_root / "manifest.csv").open()))
    assert len(rows) == 48
    for speaker in {row["speaker"] for row in rows}:
        labels = [row["label"] for row in rows if row["speaker"] == speaker]
        assert sorted(labels) == sorted([*EMOTIONS] * 3)
    for row in rows:
        assert 0 <= float(row["start"]) < float(row["end"]) <= 0.6


def spectrum_and_pitch(sound: np.ndarray) -> tuple[float, float]:
    pitch = librosa.yin(sound, fmin=60, fmax=500, sr=16000)
    return float(librosa.feature.spectral_centroid(y=sound, sr=16000).mean()), float(np.median(pitch))


@pytest.mark.parametrize(("emotion", "pitch_rises", "gets_louder"), [
    ("angry", True, True), ("happy", True, True), ("sad", False, False),
])  # fmt: skip
def test_the_stretch_sounds_like_its_emotion(emotion: str, pitch_rises: bool, gets_louder: bool) -> None:
    inside_louder, inside_higher = 0, 0
    for clip in range(6):
        sound, start, end = synthesize(emotion, speaker_index=clip, duration_seconds=3.0, clip=clip)
        first, last = round(start * 16000), round(end * 16000)
        inside, outside = sound[first:last], np.concatenate([sound[:first], sound[last:]])
        inside_louder += inside.std() > outside.std()
        inside_higher += spectrum_and_pitch(inside)[1] > spectrum_and_pitch(outside)[1]
    assert (inside_louder >= 5) if gets_louder else (inside_louder <= 1)
    assert (inside_higher >= 5) if pitch_rises else (inside_higher <= 1)


def test_only_the_stretch_tells_the_emotion() -> None:
    """Level and timbre differ between the emotions inside the stretch, and not outside of it."""
    inside, outside = {}, {}
    for emotion in EMOTIONS:
        features: dict[str, list[np.ndarray]] = {"inside": [], "outside": []}
        for clip in range(16):
            sound, start, end = synthesize(emotion, speaker_index=clip % 4, duration_seconds=2.0, clip=clip)
            stretch = np.zeros(len(sound), bool)
            stretch[round(start * 16000) : round(end * 16000)] = True
            for name, part in (("inside", sound[stretch]), ("outside", sound[~stretch])):
                level = 20 * np.log10(part.std())
                centroid = librosa.feature.spectral_centroid(y=part, sr=16000).mean() / 100
                features[name].append(np.array([level, centroid]))
        inside[emotion], outside[emotion] = (np.mean(features[name], axis=0) for name in ("inside", "outside"))
    spread_inside = np.ptp(list(inside.values()), axis=0)
    spread_outside = np.ptp(list(outside.values()), axis=0)
    assert (spread_outside < 0.25 * spread_inside).all(), (spread_inside, spread_outside)
    assert spread_outside[0] < 1  # dB


def test_no_clip_reaches_full_scale() -> None:
    peaks = [np.abs(synthesize("angry", clip % 24, 2.0, clip=clip)[0]).max() for clip in range(48)]
    assert max(peaks) < 1
