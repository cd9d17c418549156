"""The report in a real browser, from a file."""

import base64
import gzip
import io
import json
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from browsing import choose, shown, until
from helpers import Browser, make_explanation, write_explanation, write_part, write_sound
from plotly.offline import get_plotlyjs

from speechshap.errors import UserError
from speechshap.files import locked
from speechshap.report import sound
from speechshap.report.page import write_report
from speechshap.report.page.entry import ReportEntry
from speechshap.results.estimate import Estimate
from speechshap.results.folder import ResultsFolder

HOSTILE = "<img src=x onerror=alert(1)> & </script><b>$x$</b>.wav"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Explanations of nine utterances; the second with all there can be, and one of a hostile name."""
    root = tmp_path_factory.mktemp("explanations")
    write_explanation(root, "first.wav", targets=("happy",), label="happy", probability=0.9, relative_error=0.1)
    write_explanation(
        root, "rich.wav", targets=("sad", "happy", "angry"), layers=3, bands=16, cues=True, label="happy", seconds=2.0
    )
    write_explanation(root, HOSTILE, targets=("<i>sad</i>", "a&b"), label=None)
    write_explanation(root, "one_frame.wav", seconds=0.025, targets=("happy",))
    zeros = np.zeros((1, 49), np.float32)
    write_explanation(root, "zero.wav", targets=("happy",), frames=Estimate(zeros, zeros))
    write_explanation(root, "broken.wav", targets=("happy",), frames=Estimate(zeros + np.nan, zeros + 0.1))
    write_explanation(root, "gone.wav", targets=("happy",), label="happy", probability=0.2)
    write_explanation(
        root, "rich.wav", targets=("sad", "happy"), settings={"n_samples": 200}, label="happy", seconds=2.0
    )
    (root / "sounds" / "gone.wav").unlink()
    write_explanation(
        root, "bare.wav", targets=("arousal", "valence"), label=None, prediction=None, probability=None,
        outputs=np.array([0.71, -0.2], np.float32), relative_error=None,
        completeness_gap=Estimate(np.full(2, np.nan, np.float32)),
    )  # fmt: skip
    amounts = np.abs(np.sin(np.arange(49, dtype=np.float32)))[None]
    write_explanation(
        root, "methods.wav", targets=("happy",), label="happy", frames=Estimate(amounts),
        completeness_gap=Estimate(np.full(1, np.nan, np.float32)),
        provenance={"method": "energy", "settings_fingerprint": "energy", "fingerprint": "energy"},
    )  # fmt: skip
    write_explanation(root, "methods.wav", targets=("happy", "sad"), label="happy", relative_error=0.5)
    write_report(root, {"time": b"\x89PNG"})
    return root


def pixel_of(driver: Any, seconds: float, panel: str) -> tuple[float, float]:
    """Where a moment is on the screen, in a panel of this name."""
    return tuple(
        driver.execute_script(
            """
            const [seconds, panel] = arguments;
            picture.scrollIntoView({ block: "start" });
            const layout = picture._fullLayout;
            const box = picture.getBoundingClientRect();
            const axis = layout[layout.meta.axes[panel].replace("y", "yaxis")];
            const x = layout.xaxis._offset + layout.xaxis.d2p(seconds);
            return [box.left + x, box.top + axis._offset + axis._length / 2];
            """,
            seconds,
            panel,
        )
    )


HOVERED = """
const labels = [...picture.querySelectorAll(".hoverlayer .hovertext .nums")].map((label) => label.textContent);
return labels.filter((label) => label.includes("±"));
"""


CURSOR = """
const box = byId("cursor").getBoundingClientRect();
return secondsAt(box.left + box.width / 2);
"""


def hover(driver: Any, position: tuple[float, float]) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(driver)
    x, y = (round(value) for value in position)
    actions.pointer_action.move_to_location(x - 3, y).move_to_location(x, y).pause(0.3)
    actions.perform()


def click(driver: Any, position: tuple[float, float]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(driver)
    x, y = (round(value) for value in position)
    # The picture looks at what is under the pointer after it has moved.
    actions.pointer_action.move_to_location(x - 3, y).move_to_location(x, y).pause(0.3).click()
    actions.perform()
    ActionChains(driver).pause(0.1).perform()


def test_the_table_lists_filters_and_sorts(page: Any) -> None:
    names = [
        "first.wav",
        "rich.wav",
        HOSTILE,
        "one_frame.wav",
        "zero.wav",
        "broken.wav",
        "gone.wav",
        "bare.wav",
        "methods.wav",
    ]
    assert shown(page) == names
    script = "const [id, value] = arguments; byId(id).value = value; byId(id).dispatchEvent(new Event('input'))"
    for field, value, expected in (
        ("by-outcome", "wrong", ["rich.wav", "one_frame.wav", "zero.wav", "broken.wav"]),
        ("by-outcome", "unknown", [HOSTILE, "bare.wav"]),
        ("by-class", "sad", ["rich.wav", "one_frame.wav", "zero.wav", "broken.wav"]),
        ("by-error", "0.15", ["first.wav", "zero.wav"]),
        ("by-name", "ONE_", ["one_frame.wav"]),
    ):
        page.execute_script("document.getElementById('filters').reset()")
        page.execute_script(script, field, value)
        assert shown(page) == expected
        assert page.find_element("id", "shown").text.startswith(f"{len(expected)} of 9 utterances")
    page.execute_script("document.getElementById('filters').reset(); fillTable()")
    header = "#columns [data-key=error]"
    page.find_element("css selector", f"{header} button").click()
    assert page.find_element("css selector", header).get_attribute("aria-sort") == "ascending"
    assert shown(page)[:2] == ["zero.wav", "first.wav"]
    assert shown(page)[-2:] == ["broken.wav", "bare.wav"]  # unknown last, either way
    page.find_element("css selector", f"{header} button").click()
    assert shown(page)[-4:] == ["first.wav", "zero.wav", "broken.wav", "bare.wav"]
    page.execute_script("state.sort = { key: null, falling: false }; fillTable()")


@pytest.mark.parametrize("panel", ["waveform", "spectrogram", "curves", "frames", "targets", "layers"])
def test_a_click_plays_from_its_moment_in_every_panel(page: Any, panel: str) -> None:
    choose(page, "rich.wav")
    page.execute_script("byId('variant').value = 1; byId('variant').dispatchEvent(new Event('change'))")
    until(lambda: page.execute_script("return picture._fullLayout.yaxis5 !== undefined"))
    page.execute_async_script("state.drawn.then(arguments[0])")
    page.execute_script("player.load()")  # forgets what was played
    until(lambda: page.execute_script("return player.readyState >= 3"))
    click(page, pixel_of(page, 1.2, panel))
    until(lambda: page.execute_script("return player.played.length > 0 && player.played.end(0) > 1.3"))
    assert page.execute_script("return player.played.start(0)") == pytest.approx(1.2, abs=0.021)
    until(lambda: page.execute_script("return state.seconds > 1.22"))
    until(lambda: page.execute_script(CURSOR) == pytest.approx(page.execute_script("return state.seconds"), abs=0.3))
    heights = "return [byId('cursor').getBoundingClientRect().height, picture.querySelector('.bglayer')"
    whole, panels = page.execute_script(f"{heights}.getBoundingClientRect().height]")
    assert whole == pytest.approx(panels, abs=2)  # along all panels
    page.execute_script("player.pause()")


def test_the_pointer_reads_the_frame_that_it_is_over(page: Any, folder: Path) -> None:
    choose(page, "first.wav")
    (explanation,) = ResultsFolder(folder).explanations(utterance="first.wav")
    errors = explanation.frames.standard_error
    assert errors is not None
    near_the_end_of_frame_20 = float(explanation.frame_edges[21]) - 0.004
    hover(page, pixel_of(page, near_the_end_of_frame_20, "frames"))
    (text,) = until(lambda: page.execute_script(HOVERED))
    value = explanation.frames.values[0, 20]
    sign = "+" if value > 0 else "−"
    assert explanation.frames.significant is not None
    doubt = "" if explanation.frames.significant[0, 20] else ", not significant"
    assert text == f"happy: {sign}{abs(value):.2g} ± {2.0639 * errors[0, 20]:.2g} logits{doubt}"


def test_a_click_beside_the_panels_changes_nothing(page: Any) -> None:
    choose(page, "rich.wav")
    page.execute_script("byId('variant').value = 1; byId('variant').dispatchEvent(new Event('change'))")
    until(lambda: page.execute_script("return picture._fullLayout.yaxis5 !== undefined && player.readyState >= 3"))
    x, y = pixel_of(page, 2.0, "layers")
    click(page, (x + 40, y))  # on the bars with the layers' shares
    assert page.execute_script("return [player.paused, player.currentTime]") == [True, 0]


def test_buttons_zoom_around_the_moment(page: Any) -> None:
    choose(page, "first.wav")
    page.execute_async_script("hear(0.8, false).then(arguments[0])")
    page.find_element("id", "closer").click()
    until(lambda: page.execute_script("return picture.layout.xaxis.range[0]") == pytest.approx(0.5, abs=1e-3))
    page.find_element("id", "closer").click()
    until(lambda: page.execute_script("return picture.layout.xaxis.range[1]") == pytest.approx(0.925, abs=1e-3))
    page.find_element("id", "theme").click()
    page.find_element("id", "theme").click()
    page.execute_async_script("state.drawn.then(arguments[0])")
    assert page.execute_script("return picture.layout.xaxis.range[1]") == pytest.approx(0.925, abs=1e-3)
    page.find_element("id", "wider").click()
    page.find_element("id", "wider").click()
    until(lambda: page.execute_script("return picture.layout.xaxis.range") == [0, 1])


def test_targets_and_explanations_are_switched(page: Any, folder: Path) -> None:
    choose(page, "rich.wav")
    options = "return [...byId(arguments[0]).options].map((option) => option.textContent)"
    assert page.execute_script(options, "variant") == ["n_samples 200", "n_samples 50"]
    page.execute_script("byId('variant').value = 1; byId('variant').dispatchEvent(new Event('change'))")
    names = [text.split(" (relative error 0.20, ")[0] for text in page.execute_script(options, "target")]
    (explanation,) = [each for each in ResultsFolder(folder).explanations(utterance="rich.wav") if each.n_draws == 50]
    assert names == [str(target) for target in explanation.targets] == ["sad", "happy", "angry"]
    visible = """
        const number = picture.data.findIndex((trace) => trace.meta?.role === "steps");
        return [picture.data[number + 1].text[0], picture.calcdata[number].map((point) => point.y)];
    """
    for number, name in enumerate(names):
        page.execute_script(f"byId('target').value = {number}; byId('target').dispatchEvent(new Event('change'))")
        page.execute_async_script("state.drawn.then(arguments[0])")
        drawn, values = page.execute_script(visible)
        assert drawn.startswith(f"{name}: ")
        np.testing.assert_allclose(values[:-1], explanation.frames.values[number], rtol=1e-5)
        assert f"Attribution to {name} over time" in page.find_element("id", "said").get_attribute("textContent")


STRIPS = """
const shares = (name) => picture._fullData.map((trace, number) => [trace, number])
    .filter(([trace]) => trace.yaxis === axis && trace.hovertemplate?.startsWith(`${name}: `))
    .map(([, number]) => [...picture.calcdata[number][0].z[0]]);
