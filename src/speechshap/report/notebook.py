"""Pictures and pages in notebooks; outside of one nothing is shown."""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechshap.errors import UserError, require_at_least
from speechshap.files import EXPLANATIONS
from speechshap.report.rendering import png_bytes
from speechshap.results.folder import ResultsFolder, nothing_to_show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechshap.report.page.entry import ReportEntry


def show(figure: "Figure") -> None:
    """Show a figure below the notebook cell that runs.

    A figure made without pyplot does not show itself. As the last value of the same cell it is not shown a second
    time; in other cells it is shown as any value is.
    """
    shell = _shell()
    if shell is not None:
        _display(figure)
        figure._ipython_display_ = partial(_display_elsewhere, figure, shell.execution_count)  # type: ignore[attr-defined]


def show_entries(entries: "Sequence[ReportEntry]", title: str, drawn: str = "") -> None:
    """Show some utterances below the notebook cell that runs, as the report does.

    Args:
        entries: What is shown.
        title: Name of it.
        drawn: Of how many they are a draw, in words; empty where they are all.

    Raises:
        UserError: No notebook runs.
    """
    if _shell() is None:
        raise UserError(
            "no notebook runs that could show it; `speechshap report RUN` writes a page for the browser, and "
            "`visualize_explanations` a picture"
        )
    from speechshap.report.page.embedded import embedded  # loads plotly

    ipython = import_module("IPython.display")
    ipython.display(ipython.HTML(embedded(entries, title, drawn)))


def show_results(folder: str | Path, most: int = 20) -> None:
    """Show the explanations of a run below the notebook cell that runs, with their sounds.

    Args:
        folder: Of the run, or of its explanations.
        most: Utterances to show at most: a draw with as many of each class, right and wrong, as there are.

    Raises:
        UserError: No notebook runs, or there are no explanations.

    Example:
        >>> show_results("runs/demo/version_0")  # doctest: +SKIP
    """
    from speechshap.report.page.choice import Choice
    from speechshap.report.page.entry import ReportEntry

    require_at_least(1, most=most)
    path = Path(folder)
    results = ResultsFolder(path / EXPLANATIONS if (path / EXPLANATIONS).is_dir() else path)
    choice = Choice.of(results, most)
    if not choice.places:
        raise UserError(nothing_to_show(results.folder))
    entries = [
        ReportEntry.of(results.explanations(utterance=name, parts=parts)) for name, parts in choice.places.items()
    ]
    show_entries(entries, str(folder), str(choice))


def _display_elsewhere(figure: "Figure", shown_in: int) -> None:
    """Show a figure, but for the cell that has it already."""
    shell = _shell()
    if shell is not None and shell.execution_count != shown_in:
        _display(figure)


def _display(figure: "Figure") -> None:
    ipython = import_module("IPython.display")
    ipython.display(ipython.Image(png_bytes(figure)[0]))


def _shell() -> Any:
    """IPython, if it runs in a notebook; a terminal shows no pictures."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None
