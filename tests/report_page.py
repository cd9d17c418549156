"""The report in a browser, for the tests that look at what it shows."""

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
    """A report in a browser; in the end no script has failed."""
    with browser() as driver:
        driver.get(report.as_uri())
        until(lambda: driver.execute_script("return state.drawn !== undefined && state.pcm !== null"))
        yield driver
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the page did not get there in time"
        time.sleep(0.02)
    return found


def choose(driver: Any, number: int, target: int = 0) -> None:
    """Show a target of an utterance, and wait for its sound."""
    driver.execute_script("state.targetName = undefined; state.pcm = null; choose(arguments[0])", number)
    until(lambda: driver.execute_script("return state.pcm !== null && player.readyState > 0"))
    if target:
        driver.execute_script(
            "byId('target').value = arguments[0]; byId('target').dispatchEvent(new Event('change'))", target
        )
    driver.execute_async_script("state.drawn.then(arguments[0])")