const axis = picture.layout.meta.axes.compared;
const labels = picture.layout.annotations.filter((each) => each.yref === axis).map((each) => each.text);
return [labels, shares("gradient_shap"), shares("energy"), picture._fullLayout.coloraxis.cmax];
"""


def test_explanations_by_several_methods_are_compared_on_one_scale(page: Any, folder: Path) -> None:
    choose(page, "first.wav")
    assert "compared" not in page.execute_script("return picture.layout.meta.axes")  # there is one
    choose(page, "methods.wav")
    by_shap, by_energy = sorted(
        ResultsFolder(folder).explanations(utterance="methods.wav"), key=lambda each: each.provenance.method == "energy"
    )
    frames, significant = by_shap.frames.values, by_shap.frames.significant
    assert significant is not None
    for number, name in enumerate(("happy", "sad")):
        page.execute_script(f"byId('target').value = {number}; byId('target').dispatchEvent(new Event('change'))")
        page.execute_async_script("state.drawn.then(arguments[0])")
        labels, (pale, sure), of_energy, largest = page.execute_script(STRIPS)
        assert (len(labels), largest) == (2, 100)
        expected = 100 * frames[number] / np.abs(frames[number]).max()
        is_unsure = ~significant[number]
        np.testing.assert_allclose(np.array(sure, float), np.where(is_unsure, np.nan, expected), rtol=1e-5)
        np.testing.assert_allclose(np.array(pale, float), np.where(is_unsure, expected, np.nan), rtol=1e-5)
        if name == "happy":
            own = np.array(of_energy[0], float)
            np.testing.assert_allclose(
                own, 100 * by_energy.frames.values[0] / by_energy.frames.values[0].max(), rtol=1e-5
            )
        else:
            assert "energy: does not explain sad" in labels


def test_what_is_heard_is_what_the_library_makes(page: Any, folder: Path) -> None:
    choose(page, "first.wav")
    (variant,) = ReportEntry.of(ResultsFolder(folder).explanations(utterance="first.wav")).variants
    explanation, waveform = variant.explanation, variant.waveform
    assert waveform is not None
    envelopes = sound.heard(explanation)
    assert list(envelopes) == ["original", "kept", "removed", "weighted"]
    expected = sound.equal_loudness({name: own.apply(waveform, 16000) for name, own in envelopes.items()})
    for name, samples in expected.items():
        page.execute_script("document.querySelector(`input[value=${arguments[0]}]`).click()", name)
        until(lambda name=name: page.execute_script("return player.dataset.key.endsWith(arguments[0])", name))
        encoded = page.execute_script(
            """
            const bytes = new Uint8Array(withGain(state.pcm, targetNow().sounds[arguments[0]]).buffer);
            return btoa([...bytes].map((byte) => String.fromCharCode(byte)).join(""));
            """,
            name,
        )
        heard = np.frombuffer(base64.b64decode(encoded), dtype=np.int16) / 32767
        np.testing.assert_allclose(heard, samples, atol=2e-4)
    page.execute_script("document.querySelector('input[value=original]').click()")


def test_keys_reach_every_moment(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(page, "first.wav")
    slider = page.find_element("id", "moment")
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    until(lambda: slider.get_attribute("aria-valuetext").startswith("0.04 s: "))
    assert slider.get_attribute("aria-valuetext").endswith(" logits")
    until(lambda: abs(page.execute_script("return player.currentTime") - 0.0425) < 1e-3)
    moments = page.find_elements("css selector", "#strongest button")
    assert len(moments) == 20
    assert moments[0].get_attribute("aria-label").startswith("Play from ")
    moments[0].send_keys(Keys.ENTER)
    until(lambda: page.execute_script("return !player.paused || player.ended"))
    page.execute_script("player.pause()")
    nameless = page.execute_script(
        """
        const controls = [...document.querySelectorAll("button, input, select, a[href]")];
        return controls.filter((c) => !(c.textContent.trim() || c.labels?.length || c.getAttribute("aria-label")))
            .filter((c) => !picture.contains(c)).length
        """
    )
    assert nameless == 0


def test_strongest_moments_speak_of_the_target_where_their_signs_do(page: Any) -> None:
    choose(page, "first.wav")
    heading = page.find_element("id", "strongest-heading")
    assert heading.text.startswith("Strongest moments for (+) and against (−) happy, in logits")
    page.execute_script("variantNow().signed = false; showTarget()")
    assert heading.text.startswith("Strongest moments, in logits")
    page.execute_script("variantNow().signed = true; showTarget()")


def test_the_prosody_of_evidence_and_rest_is_a_table_of_the_target(page: Any, folder: Path) -> None:
    choose(page, "first.wav")
    assert not page.find_element("id", "cues").is_displayed()
    choose(page, "rich.wav")
    (explanation,) = (
        found for found in ResultsFolder(folder).explanations(utterance="rich.wav") if found.cues is not None
    )
    cues = explanation.cues
    assert cues is not None
    change = "byId(arguments[0]).value = arguments[1]; byId(arguments[0]).dispatchEvent(new Event('change'))"
    page.execute_script(change, "variant", 1)
    until(lambda: page.find_element("id", "cues").is_displayed())
    for target in (1, 0):
        page.execute_script(change, "target", target)
        first = [cell.text for cell in page.find_elements("css selector", "#cue-rows tr:first-child > *")]
        assert first == ["pitch (semitones)", f"{cues.evidence[target, 0]:.2f}", f"{cues.rest[target, 0]:.2f}"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zero.wav", "the attribution is 0 everywhere"),
        ("broken.wav", "frames have no finite attribution"),
        ("one_frame.wav", ""),
        (HOSTILE, ""),
    ],
)
def test_odd_utterances_have_a_picture_and_a_sentence(page: Any, name: str, words: str) -> None:
    choose(page, name)
    assert page.find_element("id", "name").text == name
    assert words in page.find_element("id", "reservation").text
    assert page.execute_script("return document.querySelectorAll('#picture .main-svg').length") > 0
    titles = page.execute_script(
        "return picture.layout.annotations.filter((a) => a.yref === 'paper').map((a) => a.name)"
    )
    assert titles == ["waveform", "spectrogram", "curves", "frames"]
    assert page.execute_script("return document.querySelectorAll('img[src=x]').length") == 0


def test_an_utterance_whose_file_is_gone_is_shown_without_sound(page: Any) -> None:
    choose(page, "gone.wav")
    assert "no sound file" in page.find_element("id", "no-sound").text
    assert not page.find_element("id", "player").is_displayed()
    page.find_elements("css selector", "#strongest button")[0].click()
    assert page.execute_script("return [player.paused, player.readyState]") == [True, 0]  # of the former sound, too
    assert page.execute_script(CURSOR) > 0
    assert page.execute_script("return picture.layout.annotations.map((a) => a.text.split(' ')[0])") == ["frame"]
    choose(page, "first.wav")
    assert page.execute_script("return player.readyState") > 0


def test_a_regression_without_errors_shows_its_outputs_and_no_intervals(page: Any) -> None:
    choose(page, "bare.wav")
    assert page.find_element("id", "facts").text == "predicted arousal 0.71, valence -0.20, no label, 1.00 s"
    cells = "return [...document.querySelector('#rows tr[aria-current=true]').children].map((c) => c.textContent)"
    assert page.execute_script(cells) == [
        "bare.wav", "–", "arousal 0.71, valence -0.20", "–",
        # A sparkline, and in words what it says.
        "significance unknown", "unknown", "–", "1.0",
    ]  # fmt: skip
    assert not page.find_element("id", "reservation").is_displayed()
    texts = [page.find_element("id", name).text for name in ("strongest-heading", "strongest", "at")]
    assert "95 %" not in texts[0]
    assert not any("±" in text for text in texts)
    titles = page.execute_script("return picture.layout.annotations.map((a) => a.text)")
    assert titles[3] == "frame attribution (output units); no errors: significance unknown"
    filled = (
        "return picture.data.filter((trace) => trace.fill && trace.yaxis === picture.layout.meta.axes.frames).length"
    )
    assert page.execute_script(filled) == 0


def test_the_theme_follows_and_can_be_switched(page: Any) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = page.execute_script(ground)
    page.find_element("id", "theme").click()
    assert page.execute_script(ground) != before
    page.execute_async_script("state.drawn.then(arguments[0])")
    ink = page.execute_script("return [style('--ink'), picture.data[0].line.color, picture.layout.font.color]")
    assert len(set(ink)) == 1
    page.find_element("id", "theme").click()
    assert page.execute_script(ground) == before


def test_the_page_may_not_ask_for_anything(page: Any) -> None:
    policy = page.find_element("css selector", "meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    refused = page.execute_async_script("fetch('http://localhost:9').then(arguments[0], () => arguments[0]('refused'))")
    assert refused == "refused"
    # What was tried on purpose is no finding of the others.
    assert "Content Security Policy" in page.get_log("browser")[-1]["message"]
    page.get_log("performance")


def test_no_control_leads_outside(page: Any) -> None:
    choose(page, "first.wav")
    context = page.execute_script("return picture._context")
    assert (context["showSendToCloud"], context["displaylogo"], context["plotlyServerURL"]) == (False, False, "")
    addresses = {name for name, value in context.items() if "http" in json.dumps(value)}
    assert addresses == set()
    links = "return [...document.querySelectorAll('a[href], area[href], form[action], iframe, [data-href]')]"
    assert page.execute_script(f"{links}.map((e) => e.getAttribute('href'))") == ["#viewer"]
    page.get_log("performance")
    page.execute_script(
        """
        window.opened = [];
        window.open = (...asked) => { opened.push(asked); return null; };
        HTMLAnchorElement.prototype.click = function () { opened.push([this.href]); };
        """
    )
    names = page.execute_script(
        """
        const buttons = [...picture.querySelectorAll(".modebar-btn")];
        buttons.forEach((button) => button.click());
        return buttons.map((button) => button.dataset.title ?? button.getAttribute("aria-label"));
        """
    )
    assert "Zoom in" in names
    assert not [name for name in names if re.search("cloud|share|edit|plotly", name, re.IGNORECASE)]
    assert page.execute_script("return opened") == []
    page.find_element("css selector", "[data-save=png]").click()
    until(lambda: page.execute_script("return opened.length"))  # the picture as a file
    assert {url.split(":")[0] for (url,) in page.execute_script("return opened")} <= {"blob", "data"}
    page.refresh()
    until(lambda: page.execute_script("return state.drawn !== undefined && state.pcm !== null"))
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}


def test_a_large_report_is_split_and_its_files_lead_to_each_other(tmp_path: Path, browser: Browser) -> None:
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav")
    (tmp_path / "report-7.html").write_text("of an earlier, larger run")
    (tmp_path / "report-mine.html").write_text("of the user")
    paths = write_report(tmp_path, {}, max_bytes=1)
    assert [path.name for path in paths] == ["report.html", "report-2.html", "report-3.html"]
    assert not (tmp_path / "report-7.html").exists()
    assert (tmp_path / "report-mine.html").exists()
    with browser() as driver:
        driver.get(paths[0].as_uri())
        until(lambda: driver.execute_script("return state.drawn !== undefined"))
        assert shown(driver) == ["0.wav", "1.wav", "2.wav"]
        driver.find_element("link text", "2.wav").click()
        until(lambda: driver.find_elements("id", "name") and driver.find_element("id", "name").text == "2.wav")
        assert driver.current_url.endswith("report-3.html#utterance=2.wav&target=happy")


def test_of_a_draw_the_page_says_of_how_many_and_not_how_many_are_right(tmp_path: Path, browser: Browser) -> None:
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav", label="happy")
    for most, words in ((3, "3 utterances, 3 of 3 with a label predicted right"), (2, "2 utterances")):
        (path,) = write_report(tmp_path, {}, most=most)
        with browser() as driver:
            driver.get(path.as_uri())
            until(lambda: driver.execute_script("return state.drawn !== undefined"))
            assert driver.find_element("id", "counts").text == words
            assert driver.find_element("id", "notes").text.startswith("2 of 3 utterances are shown") == (most == 2)


def test_no_file_is_larger_than_asked_for(tmp_path: Path) -> None:
    for number in range(4):
        write_explanation(tmp_path, f"{number}.wav")
    (whole,) = write_report(tmp_path, {"time": bytes(10_000)})
    payload = whole.stat().st_size - len(get_plotlyjs())
    limit = whole.stat().st_size - payload // 8
    paths = write_report(tmp_path, {"time": bytes(10_000)}, max_bytes=limit)
    assert len(paths) == 2
    assert max(path.stat().st_size for path in paths) <= limit


def test_a_file_that_was_changed_since_is_not_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_explanation(tmp_path, "a.wav")
    write_sound(tmp_path / "sounds" / "a.wav", 2.0)
    write_report(tmp_path, {})
    assert "not the sound that was explained" in caplog.text


def test_an_utterance_of_no_file_is_shown_without_sound_or_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_part(tmp_path, make_explanation(path=""))
    write_report(tmp_path, {})
    (payload,) = ReportEntry.of(ResultsFolder(tmp_path).explanations()).payload()
    assert payload["sound"] is None
    assert not caplog.records


def test_a_file_that_was_explained_anew_has_its_latest_explanation_alone(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", prediction="happy")
    changed = {"fingerprint": "of the new sound"}
    write_explanation(tmp_path, "a.wav", seconds=2.0, provenance=changed, prediction="sad")
    (variant,) = ReportEntry.of(ResultsFolder(tmp_path).explanations(utterance="a.wav")).variants
    assert (variant.explanation.prediction, variant.explanation.duration) == ("sad", 2.0)


def test_a_payload_is_sound_and_whole(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav")
    (path,) = write_report(tmp_path, {})
    packed = path.read_text().split('id="payload-0">')[1].split("<")[0]
    (payload,) = json.loads(gzip.decompress(base64.b64decode(packed)))
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(payload["sound"])))
    original, _ = soundfile.read(tmp_path / "sounds" / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(heard, original / np.abs(original).max() * sound.PEAK, atol=1e-4)


def test_a_method_whose_signs_say_nothing_of_the_target_is_marked(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav", provenance={"method": "energy"})
    write_explanation(tmp_path, "b.wav")
    found = [ReportEntry.of(ResultsFolder(tmp_path).explanations(utterance=name)) for name in ("a.wav", "b.wav")]
    variants = [entry.payload()[0] for entry in found]
    assert [(variant["unit"], variant["signed"]) for variant in variants] == [("energy", False), ("logits", True)]
    title = variants[0]["figure"]["layout"]["annotations"][-1]["text"]
    assert title.startswith("frame attribution (energy)")


def test_a_folder_without_explanations_or_with_old_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no explanations"):
        write_report(tmp_path, {})
    write_explanation(tmp_path / "old", "a.wav")
    (part,) = (tmp_path / "old").glob("*.parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns("settings"), part)
    with pytest.raises(UserError, match="or those of an earlier version only"):
        write_report(tmp_path / "old", {})


def test_an_interruption_leaves_all_files_of_the_former_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav")
    paths = write_report(tmp_path, {}, max_bytes=1)
    before = [path.read_bytes() for path in paths]
    write_explanation(tmp_path, "3.wav")
    written = []

    def interrupted(file: Any, *args: Any) -> None:
        written.append(file.write("half of it"))
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("speechshap.report.page.build.write_document", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path, {}, max_bytes=1)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in tmp_path.glob("*.html")) == sorted(path.name for path in paths)


KILLED = """
import os, signal, sys
from pathlib import Path
from speechshap.report.page import build

