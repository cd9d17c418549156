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

from speechshap.report.events import MarkedEvents
from speechshap.report.log import Shown, caption
from speechshap.report.rendering import render
from speechshap.report.settings_summary import COLUMNS, SettingsSummary
from speechshap.report.sound import LONGEST_SOUND_SECONDS
from speechshap.report.tensorboard import ExplanationLog
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
    label = (None, "happy", "sad")[number]
    (made,) = to_rows(
        make_explanation(
            **{"utterance": f"{number}.wav", "label": label, "embedding": embedding, "layers": 2, **fields}
        )
    )
    return {name: made[name] for name in (*GROUPED_BY, *COLUMNS)}


def shown(name: str, seconds: float = 1.0, **fields: Any) -> Shown:
    """An utterance that is explained, with its picture and sounds."""
    explanation = make_explanation(seconds, utterance=name, **fields)
    rendering = render(waveform(seconds), 16000, explanation, 5)
    return Shown(name, name, "figure", str(explanation.targets[0]), caption(explanation), rendering, 16000)


def summarise(log: ExplanationLog, *utterances: list[dict[str, Any]], **settings: Any) -> None:
    log.summary(SettingsSummary(utterances), {"method": "lime", **settings}, 1.0, "abc", 7)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "version_0"
    log = ExplanationLog(folder)
    settings = {"method": "gradient_shap", "n_samples": 50, "targets": "predicted"}
    log.settings(settings, 7)
    for number, name in enumerate(NAMES):
        log.picture(shown(name), 7)
        log.seconds(3.0, name, number + 1)
    log.summary(SettingsSummary([row(number)] for number in range(3)), settings, 3.0, "abc", 7)
    log.compare_settings(7)
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
    sounds = ("the sound", "the evidence alone for happy", "all but the evidence for happy")
    tags = {f"explain/{name}/{sound}" for name in NAMES for sound in sounds}
    assert set(ask(address, "plugin/audio/tags")["version_0"]) == tags


SETTINGS = "version_0/explanations/settings/abc"


def test_histograms_and_curves_are_drawn(driver: Any, address: str) -> None:
    numbers = {"probability", "relative_error", "completeness_gap", "completeness_gap_in_standard_errors"}
    others = {"frame_attribution/happy", "layer_share/layer_1", "layer_share/layer_2"}
    found = ask(address, "plugin/histograms/tags")
    assert set(found[SETTINGS]) == {f"explain/{name}" for name in numbers | others}
    # One of the labelled utterances is predicted right, and the probabilities of the other classes are unknown.
    assert set(ask(address, "plugin/pr_curves/tags")[SETTINGS]) == {"explain/the prediction is right"}
    assert len(elements(driver, f"{address}/#pr_curves", "e.tagName === 'TF-PR-CURVE-CARD'", 1)) == 1
    assert {tag for tags in ask(address, "plugin/scalars/tags").values() for tag in tags} == {"explain/seconds"}


def test_the_cards_are_tables(driver: Any, address: str) -> None:
    cells = elements(driver, f"{address}/#text", "e.tagName === 'TD' && e.textContent === 'gradient_shap'", 3)
    assert len(cells) == 3  # the settings of the run, those of the explanations, and the comparison
    badges = elements(driver, f"{address}/#text", "e.tagName === 'TD' && e.textContent === 'fair'", 3)
    assert len(badges) == 3


def test_explanations_are_not_among_the_hyperparameters_and_the_projector_has_its_labels(address: str) -> None:
    assert ask(address, "plugins_listing")["hparams"]["enabled"] is False
    assert ask(address, "plugin/projector/runs") == [SETTINGS]
    with urllib.request.urlopen(  # noqa: S310, our own server
        f"{address}/data/plugin/projector/metadata?run={SETTINGS}&name=explain"
    ) as answer:
        lines = [line.split("\t") for line in answer.read().decode().splitlines()]
    assert lines[0][:3] == ["label", "prediction", "outcome"]
    assert [line[0] for line in lines[1:]] == ["unknown", "happy", "sad"]
    assert [line[2] for line in lines[1:]] == ["unknown", "right", "wrong"]


def test_no_script_fails(driver: Any, address: str) -> None:
    elements(driver, f"{address}/#images", "e.tagName === 'IMG' && e.naturalWidth === 728", 2)
    severe = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # TensorBoard itself asks for a favicon or a plugin that is not installed: answers of the server, not scripts.
    assert [entry for entry in severe if "Failed to load resource" not in entry["message"]] == []


