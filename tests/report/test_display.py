from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_explanation, write_explanation, write_part
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.report.display import Display
from speechshap.report.selection import Selection
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import Estimate
from speechshap.results.folder import ResultsFolder


def show(folder: Path, draw: Selection, max_drawn: int = 10, log_every: int = 1) -> EventAccumulator:
    """Show what is in a folder as a run would, and read what TensorBoard got."""
    display = Display(ExplanationLog(folder), draw, log_every, max_drawn, 5, 7)
    results = ResultsFolder(folder)
    explanations = results.explanations()
    for number, explanation in enumerate(explanations):
        waveform = np.zeros(explanation.num_samples, np.float32)
        display.explanation(explanation, waveform, 3.0, number + 1)
    display.finish(results, {"method": "gradient_shap"}, 3.0, explanations[0].provenance.settings_fingerprint)
    display.close()
    return EventAccumulator(str(folder)).Reload()


def drawn(events: EventAccumulator) -> set[str]:
    return {tag.split("/")[1] for tag in events.Tags()["images"]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"draw": "first", "log_every": 2}, {"0.wav", "2.wav"}),
        ({"draw": "first", "max_drawn": 2}, {"0.wav", "1.wav"}),
        ({"draw": "unsure", "max_drawn": 1}, {"2.wav"}),
        ({"draw": "wrong"}, {"1.wav"}),
        ({"draw": "first", "max_drawn": 0}, set()),
    ],
)
def test_the_chosen_utterances_are_drawn(tmp_path: Path, options: dict[str, Any], expected: set[str]) -> None:
    for number, (label, probability) in enumerate([("happy", 0.9), ("sad", 0.8), ("happy", 0.4), ("happy", 0.7)]):
        write_explanation(tmp_path, f"{number}.wav", 0.1, label=label, probability=probability)
    assert drawn(show(tmp_path, **options)) == expected


def test_a_picture_has_its_sounds_and_curves(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", 0.1)
    events = show(tmp_path, "first")
    assert set(events.Tags()["audio"]) == {f"explain/a.wav/audio/{name}" for name in ("original", "kept", "removed")}
    names = ("completeness_gap", "completeness_gap_lower", "completeness_gap_upper")
    gap, low, high = (events.Scalars(f"explain/{name}")[0].value for name in names)
    assert (gap, low, high) == pytest.approx((0.1, 0.1 - 0.196, 0.1 + 0.196), rel=1e-5)
    assert events.Scalars("explain/relative_error")[0].value == pytest.approx(0.2)
    assert events.Scalars("explain/probability")[0].value == pytest.approx(0.5)


def test_there_are_no_curves_of_what_is_unknown(tmp_path: Path) -> None:
    gap = Estimate(np.full(1, np.nan, np.float32))
    write_explanation(
        tmp_path, "a.wav", 0.1, relative_error=None, completeness_gap=gap, prediction=None, probability=None
    )
    curves = {tag.removeprefix("explain/") for tag in show(tmp_path, "unsure").Tags()["scalars"]}
    assert curves == {"seconds"}


def test_a_sound_that_is_gone_costs_its_picture_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.wav", "b.wav"):
        write_explanation(tmp_path, name, 0.1)
    (tmp_path / "sounds" / "a.wav").unlink()
    assert drawn(show(tmp_path, "unsure")) == {"b.wav"}
    assert "it is not drawn" in caplog.text


@pytest.mark.parametrize(("draw", "expected"), [("first", {"a", "b"}), ("unsure", set())])
def test_a_run_that_reads_no_files_warns_of_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, draw: Selection, expected: set[str]
) -> None:
    caplog.set_level("INFO")
    write_part(tmp_path, *(make_explanation(0.1, utterance=name, path="") for name in ("a", "b")))
    assert drawn(show(tmp_path, draw)) == expected
    assert ("2 utterances have no sound file and are not drawn" in caplog.text) == (draw != "first")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_limit_that_was_reached_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in ("a.wav", "b.wav"):
        write_explanation(tmp_path, name, 0.1)
    show(tmp_path, "first", max_drawn=1)
    assert "TensorBoard shows 1 of the utterances; raise `max_drawn` to see more" in caplog.text


def test_a_picture_that_fails_is_told_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    display = Display(ExplanationLog(tmp_path), "first", 1, 10, 5, 7)
    broken = make_explanation(utterance="broken.wav", frames=Estimate(np.zeros((1, 3))))
    display.explanation(broken, np.zeros(16000, np.float32), 1.0, 1)
    display.close()
    assert "1 not drawn: broken.wav" in caplog.text
