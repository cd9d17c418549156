"""The tutorial runs from top to bottom, and what is stored of it is what it says.

After a change of the notebook, or of what it shows, its outputs are stored anew with
``jupyter execute --inplace docs/tutorial.ipynb``.
"""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
STEPS = (
    "environment", "the idea", "the model", "the data", "the explainer", "explanations at frame and at neuron level",
    "comparison of two emotions", "the figure",
)  # fmt: skip
LARGEST = 700_000  # bytes


def read() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> set[str]:
    """What a cell puts out: ``stdout``, ``image/png``, …; a picture's text stands for nothing of its own."""
    found = set()
    for output in cell.outputs:
        found |= {output.name} if output.output_type == "stream" else set(output.get("data", {output.output_type: ""}))
    return found - {"text/plain"} if "image/png" in found else found


def test_the_steps_follow_each_other() -> None:
    text = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (\d)\. (.*)$", text, re.MULTILINE)
    assert [(int(number), title.lower()) for number, title in headings] == list(enumerate(STEPS, start=1))


def test_it_was_stored_after_a_run_from_top_to_bottom() -> None:
    cells = code_cells(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in kinds(cell) for cell in cells) >= 3
    assert set.union(*map(kinds, cells)) == {"stdout", "image/png"}  # no errors, no warnings, nothing on stderr


def test_it_can_be_read_anywhere() -> None:
    notebook = read()
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST
    assert notebook.metadata.kernelspec.name == "python3"
    outputs = " ".join(
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        for cell in code_cells(notebook)
        for output in cell.outputs
    )
    assert re.findall(r"(?:/(?:home|Users|root|work|tmp|var|opt|usr)/|[A-Z]:\\)\S*", outputs) == []


def test_it_runs(run_notebook: Callable[[NotebookNode], None], tmp_path: Path) -> None:
    """It leaves nothing where it ran."""
    stored, notebook = read(), read()
    run_notebook(notebook)  # raises on an error
    for was, cell in zip(code_cells(stored), code_cells(notebook), strict=True):
        assert cell.source == was.source
        assert kinds(cell) - {"stderr"} == kinds(was), cell.id  # a fresh machine may say that it builds a cache
    assert list((tmp_path / "cwd").iterdir()) == []
