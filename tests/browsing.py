"""What tests of the page do in a browser."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import Browser

CHANGE = "byId(arguments[0]).value = arguments[1]; byId(arguments[0]).dispatchEvent(new Event('change'))"
"""Script that chooses another entry of a list: its id, and the entry's value."""


@contextmanager
def opened(browser: Browser, report: Path) -> Iterator[Any]:
    """A report in a browser; in the end no script has failed, and nothing was asked for but the file."""
    with browser() as driver:
        driver.get(report.as_uri())
        until(lambda: driver.execute_script("return state.drawn !== undefined && state.pcm !== null"))
        yield driver
        assert_alone(driver)


def assert_alone(driver: Any) -> None:
    """No script has failed, and nothing was asked for but the file itself, whatever the tests did."""
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in urls) <= 1


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the page did not get there in time"
        time.sleep(0.02)
    return found


def choose(driver: Any, name: str) -> None:
    """Show an utterance by its button in the table."""
    driver.execute_script(
        """
        byId("filters").reset();
        fillTable();
        [...document.querySelectorAll("#rows button")].find((b) => b.textContent === arguments[0]).click();
        state.payload = null;
        """,
        name,
    )
    until(lambda: driver.execute_script("return state.payload !== null"))
    assert driver.find_element("id", "name").text == name
    driver.execute_async_script("state.drawn.then(arguments[0])")
    until(lambda: driver.execute_script("return variantNow().sound === null || player.readyState > 0"))


def choose_number(driver: Any, number: int, target: int = 0) -> None:
    """Show a target of an utterance, and wait for its sound."""
    driver.execute_script("state.targetName = undefined; state.pcm = null; choose(arguments[0])", number)
    until(lambda: driver.execute_script("return state.pcm !== null && player.readyState > 0"))
    if target:
        driver.execute_script(
            "byId('target').value = arguments[0]; byId('target').dispatchEvent(new Event('change'))", target
        )
    driver.execute_async_script("state.drawn.then(arguments[0])")


def shown(driver: Any) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows tr')].map((row) => row.firstChild.textContent)"
    )
