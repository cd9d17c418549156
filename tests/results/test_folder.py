from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from speechshap.results.folder import SCHEMA, ResultsFolder, by_utterance

SETTINGS = {"method": "gradient_shap", "seed": 0, "n_samples": 5, "baselines": "noise", "fingerprint": "abc"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(utterance: str, target: str = "happy", **changes: object) -> dict[str, object]:
    return {
        **SETTINGS,
        "utterance": utterance,
        "path": f"/x/{utterance}",
        "label": None,
        "prediction": "happy",
        "probability": 0.5,
        "target": target,
        "target_logit": 1.0,
        "hop_seconds": 0.02,
        "frame_attribution": [0.5, -1.0],
        "frame_standard_error": [0.1, 0.2],
        "completeness_gap": 0.0,
        "completeness_gap_standard_error": 0.1,
        "relative_error": 0.3,
        "explained_at": NOON,
        "settings_fingerprint": "s",
        **changes,
    }


def test_parts_load_with_pandas_as_one_table(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path, rank=0)
    assert [first.write([row("a.wav"), row("b.wav")]).name, first.write([row("c.wav")]).name] == [
        "part-0-00000.parquet",
        "part-0-00001.parquet",
    ]
    assert ResultsFolder(tmp_path, rank=1).write([row("d.wav", label="sad")]).name == "part-1-00000.parquet"
    assert ResultsFolder(tmp_path, rank=0).next_number == 2
    table = pd.read_parquet(tmp_path)
    assert sorted(table.utterance) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert list(table.columns) == SCHEMA.names
    assert table.frame_attribution[0].tolist() == [0.5, -1.0]
    assert table.label.isna().sum() == 3


def test_what_is_explained_is_known_by_target_and_fingerprint(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    assert folder.explained() == set()
    folder.write([row("a.wav"), row("a.wav", "sad"), row("b.wav", fingerprint="xyz")])
    ResultsFolder(tmp_path, rank=3).write([row("c.wav")])
    assert folder.explained() == {
        ("a.wav", "happy", "abc"),
        ("a.wav", "sad", "abc"),
        ("b.wav", "happy", "xyz"),
        ("c.wav", "happy", "abc"),
    }


def test_rows_are_found_by_settings_and_utterance(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    first = folder.write([row("a.wav"), row("b.wav", settings_fingerprint="t")])
    second = folder.write([row("a.wav", settings_fingerprint="t"), row("old.wav", explained_at=None)])
    assert [found["utterance"] for found in folder.read(settings="t")] == ["b.wav", "a.wav"]
    assert folder.read(("target",), utterance="b.wav") == [{"target": "happy"}]
    assert folder.places() == {"a.wav": [first, second], "b.wav": [first]}  # nothing of an earlier version


def test_of_a_sound_that_was_changed_the_later_rows_stand() -> None:
    later = NOON + timedelta(seconds=1)
    rows = [
        row("a.wav", fingerprint="new", explained_at=later),
        row("b.wav"),
        row("a.wav", fingerprint="old"),
        row("a.wav", "sad", fingerprint="new", explained_at=later),
        row("a.wav", settings_fingerprint="t"),
    ]
    assert by_utterance(rows) == [[rows[0], rows[3]], [rows[1]], [rows[4]]]


def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    with pytest.raises(Exception, match=r"probability|convert|float"):
        folder.write([row("a.wav", probability="high")])
    assert list(tmp_path.iterdir()) == []
