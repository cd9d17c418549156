"""The plan of the house: a room imports only from rooms above it, and some load without Lightning."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import speechshap

PACKAGE = Path(speechshap.__file__).parent

GROUND_FLOOR = ("bootstrap", "errors", "files", "fingerprint", "frames", "markdown", "mel", "run_lock", "spaces")
ROOMS = ("data", "models", "training", "attribution", "evaluation", "results", "report", "explaining", "cli")
"""From the ground up; ``attribution`` stands beside ``data`` and ``models`` and knows neither."""

UNKNOWN_TO_ATTRIBUTION = ("data", "models", "training")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms that a module imports from, at its top or within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "speechshap":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("speechshap."))


def test_every_file_is_in_a_room() -> None:
    assert {room_of(path) for path in modules()} == {"__init__", *GROUND_FLOOR, *ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    allowed = {*GROUND_FLOOR, *ROOMS[: ROOMS.index(room) + 1]}
    if room == "attribution":
        allowed -= set(UNKNOWN_TO_ATTRIBUTION)
    for path in modules():
        if room_of(path) == room:
            assert set(imported_rooms(path)) <= allowed, path


def test_the_ground_floor_imports_nothing_from_above_it() -> None:
    for path in modules():
        if room_of(path) in GROUND_FLOOR:
            assert set(imported_rooms(path)) <= set(GROUND_FLOOR), path


@pytest.mark.parametrize("room", ["attribution", "data.catalogue", "models", "results", "explaining.runner"])
def test_a_room_loads_without_lightning(room: str) -> None:
    code = f"import sys, speechshap.{room}; print([m for m in sys.modules if 'lightning' in m.split('.')[0]])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_test_lies_where_its_source_file_says() -> None:
    """``room/test_name.py`` is of the file or folder ``name`` of the room; what spans rooms lies at the top."""
    tests = Path(__file__).parent
    for test in tests.glob("*/**/test_*.py"):
        source = PACKAGE / test.relative_to(tests).parent / test.stem.removeprefix("test_")
        assert source.is_dir() or source.with_suffix(".py").is_file(), test
