"""The interactive picture in a browser: what is shown, read, heard and selected."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHANGE, choose_number, until
from helpers import REPLICATES, write_explanation

from speechshap.data import Stretch
from speechshap.mel import mel
from speechshap.report.page import write_report
from speechshap.results.estimate import Estimate
from speechshap.results.evidence import Evidence
from speechshap.results.folder import ResultsFolder

LONG = "a class whose name has forty letters, <b>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Explanations with what is known of them, and of noise."""
    root = tmp_path_factory.mktemp("explanations")
    values = np.zeros((2, 49), np.float32)
    values[0, 10:14], values[0, 30:33], values[1, 20] = 2.0, -1.5, 1.0
    frames = Estimate(values + 0.01, np.full_like(values, 0.1), REPLICATES)
    windows = np.array([[0.2, 0.3], [0.5, 0.6]])
    draws = np.array([[0.4, 0.2, 0.6], [np.nan] * 3])
    evidence = Evidence(
        (windows, np.zeros((0, 2))), np.array([0.9, 0.1]), np.array([0.8, np.nan]), np.array([0.2, np.nan]), draws,
        1 - draws,
    )  # fmt: skip
    write_explanation(
        root, "known.wav", targets=("happy", "sad"), frames=frames, evidence=evidence, probability=0.998, label="happy",
        words=["well", "no"], truth=(Stretch(0.2, 0.28), Stretch(0.6, 0.7, 1000.0, 3000.0)), bands=16, layers=2,
        probabilities={"happy": 0.998, "sad": 0.002, LONG: 0.0},
    )  # fmt: skip
    noise = Estimate(np.full((1, 49), 0.01, np.float32), np.ones((1, 49), np.float32), REPLICATES)
    write_explanation(root, "noise.wav", targets=(LONG,), frames=noise, label="happy")
    write_explanation(root, "bare.wav", targets=("happy",), relative_error=None, label="happy")
    write_report(root, {})
    return root


SHAPES = "return picture.layout.shapes.filter((shape) => shape.name === arguments[0])"
KEY = "return [...byId('key').children].map((entry) => entry.textContent)"
FILLS = """
return picture.data.filter((trace) => trace.meta?.role === arguments[0] && trace.fill).flatMap((trace) =>
    trace.y.slice(0, -1).flatMap((value, place) => (value === 0 ? [] : [place])));
"""


def test_what_is_significant_is_filled_and_the_rest_a_thin_line(page: Any) -> None:
    choose_number(page, 0)
    assert page.execute_script(FILLS, "for") == [10, 11, 12, 13]
    assert page.execute_script(FILLS, "against") == [30, 31, 32]
    assert page.execute_script("return picture.data.find((trace) => trace.meta?.role === 'steps').line.width") == 1
    assert sorted(page.execute_script("return targetNow().strongest")) == [10, 11, 12, 13, 30, 31, 32]
    assert len(page.execute_script(SHAPES, "strongest")) == 7
    key = page.execute_script(KEY)
    assert key[:3] == ["speaks for happy", "speaks against happy", "hollow or pale: not significant"]
    assert "known evidence" in key
    colours = page.execute_script("return [style('--ink'), getComputedStyle(byId('cursor')).backgroundColor]")
    red, green, blue = (int(colours[0][place : place + 2], 16) for place in (1, 3, 5))
    assert colours[1] == f"rgb({red}, {green}, {blue})"


def test_noise_has_no_marks_and_no_list_but_a_way_out(page: Any) -> None:
    choose_number(page, 1)
    heading = page.find_element("id", "strongest-heading")
    assert heading.text == "Nothing is significant at this number of draws"
    assert "more draws" in page.find_element("id", "way-out").text
    assert page.find_elements("css selector", "#strongest button") == []
    assert page.execute_script(SHAPES, "strongest") == []
    assert page.execute_script(FILLS, "for") == page.execute_script(FILLS, "against") == []
    disabled = "return [...document.querySelectorAll('input[name=sound]')].map((radio) => radio.disabled)"
    assert page.execute_script(disabled) == [False, True, True, True]
    assert (
        page.find_element("id", "no-evidence").text == f"Nothing speaks significantly for {LONG}: no evidence to hear."
    )


