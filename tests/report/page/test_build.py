"""What the page shows before an utterance is opened, and what can be taken from it, in a real browser."""

import base64
import csv
import io
import json
import re
import struct
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import choose, shown, until
from corpus_rows import cue_rows
from helpers import Browser, write_explanation
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from speechshap.data.alignment import read_alignment
from speechshap.report.beeswarm import beeswarm
from speechshap.report.page import write_report
from speechshap.report.page.corpus import beeswarm_page_figure
from speechshap.results.estimate import Estimate
from speechshap.results.folder import ResultsFolder

LONG = "<b>pleasantly</b> surprised & overwhelmed…"
RIGHT_TO_LEFT = "سعيد 😀"
PAIRS = [
    ("happy", "happy"), ("happy", "sad"), ("happy", "happy"), ("sad", "sad"), ("sad", LONG), (LONG, LONG),
    (RIGHT_TO_LEFT, "happy"), (RIGHT_TO_LEFT, RIGHT_TO_LEFT),
]  # fmt: skip
"""Labels and predictions of utterances."""

GAPS = {"wide.wav": (0.3, 0.3), "narrow.wav": (-0.2, 0.01), "exact.wav": (0.001, None), "without.wav": (np.nan, None)}
"""Completeness gaps and their errors."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("explanations")
    for number, (label, prediction) in enumerate(PAIRS):
        write_explanation(
            root, f"clips/{number}.wav", targets=(prediction,), label=label, relative_error=(0.1, 0.3, 0.7)[number % 3],
            probability=(0.9999, 0.001, 1.0, 0.5)[number % 4],
        )  # fmt: skip
    write_explanation(
        root, "rich & <rare>.wav", targets=("sad", "happy"), label=None, words=("so", 'a "quote"', "", "no")
    )
    for name, (gap, error) in GAPS.items():
        errors = None if error is None else np.array([error], np.float32)
        estimate = Estimate(np.array([gap], np.float32), errors)
        write_explanation(root, name, targets=("sad",), label=None, completeness_gap=estimate)
    write_report(root, {"time": b"\x89PNG"})
    return root


CELLS = """
return [...document.querySelectorAll("#confusion tr")].map((row) => [...row.children].map((cell) => cell.textContent));
"""


def test_the_overview_counts_what_scikit_learn_counts(page: Any) -> None:
    header, *rows = page.execute_script(CELLS)
    labels, predictions = zip(*PAIRS, strict=True)
    names = header[3:]
    matrix = confusion_matrix(labels, predictions, labels=names)
    assert {row[0] for row in rows} == set(names) == {"happy", "sad", LONG, RIGHT_TO_LEFT}
    for row in rows:
        counts = matrix[names.index(row[0])]
        assert [int(cell) for cell in (row[1], *row[3:])] == [counts.sum(), *counts]
        assert row[2] == f"{100 * counts[names.index(row[0])] / counts.sum():.0f} %"
    recall = balanced_accuracy_score(labels, predictions)
    said = page.find_element("id", "recall").text
    assert said.startswith(f"Balanced recall (UAR) {100 * recall:.0f} %: mean over 4 classes, of 8 utterances")
    assert page.execute_script("return document.querySelectorAll('#confusion b').length") == 0  # names are no HTML


def test_a_count_of_the_overview_shows_its_utterances_until_it_is_released(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    cell = page.find_element(
        "css selector", '#confusion button[aria-label="1 utterance labelled happy, predicted sad"]'
    )
    cell.send_keys(Keys.ENTER)
    assert (shown(page), cell.get_attribute("aria-pressed")) == (["clips/1.wav"], "true")
    assert (
        page.find_element("id", "shown").text == "1 of 13 utterances (labelled happy, predicted sad), 1 of them wrong"
    )
    whole = page.find_element("css selector", '#confusion button[aria-label="3 utterances labelled happy"]')
    whole.send_keys(Keys.SPACE)
    assert shown(page) == ["clips/0.wav", "clips/1.wav", "clips/2.wav"]
    assert cell.get_attribute("aria-pressed") == "false"
    whole.send_keys(Keys.SPACE)
    assert len(shown(page)) == 13
    cell.click()
    page.find_element("css selector", "#filters button[type=reset]").click()
    until(lambda: len(shown(page)) == 13)
    assert cell.get_attribute("aria-pressed") == "false"


def test_utterances_without_labels_are_not_counted_as_right_or_wrong(page: Any) -> None:
    counts = page.find_element("id", "shown")
    assert counts.text == "13 of 13 utterances, 3 of 8 with a label wrong"
    page.execute_script("byId('by-name').value = 'exact'; fillTable()")
    assert counts.text == "1 of 13 utterances, no labels"
    page.execute_script("byId('filters').reset()")
    until(lambda: len(shown(page)) == 13)


@pytest.mark.parametrize("kind", ["unlabelled", "regression", "drawn"])
def test_the_overview_says_nothing_of_what_is_not_known(tmp_path: Path, browser: Browser, kind: str) -> None:
    options: dict[str, Any] = {"label": "happy"} if kind == "drawn" else {"label": None}
    if kind == "regression":
        options |= {"prediction": None, "probability": None, "outputs": np.array([0.5], np.float32)}
    for number in range(3):
        write_explanation(tmp_path, f"{number}.wav", **options)
    (path,) = write_report(tmp_path, {}, most=2 if kind == "drawn" else 3)
    with browser() as driver:
        driver.get(path.as_uri())
        until(lambda: driver.execute_script("return state.drawn !== undefined"))
        overview, counts = driver.find_element("id", "overview"), driver.find_element("id", "counts").text
        assert overview.is_displayed() == (kind == "drawn")
        if kind == "drawn":
            assert driver.execute_script(CELLS) == [["Label", "Number", "happy"], ["happy", "2", "2"]]
            assert "say nothing about how often the model is right" in driver.find_element("id", "recall").text
        else:
            assert counts == "3 utterances, no labels"


def cells(driver: Any, name: str) -> dict[str, str]:
    """Texts of a row by their columns, without what is for screen readers alone."""
    script = """
    const row = [...byId("rows").children].find((each) => each.firstChild.textContent === arguments[0]);
    return Object.fromEntries([...row.children].map((cell) => [cell.className, cell.innerText.trim()]));
    """
    return driver.execute_script(script, name)


def test_a_row_has_its_badge_and_its_gap_with_its_error(page: Any) -> None:
    assert [cells(page, f"clips/{number}.wav")["error"] for number in range(3)] == [
        "sharp 0.10",
        "fair 0.30",
        "noise 0.70",
    ]
    gaps = {name: cells(page, name)["gap"] for name in GAPS}
    assert gaps == {
        "wide.wav": "+0.30 ± 0.30", "narrow.wav": "−0.20 ± 0.01", "exact.wav": "0.00", "without.wav": "–",
    }  # fmt: skip


def test_a_probability_is_never_said_to_be_certain_where_it_is_not(page: Any) -> None:
    assert [cells(page, f"clips/{number}.wav")["probability"] for number in range(4)] == [
        ">99 %",
        "<1 %",
        "100 %",
        "50 %",
    ]


def test_gaps_are_sorted_by_their_size_in_errors(page: Any) -> None:
    page.execute_script("byId('by-class').value = ''; byId('by-name').value = ''; fillTable()")
    header = page.find_element("css selector", "#columns [data-key=gap] button")
    assert header.text == "Gap (logits)"
    header.click()
    names = [name for name in shown(page) if name in GAPS]
    assert names == ["wide.wav", "narrow.wav", "exact.wav", "without.wav"]  # 1 and 20 errors, exact, unknown
    header.click()
    assert [name for name in shown(page) if name in GAPS] == ["exact.wav", "narrow.wav", "wide.wav", "without.wav"]
    page.execute_script("state.sort = { key: null, falling: false }; fillTable()")


def test_a_row_tells_every_target_that_can_be_worse_than_the_first(page: Any) -> None:
    assert cells(page, "rich & <rare>.wav")["error"] == "fair 0.20\n1 other ≤ 0.20"
    summary = page.find_element("css selector", "#rows details summary")
    summary.click()
    items = until(lambda: page.find_elements("css selector", "#rows details li"))
    assert [item.text for item in items] == [f"{name} fair 0.20, gap +0.10 ± 0.10" for name in ("sad", "happy")]
    summary.click()


def test_errors_that_are_unknown_are_counted_apart_from_the_worst_that_is_known(page: Any) -> None:
    said = """
    const other = (error) => ["b", error, error === null ? null : "fair", 0, null];
    const entry = (grade, ...others) => ({ grade, error: grade && 0.1, target: "a", others: others.map(other) });
    return [entry("sharp", 0.3, null), entry("sharp", null, null), entry(null, 0.3, 0.4), entry(null, null)]
        .map((each) => otherTargets(each)[0]?.textContent.trim() ?? "");
    """
    assert page.execute_script(said) == ["1 other ≤ 0.30, 1 unknown fair", "2 unknown", "2 others ≤ 0.40 fair", ""]


def test_the_sparkline_is_for_the_eye_and_has_its_words(page: Any, folder: Path) -> None:
    (explanation,) = ResultsFolder(folder).explanations(utterance="clips/0.wav")
    kept = explanation.resolution().estimate
    assert kept.significant is not None
    script = """
    const row = [...byId("rows").children].find((each) => each.firstChild.textContent === "clips/0.wav");
    const svg = row.querySelector("svg");
    return [svg.getAttribute("aria-hidden"), [...svg.querySelectorAll("path")].map((path) => path.className.baseVal),
        row.querySelector(".spark .unseen").textContent];
    """
    hidden, paths, words = page.execute_script(script)
    assert hidden == "true"
    assert {"for", "against"} <= set(paths)
    assert re.fullmatch(r"something significant in \d+ of 40 parts of the time", words)


def test_what_columns_mean_can_be_read_without_a_pointer(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert page.execute_script("return document.querySelectorAll('#browse [title]').length") == 0
    summary = page.find_element("css selector", "#columns-told summary")
    summary.send_keys(Keys.ENTER)
    legend = page.find_element("id", "legend")
    until(legend.is_displayed)
    for word in ("Relative error", "sharp", "Completeness gap", "standard error"):
        assert word in legend.text
    summary.send_keys(Keys.ENTER)


def test_how_to_read_the_page_is_folded_and_there(page: Any) -> None:
    reading = page.find_element("id", "reading")
    assert "does not mean" not in reading.text
    page.find_element("css selector", "#reading summary").click()
    until(lambda: "does not mean that somebody paused" in reading.text)
    page.find_element("css selector", "#reading summary").click()


def read_blob(driver: Any, made: str) -> bytes:
    """Bytes of a blob that a script makes."""
    script = f"""
    const done = arguments[0];
    Promise.resolve({made}).then(async (blob) => {{
      const bytes = new Uint8Array(await blob.arrayBuffer());
      let text = "";
      for (const byte of bytes) text += String.fromCharCode(byte);
      done(btoa(text));
    }});
    """
    return base64.b64decode(driver.execute_async_script(script))


def test_a_saved_picture_is_for_paper_and_tells_what_it_shows(page: Any) -> None:
    choose(page, "clips/2.wav")
    page.execute_script("setTheme(true)")
    page.execute_async_script("state.drawn.then(arguments[0])")
    page.execute_script("targetNow().reservation = 'mostly noise; take more draws'")
    png, svg = read_blob(page, "savedPicture('png')"), read_blob(page, "savedPicture('svg')").decode()
    assert page.execute_script("return document.documentElement.dataset.theme") == "dark"
    assert png.startswith(b"\x89PNG")
    width, _ = struct.unpack(">II", png[16:24])
    assert width == round(16 / 2.54 * 300)
    for words in (
        "clips/2.wav: attribution to happy (gradient_shap, logits)",
        "Reservation: mostly noise",
        "Orange speaks for",
    ):
        assert words in svg
    assert "fill: rgb(255, 255, 255)" in svg
    assert "rgb(27, 31, 36)" in svg  # the light theme's ink
    assert "rgb(230, 233, 237)" not in svg  # the dark theme's
    page.execute_script("setTheme(false)")


def test_a_name_of_a_file_is_one_on_every_system(page: Any) -> None:
    names = page.execute_script(
        """
        const named = [["03-01-05.wav", "angry", "gradient_shap"], ["../a/b.wav", "x<y>:|?* z", "n_samples 200"]];
        return [...named, [arguments[0]]].map((parts) => fileName(parts, "png"));
        """,
        RIGHT_TO_LEFT,
    )
    assert names == ["03-01-05.wav_angry_gradient_shap.png", "a_b.wav_x_y_z_n_samples_200.png", "سعيد_.png"]


def test_buttons_save_under_telling_names(page: Any) -> None:
    choose(page, "clips/3.wav")
    page.execute_script(
        """
        window.saved = [];
        window.realClick = HTMLAnchorElement.prototype.click;
        HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href.split(":")[0]]); };
        """
    )
    for button in page.find_elements("css selector", "#export [data-save]"):
        button.click()
    until(lambda: len(page.execute_script("return saved")) == 4)
    page.execute_script("HTMLAnchorElement.prototype.click = realClick")
    assert sorted(page.execute_script("return saved")) == [
        [f"clips_3.wav_{rest}", "blob"]
        for rest in (
            "gradient_shap.csv",
            "sad_gradient_shap.TextGrid",
            "sad_gradient_shap.png",
            "sad_gradient_shap.svg",
        )
    ]


def test_the_numbers_of_a_clip_are_a_table(page: Any, folder: Path) -> None:
    choose(page, "rich & <rare>.wav")
    rows = list(csv.DictReader(io.StringIO(page.execute_script("return csvText()"))))
    (explanation,) = ResultsFolder(folder).explanations(utterance="rich & <rare>.wav")
    for target, name in enumerate(map(str, explanation.targets)):
        own = explanation.resolution(target)
        curve = [row for row in rows if (row["target"], row["tier"]) == (name, "curve")]
        reach, significant = own.estimate.reach, own.estimate.significant
        assert reach is not None
        assert significant is not None
        columns = {key: np.array([float(row[key]) for row in curve]) for key in list(curve[0])[6:11]}
        values = own.estimate.values[target]
        np.testing.assert_allclose(columns["start_seconds"], own.edges[:-1], atol=1e-4)
        np.testing.assert_allclose(columns["end_seconds"], own.edges[1:], atol=1e-4)
        np.testing.assert_allclose(columns["attribution"], values, rtol=1e-4)
        np.testing.assert_allclose(columns["interval_low"], values - reach[target], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(columns["interval_high"], values + reach[target], rtol=1e-3, atol=1e-4)
        assert [row["significant"] == "true" for row in curve] == significant[target].tolist()
        assert [row["label"] for row in rows if row["target"] == name and row["tier"] == "words"] == [
            "so",
            'a "quote"',
            "no",
        ]


def test_praats_annotation_is_read_back(page: Any, tmp_path: Path) -> None:
    choose(page, "rich & <rare>.wav")
    path = tmp_path / "a.TextGrid"
    page.execute_script("targetNow().windows = [[0.2, 0.3], [0.9, 1.0]]")
    path.write_text(page.execute_script("return textGrid()"), encoding="utf-8")
    tiers = dict(read_alignment(path))
    assert list(tiers) == ["evidence", "significant", "words"]
    for intervals in tiers.values():  # a tier of Praat has neither gaps nor overlaps
        assert (intervals[0].start, intervals[-1].end) == (0, 1)
        assert [each.start for each in intervals[1:]] == [each.end for each in intervals[:-1]]
    said = [(round(start, 2), round(end, 2), label) for start, end, label in tiers["evidence"] if label]
    assert said == [(0.2, 0.3, "evidence 1"), (0.9, 1.0, "evidence 2")]
    words = [label for *_, label in tiers["words"] if label]
    assert [re.sub(r" [+-].*", "", word) for word in words] == ["so", 'a "quote"', "no"]
    significant, edges = page.execute_script("return [targetNow().significant, targetNow().edges]")
    covered = sum(end - start for start, end, label in tiers["significant"] if label)
    assert covered == pytest.approx(np.diff(edges)[significant].sum(), abs=1e-3)


@pytest.mark.parametrize("odd", ["nothing", "overlapping", "beyond the end"])
def test_a_tier_is_whole_whatever_its_intervals_are(page: Any, odd: str) -> None:
    given = {"nothing": [], "overlapping": [[0.5, 0.8, "b"], [0, 0.6, "a"]], "beyond the end": [[0.9, 2.0, "c"]]}[odd]
    made = page.execute_script("return covered(arguments[0], 1)", given)
    assert (
        made
        == {
            "nothing": [[0, 1, ""]],
            "overlapping": [[0, 0.6, "a"], [0.6, 0.8, "b"], [0.8, 1, ""]],
            "beyond the end": [[0, 0.9, ""], [0.9, 1, "c"]],
        }[odd]
    )


def test_a_link_names_the_utterance_and_the_target(page: Any, folder: Path) -> None:
    choose(page, "rich & <rare>.wav")
    page.execute_script("byId('target').value = 1; byId('target').dispatchEvent(new Event('change'))")
    link = page.current_url
    assert link.endswith("#utterance=rich%20%26%20%3Crare%3E.wav&target=happy")
    page.execute_script("byId('told').textContent = ''")
    page.find_element("id", "copy-link").click()
    told = until(lambda: page.execute_script("return byId('told').textContent || byId('told').firstChild?.value"))
    assert told in ("Copied", link)  # a browser may refuse to write to the clipboard
    choose(page, "wide.wav")
    page.back()
    until(lambda: page.find_element("id", "name").text == "rich & <rare>.wav")
    for hash_, name, target in (
        (link.split("#")[1], "rich & <rare>.wav", "happy"), ("3", "clips/3.wav", "sad"),
        ("nobody", "clips/0.wav", "happy"),
    ):  # fmt: skip
        page.get("about:blank")
        page.get(f"{(folder / 'report.html').as_uri()}#{hash_}")
        until(lambda: page.execute_script("return state.drawn !== undefined && state.pcm !== null"))
        assert page.find_element("id", "name").text == name
        assert page.execute_script("return targetNow().name") == target
    page.get_log("performance")


def test_a_link_to_another_file_of_the_report_is_followed(tmp_path: Path, browser: Browser) -> None:
    for number in range(2):
        write_explanation(tmp_path, f"{number} +&%.wav", targets=("happy", "sad"))
    first, second = write_report(tmp_path, {}, max_bytes=1)
    with browser() as driver:
        driver.get(f"{first.as_uri()}#utterance=1%20%2B%26%25.wav&target=sad")
        until(
            lambda: driver.execute_script("return state.drawn !== undefined") and driver.find_element("id", "name").text
        )
        assert driver.current_url.startswith(second.as_uri())
        assert driver.find_element("id", "name").text == "1 +&%.wav"
        assert driver.execute_script("return targetNow().name") == "sad"


def test_the_theme_is_remembered(page: Any) -> None:
    loaded = "return typeof state !== 'undefined' && state.drawn !== undefined && state.pcm !== null"
    for expected in ("dark", "light"):
        page.find_element("id", "theme").click()
        page.refresh()
        until(lambda: page.execute_script(loaded))
        assert page.execute_script("return document.documentElement.dataset.theme") == expected
    page.get_log("performance")


def test_a_dot_of_a_corpus_figure_opens_its_utterance(page: Any) -> None:
    choose(page, "wide.wav")
    page.execute_script(
        """
        const data = [{ x: [1, 2, 3], y: [1, 2, 3], mode: "markers", type: "scatter",
            customdata: ["clips/4.wav", ["clips/5.wav"], "not shown.wav"] }];
        const made = corpusFigure({ caption: "Everyone", png: btoa("png"), figure: { data, layout: { height: 300 } } });
        byId("figures").append(made);
        window.plot = made.querySelector(".plot");
        """
    )
    assert not page.execute_script("return plot.data")  # out of sight
    page.execute_script("byId('corpus').open = true; plot.scrollIntoView()")
    until(lambda: page.execute_script("return plot.listens"))
    for point, name in ((0, "clips/4.wav"), (1, "clips/5.wav"), (2, "clips/5.wav")):
        page.execute_script(
            "plot.emit('plotly_click', { points: [{ customdata: plot.data[0].customdata[arguments[0]] }] })", point
        )
        until(lambda name=name: page.find_element("id", "name").text == name)


@pytest.mark.slow
def test_on_a_telephone_the_panels_of_a_corpus_figure_lie_below_each_other(tmp_path: Path, browser: Browser) -> None:
    write_explanation(tmp_path, "a.wav")
    swarm = beeswarm(cue_rows({"sad": 5, "happy": 9, "pleasantly surprised": 7}, shift=2.0))
    assert swarm is not None
    (report,) = write_report(tmp_path, {"beeswarm": b"png"}, interactive={"beeswarm": beeswarm_page_figure(swarm)})
    with browser() as driver:
        size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(report.as_uri())
        until(lambda: driver.execute_script("return state.drawn !== undefined"))
        driver.execute_script(
            "byId('corpus').open = true; window.plot = document.querySelector('.plot'); plot.scrollIntoView()"
        )
        until(lambda: driver.execute_script("return plot.listens"))
        columns, texts, width = driver.execute_script(
            """
            const boxes = [...plot.querySelectorAll(".annotation-text, .cbtitle text, .gtitle")]
                .map((each) => each.getBoundingClientRect())
                .map(({ left, right, top, bottom }) => [left, right, top, bottom]);
            const domains = ["", 2, 3].map((number) => plot.layout[`xaxis${number}`].domain);
            return [domains, boxes, document.documentElement.clientWidth];
            """
        )
        assert columns == [[0, 1]] * 3
        assert len(texts) == 6  # of the figure, of the colours, of the axis, and of three panels
        for left, right, *_ in texts:
            assert left >= 0
            assert right <= width
        ordered = sorted(texts, key=lambda box: box[2])
        assert all(upper[3] <= lower[2] + 1 for upper, lower in pairwise(ordered))
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


WIDTHS = (1400, 1024, 390)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Any]:
    """A report of thirty classes with long names."""
    root = tmp_path_factory.mktemp("crowded")
    names = [f"class {number} with a name of forty letters {'x' * 40}"[:40] for number in range(30)]
    for number, name in enumerate(names):
        predicted = names[number - 1]
        others = [each for each in names if each != predicted] if number == 0 else []
        write_explanation(root, f"{'a_long_folder_name' * 3}/{number}.wav", targets=(predicted, *others), label=name)
    (path,) = write_report(root, {})
    with browser() as driver:
        driver.get(path.as_uri())
        yield driver


def at_width(driver: Any, width: int, dark: bool) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.refresh()
    until(lambda: driver.execute_script("return typeof state !== 'undefined' && state.drawn !== undefined"))
    driver.execute_script("setTheme(arguments[0]); byId('overview').open = byId('list').open = true", dark)
    driver.execute_script("byId('reading').open = byId('columns-told').open = true")
    driver.execute_async_script("state.drawn.then(() => setTimeout(arguments[0], 200))")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_screen(crowded: Any, width: int) -> None:
    at_width(crowded, width, dark=False)
    wide = crowded.execute_script(
        """
        const root = document.documentElement;
        return [root.scrollWidth, root.clientWidth, byId("rows").children.length];
        """
    )
    assert wide == [wide[1], wide[1], 30]
    small = crowded.execute_script(
        """
        const controls = "#browse :is(button, select, input, summary, a), #export button";
        return [...document.querySelectorAll(controls)]
            .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
            .filter(([, { width, height }]) => width > 0 && (width < 24 || height < 24)).map(([text]) => text);
        """
    )
    assert small == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(crowded: Any, width: int, dark: bool) -> None:
    at_width(crowded, width, dark)
    crowded.execute_script((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = crowded.execute_async_script(
        """
        const done = arguments[0];
        axe.run(document).then(({ violations }) =>
            done(violations.map(({ id, nodes }) => [id, nodes.slice(0, 3).map((node) => node.html.slice(0, 200))])));
        """
    )
    assert found == [], json.dumps(found, indent=1)
