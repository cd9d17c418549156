"""What tests of the page do in a browser."""

import json
import time
from collections.abc import Callable
from typing import Any


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


def shown(driver: Any) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows tr')].map((row) => row.firstChild.textContent)"
    )