build.write_document = lambda file, *_: os.kill(os.getpid(), signal.SIGKILL)
build.write_report(Path(sys.argv[1]), {})
"""


@pytest.mark.slow
def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_explanation(tmp_path, "a.wav")
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".report.html.*.partial"))) == 1
    (path,) = write_report(tmp_path, {})
    assert path.is_file()
    assert not list(tmp_path.glob(".*.partial"))


def test_two_processes_do_not_write_one_report_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_explanation(tmp_path, "a.wav")
    monkeypatch.setattr("speechshap.report.page.build._PATIENCE_SECONDS", 0.1)
    with locked(tmp_path / ".report.lock", 0), pytest.raises(UserError, match="end the process that holds it"):
        write_report(tmp_path, {})
    assert not (tmp_path / "report.html").exists()


def test_without_locks_nothing_is_removed_that_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_explanation(tmp_path, "a.wav")
    (tmp_path / ".report.html.00.partial").touch()
    monkeypatch.setattr("speechshap.report.page.build.locked", lambda *_, **__: nullcontext(False))
    write_report(tmp_path, {})
    assert (tmp_path / ".report.html.00.partial").exists()


def test_nothing_is_left_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_explanation(tmp_path, "a.wav")
    (path,) = write_report(tmp_path, {})
    before = path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechshap.report.page.build.write_document", full)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path, {})
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*partial"))
