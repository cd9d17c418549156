"""The page as the output of a notebook's cell, in a browser."""

from pathlib import Path
from typing import Any

import numpy as np
from browsing import until
from helpers import Browser, make_explanation

from speechshap.report.page.embedded import embedded
from speechshap.report.page.entry import ReportEntry, Variant

NAME = '<b>"a" & $b$</b>.wav'


def entry(name: str) -> ReportEntry:
    waveform = 0.1 * np.random.default_rng(0).normal(size=16000).astype(np.float32)
    return ReportEntry([Variant("gradient_shap", make_explanation(targets=("happy", "sad"), utterance=name), waveform)])


def test_a_cell_shows_and_plays_an_utterance_apart_from_the_page_around_it(browser: Browser, tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{embedded([entry(NAME)], NAME)}</body>")
    with browser() as driver:
        driver.get(notebook.as_uri())
        driver.switch_to.frame(0)
        until(lambda: driver.execute_script("return state.drawn !== undefined && state.pcm !== null"))
        assert driver.find_element("id", "name").text == NAME
        assert not driver.find_element("id", "browse").is_displayed()  # of one utterance there is nothing to choose
        driver.execute_script("chooseTarget(1)")
        driver.execute_script("hear(0.5, true)")
        until(lambda: driver.execute_script("return player.currentTime > 0.55"))
        assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert errors_of(driver) == []
        driver.switch_to.default_content()
        assert driver.execute_script("return location.hash") == ""


def test_several_utterances_are_chosen_from_a_table(browser: Browser, tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    shown = embedded([entry("a.wav"), entry("b.wav")], "runs/demo", "2 of 9 utterances are shown")
    notebook.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{shown}</body>")
    with browser() as driver:
        driver.get(notebook.as_uri())
        driver.switch_to.frame(0)
        until(lambda: driver.execute_script("return state.pcm !== null"))
        assert "2 of 9 utterances are shown" in driver.find_element("id", "notes").text
        assert driver.find_element("id", "counts").text == "2 utterances"  # of a draw, accuracy says nothing
        driver.execute_script("state.pcm = null; document.querySelectorAll('#rows button')[1].click()")
        until(lambda: driver.execute_script("return state.pcm !== null"))
        assert driver.find_element("id", "name").text == "b.wav"
        assert errors_of(driver) == []


def errors_of(driver: Any) -> list[Any]:
    return [own for own in driver.get_log("browser") if own["level"] == "SEVERE"]