def test_unknown_errors_are_said_to_be_unknown(page: Any) -> None:
    choose_number(page, 2)
    assert "no errors: significance unknown" in page.execute_script(KEY)
    assert len(page.find_elements("css selector", "#strongest button")) == 20
    assert page.execute_script("return byId('target').selectedOptions[0].text") == "happy (error unknown)"


def test_known_evidence_and_what_is_heard_are_drawn_where_they_are(page: Any) -> None:
    choose_number(page, 0)
    bounds = [[shape["x0"], shape["x1"]] for shape in page.execute_script(SHAPES, "truth")]
    assert bounds == [[0.2, 0.28], [0.6, 0.7]]
    assert [[shape["x0"], shape["x1"]] for shape in page.execute_script(SHAPES, "window")] == [[0.2, 0.3], [0.5, 0.6]]
    boxes = page.execute_script(SHAPES, "box")[::2]
    low, high = page.execute_script("return picture.layout.yaxis2.range")
    assert [boxes[0]["y0"], boxes[0]["y1"]] == [low, high]
    np.testing.assert_allclose([boxes[1]["y0"], boxes[1]["y1"]], [mel(1000.0), mel(3000.0)], rtol=1e-6)


def test_beside_the_sounds_is_what_the_model_says_to_them(page: Any) -> None:
    choose_number(page, 0)
    assert page.find_element("id", "answered").text.endswith("probability of happy")
    rows = (
        "return [...byId('sounds').rows].filter((row) => !row.hidden)"
        ".map((row) => row.innerText.trim().split(/\\s*\\t\\s*/))"
    )
    assert page.execute_script(rows) == [
        ["the sound", "0.90"],
        ["the evidence alone", "0.80", "0.40 (0.20 to 0.60)"],
        ["all but the evidence", "0.20", "0.60 (0.40 to 0.80)"],
        ["loud as the attribution"],
    ]
    choose_number(page, 0, 1)
    assert page.execute_script(rows) == [["the sound", "0.10"]]


def test_another_target_leaves_the_focus_where_it_is(page: Any) -> None:
    choose_number(page, 0)
    page.execute_script("document.querySelector('input[name=sound][value=kept]').focus(); showSounds()")
    assert page.execute_script("return document.activeElement.value") == "kept"


def test_without_a_sound_there_are_answers_and_nothing_to_hear(page: Any) -> None:
    choose_number(page, 0)
    told = page.execute_script(
        """
        const { sound } = variantNow();
        variantNow().sound = null;
        showSounds(); showKey();
        const words = [byId("hear").textContent, byId("key").textContent];
        const radios = [...document.querySelectorAll("input[name=sound]")].filter((radio) => !radio.hidden).length;
        variantNow().sound = sound;
        showSounds(); showKey();
        return [...words, radios, byId("hear").textContent];
        """
    )
    assert told[0] == "Sound"
    assert "evidence" in told[1]
    assert "heard" not in told[1]
    assert told[2:] == [0, "Hear"]


