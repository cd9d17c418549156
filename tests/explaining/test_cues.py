import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_explanation, write_sound

from speechshap.cli.explain import explain
from speechshap.data.cues import CUES
from speechshap.data.cues import cues as measure
from speechshap.explaining import cues
from speechshap.explaining.cues import with_cues
from speechshap.results.cue_means import cue_means
from speechshap.results.estimate import Estimate
from speechshap.results.folder import ResultsFolder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the sounds that were measured."""
    lengths = []

    def counted(waveform: np.ndarray, grid: Any) -> dict[str, np.ndarray]:
        lengths.append(len(waveform))
        return measure(waveform, grid)

    monkeypatch.setattr(cues, "cues", counted)
    monkeypatch.setattr(cues, "_measured", {})
    return lengths


def sound(seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(seed))


def test_an_utterance_is_measured_without_its_padding(measured: list[int]) -> None:
    explanation = make_explanation(3200 / 16000, targets=("a", "b"))
    found = with_cues(explanation, sound(0)).cues
    assert measured == [3200]
    frames = explanation.frames
    significant = np.where(frames.significant, frames.values, 0.0)
    expected = cue_means(frames.values, significant, measure(sound(0)[:3200].numpy(), explanation.grid))
    assert found is not None
    np.testing.assert_array_equal(found.evidence, expected.evidence)
    np.testing.assert_array_equal(found.rest, expected.rest)


def test_evidence_is_that_of_the_picture(measured: list[int]) -> None:
    """Of longer stretches, where single frames are noise; none is asked for where signs say nothing of the target."""
    explanation = make_explanation(1.0, words=["so"], relative_error=0.7)
    segments = explanation.segments
    assert segments is not None
    values = segments.estimate.values
    known = Estimate(values, 0.05 * np.abs(values), 25)
    explanation = dataclasses.replace(explanation, segments=dataclasses.replace(segments, estimate=known))
    assert explanation.resolution().name == "100 ms"
    found = with_cues(explanation, 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))).cues
    assert found is not None
    assert found.rules == ("significant",)
    sizes = dataclasses.replace(explanation, frames=dataclasses.replace(explanation.frames, is_signed=False))
    unsigned = with_cues(sizes, 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))).cues
    assert unsigned is not None
    assert unsigned.rules == ("top_fifth",)


def test_a_sound_is_measured_once_for_all_methods(measured: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cues, "_KEPT", 2)
    explanation = make_explanation(0.25)
    for seed in (0, 1, 0, 1, 1, 2, 0):
        with_cues(explanation, sound(seed))
    assert len(measured) == 4  # of the last two alone is anything known
    assert len(cues._measured) == 2


@pytest.mark.parametrize("asked", ["true", "false"])
def test_a_run_stores_cues_where_they_are_asked_for(asked: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav")
    explain(
        ["--ckpt_path", str(tiny_checkpoint), "--data.files", str(path),
         "--explain.output_dir", str(tmp_path), "--explain.max_drawn", "0", "--report", "false",
         "--explain.preset", "textbook", "--explain.n_samples", "4", "--explain.cues", asked,
         "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    (row,) = ResultsFolder(tmp_path / "explanations").read()
    assert row["cue_names"] == (list(CUES) if asked == "true" else None)
    if asked == "true":
        assert row["cue_rule"] in ("significant", "top_fifth")
        assert len(row["cue_evidence"]) == len(row["cue_rest"]) == len(CUES)
