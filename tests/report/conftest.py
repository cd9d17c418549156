"""The report of a test file in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import opened
from helpers import Browser


@pytest.fixture(scope="module")
def page(folder: Path, browser: Browser) -> Iterator[Any]:
    """The report that a test file has written to its own ``folder``."""
    with opened(browser, folder / "report.html") as driver:
        yield driver