@pytest.mark.parametrize("width", [320, 390, 445, 540, 600, 901, 1000, 1400])
def test_what_the_model_answers_is_whole_at_every_width(page: Any, width: int) -> None:
    choose_number(page, 0)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    hidden = page.execute_script("const box = byId('hearing'); return box.scrollWidth - box.clientWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert hidden == 0


def test_no_probability_is_rounded_to_certainty(page: Any) -> None:
    choose_number(page, 0)
    assert page.find_element("id", "facts").text.startswith("predicted happy with >99 %")
    rows = (
        "return [...byId('class-rows').children].map((row) => [row.firstChild.textContent, row.lastChild.textContent])"
    )
    assert page.execute_script(rows) == [["happy", ">99 %"], ["sad", "<1 %"], [LONG, "0 %"]]


def test_the_view_follows_the_cursor_where_it_is_zoomed(page: Any) -> None:
    choose_number(page, 0)
    page.execute_async_script("zoomTo(0, 0.2).then(arguments[0])")
    page.execute_async_script("hear(0.55, false).then(arguments[0])")
    first, last = until(
        lambda: (lambda bounds: bounds if bounds[0] > 0.4 else None)(
            page.execute_script("return picture.layout.xaxis.range")
        )
    )
    assert (last - first, first <= 0.55 <= last) == (pytest.approx(0.2), True)
    page.execute_async_script("zoomTo(0, 1).then(arguments[0])")


def test_a_segment_is_heard_alone_and_stays_selected(page: Any) -> None:
    choose_number(page, 0)
    page.find_elements("css selector", "#segment-rows button")[1].click()
    first, last = until(lambda: page.execute_script("return state.selection"))
    assert (first, last) == (pytest.approx(0.5, abs=0.021), 1.0)
    assert page.find_element("id", "selected").text.startswith(f"{first:.2f} to 1.00 s selected")
    heard = "return withGain(state.pcm, targetNow().sounds.original, arguments[0]).map(Math.abs)"
    inside = np.array(page.execute_script(f"{heard}.slice(8500, 15000).reduce((a, b) => a + b, 0)", [first, last]))
    outside = np.array(page.execute_script(f"{heard}.slice(0, 7600).reduce((a, b) => a + b, 0)", [first, last]))
    assert inside > 0
    assert outside == 0
    until(lambda: page.execute_script("return player.paused && player.currentTime") == pytest.approx(first, abs=0.01))
    page.execute_script("setSelection(null)")


def test_a_click_on_a_bar_hears_its_segment(page: Any) -> None:
    choose_number(page, 0)
    x, y = page.execute_script(
        """
        picture.scrollIntoView();
        const panel = picture.querySelector(`.nsewdrag[data-subplot=x${picture.layout.meta.axes["tier words"]}]`);
        const box = panel.getBoundingClientRect();
        return [box.left + 0.2 * box.width, box.top + box.height / 2];
        """
    )
    drag(page, (x, y), (x, y))
    first, last = until(lambda: page.execute_script("return state.selection"))
    assert (first, last) == (0, pytest.approx(0.5, abs=0.021))
    page.execute_script("player.pause(); setSelection(null)")


def drag(driver: Any, start: tuple[float, float], end: tuple[float, float], key: str | None = None) -> None:
    """Press the pointer at one place of the screen and release it at another, with a key held down."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    if key is not None:
        ActionChains(driver).key_down(key).perform()
    actions = ActionBuilder(driver)
    (x, y), (to_x, to_y) = (map(round, place) for place in (start, end))
    actions.pointer_action.move_to_location(x - 3, y).move_to_location(x, y).pause(0.3).pointer_down()
    actions.pointer_action.move_to_location(to_x, to_y).pause(0.1).pointer_up()
    actions.perform()
    if key is not None:
        ActionChains(driver).key_up(key).perform()


@pytest.mark.parametrize("way", ["shift", "toggle"])
def test_a_stretch_is_selected_by_dragging_and_played_again_and_again(page: Any, way: str) -> None:
    from selenium.webdriver.common.keys import Keys

    choose_number(page, 0)
    if way == "toggle":
        page.find_element("id", "selects").click()
    box = page.execute_script(
        "picture.scrollIntoView(); const box = picture.querySelector('.nsewdrag').getBoundingClientRect();"
        "return [box.left, box.top + 20, box.width]"
    )
    left, y, width = box
    drag(page, (left + 0.2 * width, y), (left + 0.3 * width, y), Keys.SHIFT if way == "shift" else None)
    chosen = until(lambda: page.execute_script("return state.selection"))
    assert chosen == [pytest.approx(0.2, abs=0.01), pytest.approx(0.3, abs=0.01)]
    assert page.execute_script("return picture.layout.xaxis.range") == [0, 1]  # and nothing was zoomed
    marked = page.execute_script(
        "const box = byId('selection').getBoundingClientRect(); return [secondsAt(box.left), secondsAt(box.right)]"
    )
    assert marked == [pytest.approx(0.2, abs=0.02), pytest.approx(0.3, abs=0.02)]
    if way == "toggle":
        page.find_element("id", "selects").click()
    page.find_element("id", "loop").click()
    page.find_element("id", "play-selection").click()
    until(lambda: page.execute_script("return !player.paused"))
    times = [page.execute_script("return player.currentTime") for _ in range(60)]
    assert min(times) >= 0.15
    assert max(times) <= 0.4
    assert not page.execute_script("return player.paused")
    page.find_element("id", "loop").click()
    page.execute_script("player.pause(); setSelection(null)")


def test_keys_play_and_turn_to_the_next_unless_they_are_typed(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> None:
        ActionChains(page).send_keys(key).perform()

    choose_number(page, 0)
    page.execute_script("document.activeElement.blur(); fillTable()")
    press("j")
    until(lambda: page.execute_script("return state.utterance === 1 && state.pcm !== null"))
    press("k")
    until(lambda: page.execute_script("return state.utterance === 0 && state.pcm !== null && player.readyState > 0"))
    press("k")  # there is none before
    assert page.execute_script("return state.utterance") == 0
    page.execute_async_script("hear(0, false).then(arguments[0])")
    press(" ")
    until(lambda: page.execute_script("return !player.paused"))
    press(" ")
    until(lambda: page.execute_script("return player.paused"))
    page.execute_async_script("hear(0.3, false).then(arguments[0])")
    press("]")
    assert page.execute_script("return state.selection") == [0, 0.3]
    press(Keys.ESCAPE)
    assert page.execute_script("return state.selection") is None
    name = page.find_element("id", "by-name")
    name.send_keys("k j")
    assert (name.get_attribute("value"), page.execute_script("return [state.utterance, player.paused]")) == (
        "k j",
        [0, True],
    )
    page.execute_script("byId('filters').reset(); fillTable(); document.activeElement.blur()")


def test_speed_changes_and_pitch_does_not(page: Any) -> None:
    choose_number(page, 0)
    page.execute_script(CHANGE, "speed", "0.5")
    assert page.execute_script("return [player.playbackRate, player.preservesPitch]") == [0.5, True]
    choose_number(page, 2)  # another sound
    assert page.execute_script("return player.playbackRate") == 0.5
    page.execute_script(CHANGE, "speed", "1")


def test_the_slider_reads_layers_too(page: Any, folder: Path) -> None:
    choose_number(page, 0)
    (explanation,) = ResultsFolder(folder).explanations(utterance="known.wav")
    assert explanation.layers is not None
    sums = explanation.layers.frames
    assert sums.reach is not None
    assert sums.significant is not None
    page.execute_script(CHANGE, "layer", "1")
    slider = page.find_element("id", "moment")
    for frame in (0, 7):
        page.execute_script(
            "byId('moment').value = arguments[0]; byId('moment').dispatchEvent(new Event('input'))", frame
        )
        until(lambda frame=frame: page.execute_script("return state.seconds") >= explanation.frame_edges[frame] - 1e-3)
        value, doubt = sums.values[0, 1, frame], "" if sums.significant[0, 1, frame] else ", not significant"
        sign = "+" if value > 0 else "−"
        told = f": layer 2 {sign}{float(f'{abs(value):.2g}')} ± {sums.reach[0, 1, frame]:.2g} logits{doubt}"
        assert slider.get_attribute("aria-valuetext").endswith(told)
    page.execute_script(CHANGE, "layer", "")


def test_the_pointer_reads_time_frequency_level_and_attribution(page: Any) -> None:
    choose_number(page, 0)
    told = page.execute_script(
        """
        const of = (role) => picture.data.find((trace) => trace.meta?.role === role && trace.visible !== false);
        const [levels, cells] = [of("spectrogram"), of("cells")];
        return [levels.hovertemplate, levels.customdata[3][5], cells.hovertemplate, cells.customdata[3][5]];
        """
    )
    assert told[0].startswith("%{x:.2f} s, %{customdata}: %{z} dB")
    assert told[1].endswith("Hz")
    assert told[2].startswith("%{customdata}")
    known = r"[+−]\S+( \(or (less|more)\))? ± \S+( \(or (less|more)\))? logits(, not significant)?"
    assert re.fullmatch(known, told[3])


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_page_and_what_is_touched_is_large_enough(page: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for number in (0, 1, 2):
        choose_number(page, number)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        small = page.execute_script(
            """
            const touched = "#viewer button, #viewer select, #viewer label:has([type=radio])";
            const own = [...document.querySelectorAll(touched)].filter((each) => !picture.contains(each));
            const boxes = own.map((each) => [each.id, each.getBoundingClientRect()]);
            return boxes.filter(([, { width, height }]) => height > 0 && (height < 24 || width < 24)).map(([id]) => id);
            """
        )
        assert small == []
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
