"""Segments of utterances: from their alignments, their voicing, and of equal length."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_sound

from speechshap import EmotionModule, GradientSHAP
from speechshap.attribution import Settings
from speechshap.cli.explain import explain
from speechshap.data.alignment import Interval, Tier
from speechshap.errors import UserError
from speechshap.explaining.options import RunOptions
from speechshap.explaining.segments import aligned_tiers, named_segments
from speechshap.frames import FrameGrid
from speechshap.results.folder import ResultsFolder

TIERS = (("words", [(0.0, 0.05, "sil"), (0.05, 0.2, "so"), (0.2, 0.41, "<b>it</b>")]), ("phones", [(0.05, 0.13, "s")]))


def text_grid(*tiers: tuple[str, list[tuple[float, float, str]]]) -> str:
    """A TextGrid in the short text format."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "9", "<exists>", str(len(tiers))]
    for name, intervals in tiers:
        lines += ['"IntervalTier"', f'"{name}"', "0", "9", str(len(intervals))]
        for start, end, label in intervals:
            lines += [f"{start}", f"{end}", f'"{label}"']
    return "\n".join(lines)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A sound of 0.5 s with its alignment beside it."""
    (tmp_path / "a.TextGrid").write_text(text_grid(*TIERS))
    return write_sound(tmp_path / "a.wav", 0.5)


def spoken(tiers: list[Tier], **settings: object) -> dict[str, list[tuple[str, int, int]]]:
    """Label and bounds of the segments of each tier, of half a second of noise."""
    waveform = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    found = named_segments(tiers, waveform, Settings(**settings), FrameGrid())
    result: dict[str, list[tuple[str, int, int]]] = {}
    for tier, label, bounds in zip(found.tiers, found.labels, found.bounds, strict=True):
        result.setdefault(tier, []).append((label, *bounds))
    return result


def test_each_tier_covers_the_sound_with_whole_frames() -> None:
    # Frames of WavLM are bounded by 0, 0.0225, 0.0425, ... s.
    words = Tier("words", [Interval(0.05, 0.2, "so"), Interval(0.3, 0.41, "it"), Interval(0.41, 7.0, "ends")])
    assert spoken([words])["words"] == [
        ("", 0, 2), ("so", 2, 10), ("", 10, 15), ("it", 15, 20), ("ends", 20, 24)
    ]  # fmt: skip


def test_a_segment_shorter_than_a_frame_has_the_frame_of_its_middle_and_one_behind_the_end_has_none() -> None:
    phones = Tier("phones", [Interval(0.103, 0.109, "t"), Interval(0.6, 0.7, "late")])
    assert ("t", 5, 6) in spoken([phones])["phones"]
    assert "late" not in [label for label, *_ in spoken([phones])["phones"]]


def test_a_ladder_of_resolutions_is_there_in_any_case_and_what_was_asked_for_comes_first() -> None:
    found = spoken([], segment_seconds=0.1)
    assert list(found) == ["100 ms", "40 ms", "200 ms"]  # one stretch of half a second is no resolution
    assert [(first, last) for _, first, last in found["100 ms"]] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 24)]
    assert list(spoken([])) == ["40 ms", "100 ms", "200 ms"]
    named = named_segments([], torch.zeros(8000), Settings(segment_seconds=0.1), FrameGrid())
    assert named.num_asked == 5


def test_voiced_stretches_are_those_of_the_cues() -> None:
    time = torch.arange(16000) / 16000
    hum = sum(torch.sin(2 * torch.pi * 150 * number * time) / number for number in range(1, 8))
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    waveform = torch.where(time < 0.35, hum, torch.where(time < 0.7, 0.3 * noise, 0.0))
    found = named_segments([], waveform, Settings(segments="voiced"), FrameGrid())
    states = [(label, bounds) for tier, label, bounds in zip(*found[:3], strict=True) if tier == "voiced"]
    assert [label for label, _ in states] == ["voiced", "unvoiced", "pause"]
    assert [first for _, (first, _) in states] == pytest.approx([0, 17, 35], abs=3)
    assert found.num_asked == 3


def test_tiers_are_chosen_by_name_also_behind_that_of_the_speaker(
    sound: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def names(segments: str) -> list[str]:
        return [tier.name for tier in aligned_tiers(str(sound), Settings(segments=segments))]

    assert names("all") == ["words", "phones"]
    assert names("phones,voiced") == ["phones"]
    assert names("none") == names("voiced") == []
    assert not caplog.messages
    assert names("syllables,words") == names("syllables,words") == ["words"]
    (message,) = caplog.messages
    assert message.endswith("a.TextGrid: there is no tier syllables (`segments`); it has words, phones")
    sound.with_suffix(".TextGrid").write_text(text_grid(("anna - words", [(0.1, 0.2, "yes")])))
    assert names("words") == ["anna - words"]


def test_a_folder_that_does_not_exist_and_a_length_that_cannot_be() -> None:
    with pytest.raises(UserError, match="`alignments` is nowhere, and there is no such folder"):
        RunOptions(alignments="nowhere")
    for seconds in (0, -0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"`segment_seconds` is .*; expected seconds, above 0"):
            Settings(segment_seconds=seconds)


def run(checkpoint: Path, *arguments: str) -> pd.DataFrame:
    """Rows after a run over ``sounds``, written to ``out``."""
    explain(
        ["--ckpt_path", str(checkpoint), "--data.files", "sounds", "--explain.output_dir", "out",
         "--explain.max_drawn", "0", "--explain.cues", "false", "--report", "false", "--trainer.accelerator", "cpu",
         "--explain.preset", "textbook", "--explain.n_samples", "8", *arguments]
    )  # fmt: skip
    return pd.DataFrame(ResultsFolder(Path("out/explanations")).read())


def tier(row: pd.Series, name: str) -> pd.DataFrame:
    columns = ["tier", "label", "start_seconds", "end_seconds", "attribution", "standard_error"]
    table = pd.DataFrame({column: row[f"segment_{column}"] for column in columns})
    return table[table.tier == name]


@pytest.mark.slow
def test_a_run_explains_the_words_of_a_text_grid_beside_the_sound(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "sounds" / "a.wav", 0.5)
    write_sound(tmp_path / "sounds" / "b.wav", 0.3, seed=1)
    (tmp_path / "sounds" / "a.TextGrid").write_text(text_grid(*TIERS))
    table = run(tiny_checkpoint, "--explain.segment_seconds", "0.1", "--explain.targets", "all").set_index("utterance")
    for _, row in table.loc["sounds/a.wav"].iterrows():
        words = tier(row, "words")
        assert words.label.tolist() == ["", "so", "<b>it</b>", ""]
        edges = FrameGrid().edges(8000).numpy() / 16000
        np.testing.assert_allclose(words.start_seconds, edges[[0, 2, 10, 20]])
        frames = np.array(row.frame_attribution)
        np.testing.assert_allclose(
            words.attribution, [frames[:2].sum(), frames[2:10].sum(), frames[10:20].sum(), frames[20:].sum()], rtol=1e-4
        )
        assert (words.standard_error > 0).all()
        np.testing.assert_allclose(tier(row, "100 ms").attribution.sum(), frames.sum(), rtol=1e-4)
    alone = table.loc["sounds/b.wav"].iloc[0]
    assert set(alone.segment_tier) == {"100 ms", "40 ms", "200 ms"}


@pytest.mark.slow
def test_an_alignment_that_changes_leads_to_a_new_explanation_of_its_utterance(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["anna/a.wav", "b.wav"]):
        write_sound(tmp_path / "sounds" / name, 0.3, seed=seed)
    aligned = tmp_path / "aligned" / "anna" / "a.TextGrid"
    aligned.parent.mkdir(parents=True)
    aligned.write_text(text_grid(*TIERS))
    options = ["--explain.alignments", "aligned", "--explain.segments", "words"]
    first = run(tiny_checkpoint, *options)
    assert len(run(tiny_checkpoint, *options)) == len(first) == 2
    aligned.write_text(text_grid(("words", [(0.0, 0.2, "other")])))
    second = run(tiny_checkpoint, *options)
    assert second.utterance.value_counts().to_dict() == {"sounds/anna/a.wav": 2, "sounds/b.wav": 1}
    last = second[second.utterance == "sounds/anna/a.wav"].sort_values("explained_at").iloc[-1]
    assert tier(last, "words").label.tolist() == ["other", ""]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        aligned.write_text("damaged")
        third = run(tiny_checkpoint, *options)
    assert len(third) == 4  # still explained
    told = [message for message in caplog.messages if "a.TextGrid" in message]
    assert len(told) == 1
    assert "the alignment cannot be read" in told[0]
    assert "its utterance is explained without it" in told[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["occlusion", "energy"])
def test_methods_without_errors_have_the_sums_alone(
    method: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "sounds" / "a.wav", 0.5)
    (tmp_path / "sounds" / "a.csv").write_text("start,end,label\n0.1,0.3,yes\n")
    explain(
        ["--ckpt_path", str(tiny_checkpoint), "--data.files", "sounds", "--explain.output_dir", "out",
         "--explain.max_drawn", "0", "--explain.method", method, "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    (row,) = ResultsFolder(Path("out/explanations")).read()
    assert row["segment_tier"] == ["words"] * 3
    assert row["segment_label"] == ["", "yes", ""]
    assert row["segment_standard_error"] is None
    assert sum(row["segment_attribution"]) == pytest.approx(sum(row["frame_attribution"]), rel=1e-4)


@pytest.mark.slow
def test_draws_go_on_until_the_segments_are_known(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "sounds" / "a.wav", 0.5)
    auto = ["--explain.n_samples", "auto", "--explain.segment_seconds", "0.2", "--explain.tolerance", "0.4"]
    auto += ["--explain.max_samples", "512"]
    (of_frames,) = run(tiny_checkpoint, *auto).to_dict("records")
    rows = run(tiny_checkpoint, *auto, "--explain.converge_on", "segments").to_dict("records")
    of_segments = max(rows, key=lambda row: row["explained_at"])
    assert len(rows) == 2
    assert of_segments["n_samples"] != of_frames["n_samples"]
    stretches = tier(pd.Series(of_segments), "200 ms")
    assert np.linalg.norm(stretches.standard_error) <= 0.4 * np.linalg.norm(stretches.attribution)
    assert of_frames["relative_error"] <= 0.4


def test_a_file_is_explained_with_its_words_from_python(tiny_module: EmotionModule, sound: Path) -> None:
    explainer = GradientSHAP(model=tiny_module, num_samples=8)
    result = explainer.explain(sound, segments="words,voiced", segment_seconds=0.1, progress=False)
    tiers = result["explanation"].read_tiers
    assert [tier.tiers[0] for tier in tiers] == ["words", "voiced", "100 ms"]
    assert tiers[0].labels == ("", "so", "<b>it</b>", "")
    for tier in tiers:
        assert tier.estimate.values.sum() == pytest.approx(float(result["attributions"].sum()), rel=1e-3)
        assert (tier.estimate.standard_error > 0).all()
    assert explainer.explain(sound, resolution="sample", progress=False)["explanation"] is None
