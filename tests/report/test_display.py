import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import full_from, make_explanation, unmeasured, write_explanation, write_part
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.report.display import Display
from speechshap.report.log import Shown
from speechshap.report.rendering import Rendering
from speechshap.report.selection import Selection
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.estimate import Estimate
from speechshap.results.folder import ResultsFolder


def show(folder: Path, draw: Selection, max_drawn: int = 10, log_every: int = 1) -> EventAccumulator:
    """Show what is in a folder as a run would, and read what TensorBoard got."""
    display = Display([ExplanationLog(folder)], draw, log_every, max_drawn, 5, 7)
    results = ResultsFolder(folder)
    explanations = results.explanations()
    for number, explanation in enumerate(explanations):
        name = (explanation.utterance, explanation.provenance.fingerprint)
        display.took(*name, 3.0, number + 1)
        if display.lacks(*name):
            display.explanation(explanation, np.zeros(explanation.num_samples, np.float32))
    display.finish(results, {"method": "gradient_shap"}, 3.0, explanations[0].provenance.settings_fingerprint)
    display.close()
    return EventAccumulator(str(folder)).Reload()


def drawn(events: EventAccumulator) -> set[str]:
    return {tag.split("/")[1] for tag in events.Tags()["images"]}


@pytest.mark.slow
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


def test_a_picture_has_its_sounds_and_only_the_time_is_a_curve(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", 0.1)
    tags = (events := show(tmp_path, "first")).Tags()
    sounds = ("the sound", "the evidence alone for happy", "all but the evidence for happy")
    assert set(tags["audio"]) == {f"explain/a.wav/{name}" for name in sounds}
    assert tags["scalars"] == ["explain/seconds"]
    assert [(event.step, event.value) for event in events.Scalars("explain/seconds")] == [(1, 3.0)]


@pytest.mark.slow
def test_a_sound_that_is_gone_costs_its_picture_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.wav", "b.wav"):
        write_explanation(tmp_path, name, 0.1)
    (tmp_path / "sounds" / "a.wav").unlink()
    assert drawn(show(tmp_path, "unsure")) == {"b.wav"}
    assert "it is not drawn" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "expected"), [("first", {"a", "b"}), ("unsure", set())])
def test_a_run_that_reads_no_files_warns_of_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, draw: Selection, expected: set[str]
) -> None:
    caplog.set_level("INFO")
    write_part(tmp_path, *(make_explanation(0.1, utterance=name, path="") for name in ("a", "b")))
    assert drawn(show(tmp_path, draw)) == expected
    assert ("2 utterances have no sound file and are not drawn" in caplog.text) == (draw != "first")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.slow
def test_a_limit_that_was_reached_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in ("a.wav", "b.wav"):
        write_explanation(tmp_path, name, 0.1)
    show(tmp_path, "first", max_drawn=1)
    assert "TensorBoard shows 1 of the utterances; raise `max_drawn` to see more" in caplog.text


@pytest.mark.slow
def test_a_picture_that_fails_is_told_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    display = Display([ExplanationLog(tmp_path)], "first", 1, 10, 5, 7)
    broken = make_explanation(utterance="broken.wav", frames=Estimate(np.zeros((1, 3))))
    display.lacks("broken.wav", broken.provenance.fingerprint)
    display.explanation(broken, np.zeros(16000, np.float32))
    display.close()
    assert "1 not drawn: broken.wav" in caplog.text


RENDERING = Rendering(b"", (1, 1), dict.fromkeys(("original", "kept", "removed"), np.zeros(160, np.float32)))


@pytest.mark.parametrize(("drawn", "lacking"), [((), {"0", "2"}), (("0",), {"2"}), (("0", "2"), set())])
def test_a_resumed_run_draws_what_it_would_have_drawn_undisturbed(
    tmp_path: Path, drawn: tuple[str, ...], lacking: set[str]
) -> None:
    log = ExplanationLog(tmp_path)
    for number in range(6):
        if str(number) in drawn:
            log.picture(Shown(str(number), f"fingerprint {number}", "figure", "happy", "", RENDERING, 16000), 7)
    log.close()
    display = Display([ExplanationLog(tmp_path)], "first", log_every=2, max_drawn=2, top_k_frames=5, step=7)
    assert {name for name in map(str, range(6)) if display.lacks(name, "fingerprint")} == lacking


