import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import make_explanation, write_explanation, write_part

from speechshap.attribution.targets import Target
from speechshap.data.cues import CUES
from speechshap.errors import UserError
from speechshap.report.summary import CAPTIONS, Summary, write_pair
from speechshap.results.explanation import CueMeans
from speechshap.results.folder import ResultsFolder


def test_a_table_and_a_figure_for_each_aggregate(tmp_path: Path) -> None:
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav", targets=("happy", "sad"), layers=2, bands=8, cues=True)
    pictures = Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert list(pictures) == ["time", "frequency", "layers", "agreement", "cues", "beeswarm"]
    for name, picture in pictures.items():
        assert (tmp_path / "corpus" / f"{name}.png").read_bytes() == picture
        assert picture.startswith(b"\x89PNG")
    table = pd.read_csv(tmp_path / "corpus" / "table.csv")
    assert set(table.quantity) == {"time", "band", "layer", "agreement", "cue", "cue_effect"}
    layers = table[table.quantity == "layer"]
    assert layers.value.sum() == pytest.approx(1)
    assert set(table[table.quantity == "time"].n) == {3}


def test_the_beeswarm_has_an_interactive_figure_with_the_utterances(tmp_path: Path) -> None:
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav", cues=True)
    summary = Summary.read(ResultsFolder(tmp_path))
    found = summary.interactive()
    assert found.keys() <= dict(summary.figures()).keys()
    dots = [trace for trace in found["beeswarm"].data if trace.meta["role"] == "dots"]
    assert {entry[0] for trace in dots for entry in trace.customdata} == {"0.wav", "1.wav", "2.wav"}
    assert set(dots[0].marker.symbol) == {"circle"}  # the rule is read, too
    write_explanation(tmp_path, "0.wav", settings={"n_samples": 20})
    assert Summary.read(ResultsFolder(tmp_path)).interactive() == {}


def test_without_a_known_cue_there_is_no_beeswarm(tmp_path: Path) -> None:
    """Where the evidence is the whole sound, say, nothing is left to compare it with."""
    unknown = np.full((1, len(CUES)), np.nan, np.float32)
    cues = CueMeans(tuple(CUES), unknown, unknown, ("significant",))
    write_part(tmp_path, dataclasses.replace(make_explanation(utterance="a.wav"), cues=cues))
    summary = Summary.read(ResultsFolder(tmp_path))
    assert "beeswarm" not in dict(summary.figures())
    assert summary.interactive() == {}


def test_only_what_was_explained_with_the_latest_settings(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", settings={"n_samples": 10})
    for name in ("b.wav", "c.wav"):
        write_explanation(tmp_path, name, settings={"n_samples": 20, "output": "probability"})
    summary = Summary.read(ResultsFolder(tmp_path))
    assert summary.time is not None
    assert list(summary.time.counts) == [2]
    assert summary.unit == "probability"
    assert summary.bands is summary.layers is summary.agreement is summary.cues is None


def test_a_method_may_have_a_unit_of_its_own(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", provenance={"method": "attention_rollout"})
    assert Summary.read(ResultsFolder(tmp_path)).unit == "attention"


def test_a_file_that_changed_counts_once(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", targets=("happy",))
    write_explanation(tmp_path, "a.wav", targets=("sad",), provenance={"fingerprint": "new"})
    summary = Summary.read(ResultsFolder(tmp_path))
    assert summary.time is not None
    assert (summary.time.emotions, list(summary.time.counts)) == (("sad",), [1])


def test_nothing_to_sum_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no explanations"):
        Summary.read(ResultsFolder(tmp_path))


def test_an_interruption_leaves_the_former_table_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_explanation(tmp_path, "a.wav", targets=("happy", "sad"))
    Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    before = {path.name: path.read_bytes() for path in (tmp_path / "corpus").iterdir()}
    write_explanation(tmp_path, "b.wav", 2.0, targets=("happy", "sad"))
    write_bytes, pictures = Path.write_bytes, iter(range(9))

    def interrupted(path: Path, content: bytes) -> int:
        if next(pictures):
            raise KeyboardInterrupt
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert {path.name: path.read_bytes() for path in (tmp_path / "corpus").iterdir()} == before


def test_figures_of_other_settings_do_not_stay(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", layers=2)
    Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    write_explanation(tmp_path, "a.wav", settings={"n_samples": 20})
    Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == ["table.csv", "time.png"]


def write_two_emotions(folder: Path, **fields: Any) -> None:
    for speaker in ("Anna", "Bert"):
        for emotion in ("happy", "sad"):
            write_explanation(folder, f"{speaker} {emotion}.wav", targets=(emotion,), speaker=speaker, **fields)


def test_emotions_that_several_speakers_have_are_compared(tmp_path: Path) -> None:
    write_two_emotions(tmp_path, bands=8)
    pictures = Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert list(pictures) == ["time", "frequency", "time_compared", "frequency_compared"]
    assert pictures.keys() <= CAPTIONS.keys()
    table = pd.read_csv(tmp_path / "corpus" / "comparison.csv")
    assert set(table.quantity) == {"time", "band"}
    pair = table[table.other == "sad"]
    assert set(pair["class"]) == {"happy"}
    assert (len(pair), set(pair.speakers), pair.paired.all()) == (20 + 8, {2}, True)
    write_explanation(tmp_path, "a.wav", settings={"n_samples": 20})
    Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == ["table.csv", "time.png"]


def test_contrasts_of_the_prediction_have_all_figures(tmp_path: Path) -> None:
    for speaker in ("Anna", "Bert"):
        for emotion in ("happy", "sad"):
            write_explanation(
                tmp_path, f"{speaker} {emotion}.wav", targets=(Target(emotion, "calm"),), prediction=emotion,
                speaker=speaker, layers=2, bands=8, cues=True,
            )  # fmt: skip
    pictures = Summary.read(ResultsFolder(tmp_path)).write(tmp_path / "corpus")
    assert pictures.keys() == CAPTIONS.keys() - {"agreement"}
    assert set(pd.read_csv(tmp_path / "corpus" / "table.csv").emotion) == {"happy - calm", "sad - calm"}
    table = pd.read_csv(write_pair(ResultsFolder(tmp_path), "sad", "happy", tmp_path / "pair").with_suffix(".csv"))
    assert (set(table["class"]), set(table.other)) == ({"sad - calm"}, {"happy - calm"})


def test_a_pair_is_written_as_figure_and_table(tmp_path: Path) -> None:
    write_two_emotions(tmp_path)
    path = write_pair(ResultsFolder(tmp_path), "sad", "happy", tmp_path / "corpus")
    assert path == tmp_path / "corpus" / "sad_against_happy.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(path.with_suffix(".csv"))
    assert (set(table["class"]), set(table.other), len(table)) == ({"sad"}, {"happy"}, 20)


def test_only_the_latest_settings_are_compared(tmp_path: Path) -> None:
    write_two_emotions(tmp_path)
    write_explanation(tmp_path, "a.wav", targets=("calm",), settings={"n_samples": 20})
    with pytest.raises(UserError, match="the prediction happy is never explained; there are calm"):
        write_pair(ResultsFolder(tmp_path), "happy", "sad", tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
