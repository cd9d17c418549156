"""TensorBoard in a real browser, on explanations as a run writes them."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Browser, make_explanation
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.report.rendering import render
from speechshap.report.sound import LONGEST_SOUND_SECONDS
from speechshap.report.tensorboard import SUMMARY_COLUMNS, ExplanationLog
from speechshap.results.estimate import Estimate
from speechshap.results.rows import GROUPED_BY, to_rows

NAMES = ["a/first.wav", "<img src=x onerror=alert(1)>.wav"]

ELEMENTS = """
const within = (element) => [element, ...(element.shadowRoot ? inside(element.shadowRoot) : [])];
const inside = (root) => [...root.querySelectorAll("*")].flatMap(within);
return inside(document)
"""


def waveform(seconds: float = 1.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=round(seconds * 16000)).astype(np.float32)


def row(number: int, **fields: Any) -> dict[str, Any]:
    """Of an utterance with layers and an embedding, as the results have it."""
    embedding = np.array([number, 1, 2], np.float32)
    label = "sad" if number else None
    (made,) = to_rows(
        make_explanation(
            **{"utterance": f"{number}.wav", "label": label, "embedding": embedding, "layers": 2, **fields}
        )
    )
    return {name: made[name] for name in (*GROUPED_BY, *SUMMARY_COLUMNS)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "version_0"
    log = ExplanationLog(folder)
    settings = {"method": "gradient_shap", "n_samples": 50, "targets": "predicted"}
    log.settings(settings, 7)
    for number, name in enumerate(NAMES):
        log.utterance(name, name, render(waveform(), 16000, make_explanation(utterance=name), 5), 16000, 7)
        gap = {"completeness_gap": 0.1, "completeness_gap_lower": -0.1, "completeness_gap_upper": 0.3}
        log.curves({**gap, "relative_error": 0.2, "seconds": 3.0}, name, number + 1)
    log.summary([[row(number)] for number in range(3)], settings, 3.0, "abc", 7)
    log.close()
    return folder


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run.parent), "--port", "0"]
    log = run.parent.parent / "tensorboard.log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        end = time.monotonic() + 60
        while not (found := re.search(r"at (http://localhost:\d+)/", log.read_text())):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        # It answers before it has read the run.
        while "version_0" not in ask(found[1], "runs"):
            assert time.monotonic() < end
            time.sleep(0.1)
        yield found[1]
        process.terminate()


@pytest.fixture(scope="module")
def driver(browser: Browser) -> Iterator[Any]:
    with browser() as opened:
        yield opened


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"{address}/data/{path}") as answer:  # noqa: S310, our own server
        return json.load(answer)


def elements(driver: Any, page: str, condition: str, count: int) -> list[Any]:
    """What a dashboard shows, once there is as much of it."""
    driver.get("about:blank")
    driver.get(page)
    end = time.monotonic() + 60
    while True:
        found = driver.execute_script(f"{ELEMENTS}.filter((e) => {condition})")
        if len(found) >= count:
            return found
        assert time.monotonic() < end, f"{page} shows {len(found)} of {count}"
        time.sleep(0.2)


def test_every_utterance_has_its_picture(driver: Any, address: str) -> None:
    images = elements(driver, f"{address}/#images", "e.tagName === 'IMG' && e.naturalWidth === 728", 2)
    assert len(images) == 2
    assert set(ask(address, "plugin/images/tags")["version_0"]) == {f"explain/{name}/figure" for name in NAMES}
    assert driver.execute_script(f"{ELEMENTS}.filter((e) => e.getAttribute?.('onerror')).length") == 0


def test_every_utterance_has_three_players_that_play(driver: Any, address: str) -> None:
    players = elements(driver, f"{address}/#audio", "e.tagName === 'AUDIO' && e.readyState > 0", 6)
    durations = driver.execute_script("return arguments[0].map((player) => player.duration)", players)
    assert durations == [pytest.approx(1.0, abs=0.01)] * 6
    variants = ("original", "kept", "removed")
    tags = {f"explain/{name}/audio/{variant}" for name in NAMES for variant in variants}
    assert set(ask(address, "plugin/audio/tags")["version_0"]) == tags


def test_curves_histograms_and_the_card_are_drawn(driver: Any, address: str) -> None:
    charts = elements(driver, f"{address}/#custom_scalars", "/^TF-CUSTOM-SCALAR-.*-CHART-CARD$/.test(e.tagName)", 3)
    assert len(charts) == 3
    assert set(ask(address, "plugin/histograms/tags")["version_0"]) == {
        "explain/frame_attribution/happy", "explain/layer_share/layer_1", "explain/layer_share/layer_2"
    }  # fmt: skip
    cells = elements(driver, f"{address}/#text", "e.tagName === 'TD' && e.textContent === 'gradient_shap'", 1)
    assert len(cells) == 1


def test_hyperparameters_have_a_line_and_the_projector_its_labels(driver: Any, address: str) -> None:
    key = "version_0/explanations/settings/abc"
    (session,) = elements(driver, f"{address}/#hparams", f"e.textContent.trim() === '{key}'", 1)[-1:]
    assert session.is_displayed()
    assert ask(address, "plugin/projector/runs") == [key]
    with urllib.request.urlopen(  # noqa: S310, our own server
        f"{address}/data/plugin/projector/metadata?run={key}&name=explain"
    ) as answer:
        lines = [line.split("\t") for line in answer.read().decode().splitlines()]
    assert lines[0][:3] == ["label", "prediction", "outcome"]
    assert [line[0] for line in lines[1:]] == ["unknown", "sad", "sad"]
    assert [line[2] for line in lines[1:]] == ["unknown", "wrong", "wrong"]


def test_no_script_fails(driver: Any, address: str) -> None:
    elements(driver, f"{address}/#images", "e.tagName === 'IMG' && e.naturalWidth === 728", 2)
    severe = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # TensorBoard itself asks for a favicon or a plugin that is not installed: answers of the server, not scripts.
    assert [entry for entry in severe if "Failed to load resource" not in entry["message"]] == []


def test_a_very_long_sound_is_named_and_not_stored(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    seconds = LONGEST_SOUND_SECONDS + 1
    log.utterance("long.wav", "key", render(waveform(seconds), 16000, make_explanation(seconds), 5), 16000, 0)
    log.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = events.Tags()
    assert tags["images"] == ["explain/long.wav/figure"]
    assert tags["audio"] == []
    text = str(events.Tensors("explain/long.wav/audio/text_summary")[0].tensor_proto)
    assert "121 s are too long to be heard here" in text


def test_names_that_differ_by_a_slash_have_tags_of_their_own(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    for name in ("/a.wav", "a.wav"):
        log.utterance(name, name, render(waveform(), 16000, make_explanation(), 5), 16000, 0)
    log.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert sorted(tags["images"]) == ["explain/%2Fa.wav/figure", "explain/a.wav/figure"]


def test_the_command_of_the_card_can_be_copied(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path / "my $(runs)" / "version_0")
    log.settings({}, 0)
    log.close()
    events = EventAccumulator(str(tmp_path / "my $(runs)" / "version_0")).Reload()
    (event,) = events.Tensors("explain/settings/text_summary")
    assert f"--logdir '{tmp_path}/my $(runs)' --samples" in event.tensor_proto.string_val[0].decode()


def test_a_class_named_like_a_contrast_has_a_histogram_of_its_own(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    rows = [{**row(1), "target": "x - y"}, {**row(1), "target": "x", "against": "y"}]
    log.summary([rows], {}, 1.0, "abc", 0)
    log.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["histograms"]
    assert {tag.split("/")[-1] for tag in tags if "frame" in tag} == {'"x - y"', "x - y"}


def test_contrasts_of_the_prediction_have_shares_of_the_layers(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    log.summary([[{**row(1), "against": "sad"}]], {}, 1.0, "abc", 0)
    log.close()
    assert "explain/layer_share/layer_1" in EventAccumulator(str(tmp_path)).Reload().Tags()["histograms"]


def test_the_projector_tells_the_error_of_the_predicted_class(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    log.summary([[row(1), {**row(1), "target": "sad", "relative_error": 9.0}], [row(2)]], {}, 1.0, "abc", 0)
    log.close()
    (metadata,) = tmp_path.glob("**/metadata.tsv")
    assert [line.split("\t")[4] for line in metadata.read_text().splitlines()[1:]] == ["0.20", "0.20"]


def test_one_utterance_and_no_layers_have_a_summary(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    bare = row(1, layers=0, embedding=None, relative_error=float("inf"))
    nowhere_finite = {**bare, "target": "sad", "frame_attribution": [float("nan")]}
    log.summary([[bare, nowhere_finite]], {"spectrum": None}, 0.0, "abc", 0)
    log.summary([], {}, 0.0, "def", 0)
    log.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert tags["histograms"] == ["explain/frame_attribution/happy"]
    assert not list(tmp_path.glob("**/projector_config.pbtxt"))


def test_what_is_unknown_is_left_empty_in_the_summary(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    gap = Estimate(np.full(1, np.nan, np.float32))
    unknown = {"relative_error": None, "completeness_gap": gap, "prediction": None, "probability": None}
    log.summary([[row(number, **unknown)] for number in range(2)], {}, 1.0, "abc", 0)
    log.close()
    (metadata,) = tmp_path.glob("**/metadata.tsv")
    assert metadata.read_text().splitlines()[1].split("\t") == ["unknown", "none", "unknown", "", "", "0.wav"]
    assert "explain/layer_share/layer_1" in EventAccumulator(str(tmp_path)).Reload().Tags()["histograms"]


def test_hyperparameters_that_went_with_the_results_are_written_again(tmp_path: Path) -> None:
    settings = tmp_path / "explanations" / "settings"
    for _ in range(2):
        log = ExplanationLog(tmp_path)
        log.summary([[row(1)], [row(2)]], {}, 1.0, "abc", 0)
        log.close()
        assert [path.name for path in settings.iterdir()] == ["abc"]
        shutil.rmtree(settings.parent)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Histograms("explain/frame_attribution/happy")) == 1