def test_a_sound_under_two_names_is_shown_under_both_and_once(tmp_path: Path) -> None:
    for _ in range(2):
        display = Display([ExplanationLog(tmp_path)], "first", 1, 10, 5, 7)
        for count, name in enumerate(("a", "b")):
            display.took(name, "of both", 1.0, count)
            if display.lacks(name, "of both"):
                explanation = make_explanation(0.1, utterance=name, provenance={"fingerprint": "of both"})
                display.explanation(explanation, np.zeros(1600, np.float32))
        display.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("explain/seconds")] == [0, 1]
    assert {tag: len(events.Images(tag)) for tag in events.Tags()["images"]} == {
        "explain/a/figure": 1, "explain/b/figure": 1
    }  # fmt: skip


class Recorder(ExplanationLog):
    """A log that notes what it is given, and lacks what it has not been given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.given: list[str] = []

    def picture(self, shown: Shown, step: int) -> None:
        self.given.append(shown.key)

    def has_picture(self, key: str) -> bool:
        return key in self.given


def test_a_picture_is_drawn_where_one_of_several_logs_lacks_it(tmp_path: Path) -> None:
    explanation = make_explanation(0.1, utterance="a")
    key = f"{explanation.provenance.fingerprint} a"
    there, lacking = Recorder(tmp_path / "there"), Recorder(tmp_path / "lacking")
    there.given.append(key)
    display = Display([there, lacking], "first", 1, 10, 5, 7)
    assert display.lacks("a", explanation.provenance.fingerprint)
    display.explanation(explanation, np.zeros(1600, np.float32))
    display.close()
    assert lacking.given == [key]


def test_a_rerun_shows_what_a_killed_run_had_no_time_for_and_nothing_twice(tmp_path: Path) -> None:
    for number, label in enumerate(("sad", "happy")):
        write_explanation(tmp_path, f"{number}.wav", 0.1, label=label, layers=2, embedding=np.ones(3))
    results = ResultsFolder(tmp_path)
    key = results.explanations()[0].provenance.settings_fingerprint
    files = []
    for _ in range(2):
        display = Display([ExplanationLog(tmp_path)], "wrong", 1, 10, 5, 7)
        display.finish(results, {"method": "gradient_shap"}, None, key)
        display.close()
        events = EventAccumulator(str(tmp_path)).Reload()
        (folder,) = (path for path in (tmp_path / "explanations" / "settings").iterdir())
        of_settings = EventAccumulator(str(folder)).Reload()
        assert {tag: len(events.Images(tag)) for tag in events.Tags()["images"]} == {"explain/0.wav/figure": 1}
        assert {len(of_settings.Histograms(tag)) for tag in of_settings.Tags()["histograms"]} == {1}
        files.append({path: path.stat().st_mtime_ns for path in tmp_path.glob("**/*") if path.is_file()})
    assert files[0] == files[1]


# ---- runs that end in the middle ----

RUN = """
import logging, sys
from pathlib import Path

import numpy as np
from helpers import write_explanation

from speechshap.report.display import Display
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.folder import ResultsFolder

folder, count = Path(sys.argv[1]), int(sys.argv[2])
logging.basicConfig(format="%(message)s", level=logging.INFO)
results = ResultsFolder(folder / "explanations")
there = {explanation.utterance for explanation in results.explanations()}
log = ExplanationLog(folder)
log.settings({"method": "gradient_shap"}, 7)
display = Display([log], "first", 1, 100, 5, 7)
print("starts", flush=True)
try:
    for number in range(count):
        if f"{number}.wav" not in there:
            write_explanation(results.folder, f"{number}.wav", 0.2)
        (explanation,) = results.explanations(utterance=f"{number}.wav")
        name = (explanation.utterance, explanation.provenance.fingerprint)
        display.took(*name, 1.0, number + 1)
        if display.lacks(*name):
            display.explanation(explanation, np.ones(explanation.num_samples, np.float32))
    print("draws", flush=True)
    display.finish(results, {"method": "gradient_shap"}, 1.0, explanation.provenance.settings_fingerprint)
except KeyboardInterrupt:
    display.close(wait=False)
    sys.exit("interrupted")