def test_a_very_long_sound_is_named_and_not_stored(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    log.picture(shown("long.wav", LONGEST_SOUND_SECONDS + 1), 0)
    log.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    tags = found.Tags()
    assert tags["images"] == ["explain/long.wav/figure"]
    assert tags["audio"] == []
    text = str(found.Tensors("explain/long.wav/the sound/text_summary")[0].tensor_proto)
    assert "121 s are too long to be heard here; report.html has the sound, the evidence alone for happy," in text


def images_of(folder: Path) -> list[str]:
    return sorted(EventAccumulator(str(folder)).Reload().Tags()["images"])


def test_names_that_differ_by_a_slash_have_tags_of_their_own(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    for name in ("/a.wav", "a.wav"):
        log.picture(shown(name, 0.1), 0)
    log.close()
    assert images_of(tmp_path) == ["explain/%2Fa.wav/figure", "explain/a.wav/figure"]


def test_all_runs_leave_out_the_folder_that_the_first_one_has_left_out(tmp_path: Path) -> None:
    for folder, names in (("x/y/", ["x/y/1/a.wav"]), ("x/", ["x/y/1/b.wav", "x/a.wav"]), ("", ["1/a.wav"])):
        log = ExplanationLog(tmp_path, common_folder=folder)
        for name in names:
            log.picture(shown(name, 0.1), 0)
        log.close()
    names = ["%2F1/a.wav", "%2Fx/a.wav", "1/a.wav", "1/b.wav"]
    assert images_of(tmp_path) == [f"explain/{name}/figure" for name in names]


def test_a_folder_with_full_names_keeps_them(tmp_path: Path) -> None:
    MarkedEvents(tmp_path).write("picture of an earlier version", [], 0)
    log = ExplanationLog(tmp_path, common_folder="x/")
    log.picture(shown("x/a.wav", 0.1), 0)
    log.close()
    assert images_of(tmp_path) == ["explain/x/a.wav/figure"]


def test_the_command_of_the_card_can_be_copied(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path / "my $(runs)" / "version_0")
    log.settings({}, 0)
    log.close()
    events = EventAccumulator(str(tmp_path / "my $(runs)" / "version_0")).Reload()
    (event,) = events.Tensors("explain/settings/text_summary")
    assert f"--logdir '{tmp_path}/my $(runs)' --samples" in event.tensor_proto.string_val[0].decode()


def summary_tags(folder: Path) -> dict[str, Any]:
    return EventAccumulator(str(folder / "explanations" / "settings" / "abc")).Reload().Tags()


def test_a_class_named_like_a_contrast_has_a_histogram_of_its_own(tmp_path: Path) -> None:
    log = ExplanationLog(tmp_path)
    summarise(log, [{**row(1), "target": "x - y"}, {**row(1), "target": "x", "against": "y"}])
    tags = summary_tags(tmp_path)["histograms"]
    assert {tag.split("/")[-1] for tag in tags if "frame" in tag} == {'"x - y"', "x - y"}


def test_contrasts_of_the_prediction_have_shares_of_the_layers(tmp_path: Path) -> None:
    summarise(ExplanationLog(tmp_path), [{**row(1), "against": "sad"}])
    assert "explain/layer_share/layer_1" in summary_tags(tmp_path)["histograms"]


def test_the_projector_tells_the_error_of_the_predicted_class(tmp_path: Path) -> None:
    summarise(ExplanationLog(tmp_path), [row(1), {**row(1), "target": "sad", "relative_error": 9.0}], [row(2)])
    (metadata,) = tmp_path.glob("**/metadata.tsv")
    assert [line.split("\t")[4] for line in metadata.read_text().splitlines()[1:]] == ["0.20", "0.20"]


def test_one_utterance_and_no_layers_have_a_summary(tmp_path: Path) -> None:
    bare = row(1, layers=0, embedding=None, relative_error=float("inf"))
    nowhere_finite = {**bare, "target": "sad", "frame_attribution": [float("nan")]}
    summarise(ExplanationLog(tmp_path), [bare, nowhere_finite], spectrum=None)
    assert "explain/frame_attribution/happy" in summary_tags(tmp_path)["histograms"]
    assert not list(tmp_path.glob("**/projector_config.pbtxt"))


def test_what_is_unknown_is_left_empty_in_the_summary(tmp_path: Path) -> None:
    gap = Estimate(np.full(1, np.nan, np.float32))
    unknown = {"relative_error": None, "completeness_gap": gap, "prediction": None, "probability": None}
    summarise(ExplanationLog(tmp_path), *([row(number, label=None, **unknown)] for number in range(2)))
    (metadata,) = tmp_path.glob("**/metadata.tsv")
    assert metadata.read_text().splitlines()[1].split("\t") == ["unknown", "none", "unknown", "", "", "0.wav"]
    tags = summary_tags(tmp_path)["histograms"]
    assert set(tags) == {
        f"explain/{name}" for name in ("frame_attribution/happy", "layer_share/layer_1", "layer_share/layer_2")
    }


def test_a_summary_that_went_with_the_results_is_written_again_and_one_that_is_there_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "explanations" / "settings"

    def written() -> dict[Path, int]:
        log = ExplanationLog(tmp_path)
        summarise(log, [row(1)], [row(2)])
        log.compare_settings(7)
        log.close()
        return {path: path.stat().st_mtime_ns for path in folder.glob("**/*") if path.is_file()}

    first = written()
    assert first == written()
    shutil.rmtree(folder)
    assert len(written()) == len(first)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["abc"]