try:
    display.close()
except KeyboardInterrupt:
    sys.exit("interrupted")
"""
"""Explains so many utterances as a run does, rows first; those that are there already are only shown."""


def start_run(folder: Path, count: int, until: str, limit: int | None = None) -> subprocess.Popen[str]:
    """Start a run and wait until it says that it has got so far; its files may be limited to so many bytes."""

    environment = {**unmeasured(), "PYTHONPATH": os.pathsep.join(sys.path)}
    with nullcontext() if limit is None else full_from(limit):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(folder), str(count)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == until:
            break
    return process


def times_shown(folder: Path) -> dict[str, set[int]]:
    """How often each of the run's tags is there, by what they are of."""
    everything = {"images": 0, "audio": 0, "scalars": 0, "tensors": 0}
    events = EventAccumulator(str(folder), size_guidance=everything).Reload()
    tags = events.Tags()
    read = {"images": events.Images, "audio": events.Audio, "tensors": events.Tensors}
    counts = {kind: {len(read[kind](tag)) for tag in tags[kind]} for kind in read}
    points = [event.step for event in events.Scalars("explain/seconds")]
    return counts | {"points": {points.count(step) for step in points}, "pictures": {len(tags["images"])}}


COMPLETE = {"images": {1}, "audio": {1}, "tensors": {1}, "points": {1}}


@pytest.mark.slow
def test_after_kills_every_picture_sound_and_curve_is_there_exactly_once(tmp_path: Path) -> None:
    generator, count = np.random.default_rng(0), 5
    for until in ("starts", "draws"):
        process = start_run(tmp_path, count, until)
        time.sleep(generator.uniform(0, 3))
        process.kill()
        process.communicate()
    last = start_run(tmp_path, count, "draws")
    _, said = last.communicate()
    assert last.returncode == 0, said
    assert times_shown(tmp_path) == {**COMPLETE, "pictures": {count}}
    assert len(list((tmp_path / "explanations" / "settings").glob("[!.]*/events.*"))) == 1


@pytest.mark.slow
def test_a_full_disk_costs_pictures_until_the_next_run_and_no_traceback(tmp_path: Path) -> None:
    run = start_run(tmp_path, 6, "draws", limit=150_000)
    _, said = run.communicate()
    assert run.returncode == 0, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "TensorBoard will lack" in line]
    assert re.fullmatch(rf".* File too large: '{re.escape(str(tmp_path))}/events\.out\S+'; .*", line)
    assert "the same command again adds what is missing" in said
    assert len(ResultsFolder(tmp_path / "explanations").explanations()) == 6
    assert times_shown(tmp_path)["pictures"] != {6}
    start_run(tmp_path, 6, "draws").communicate()
    assert times_shown(tmp_path) == {**COMPLETE, "pictures": {6}}


@pytest.mark.slow
@pytest.mark.parametrize("ends_by", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_does_so_at_once_and_without_a_traceback(
    tmp_path: Path, ends_by: signal.Signals
) -> None:
    run = start_run(tmp_path, 30, "draws")
    run.send_signal(ends_by)
    _, said = run.communicate()
    assert run.returncode != 0
    assert said.strip() in ("", "interrupted")
    (drawn,) = times_shown(tmp_path)["pictures"]
    assert drawn < 30


@pytest.mark.slow
@pytest.mark.parametrize("has_sound", [True, False])
def test_methods_are_compared_in_one_picture_for_each_utterance_and_once(tmp_path: Path, has_sound: bool) -> None:
    origins = [{"method": name, "settings_fingerprint": name, "fingerprint": name} for name in ("lime", "energy")]
    for name in ("a.wav", "b.wav", "c.wav"):
        for origin in origins[: 1 if name == "c.wav" else 2]:
            write_explanation(tmp_path, name, 0.1, provenance=origin)
        if not has_sound:
            (tmp_path / "sounds" / name).unlink()
    for _ in range(2):
        display = Display([ExplanationLog(tmp_path)], "first", 2, 10, 5, 7)
        display.compare(ResultsFolder(tmp_path), ["lime", "energy"])
        display.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["images"] == ["explain/a.wav/methods"]
    assert len(events.Images("explain/a.wav/methods")) == 1
    assert events.Tags()["audio"] == []
