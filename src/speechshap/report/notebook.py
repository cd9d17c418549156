"""Pictures in notebooks; outside of one nothing is shown."""

import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from speechshap.report.rendering import png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show(figure: "Figure") -> None:
    """Show a figure below the notebook cell that runs.

    A figure made without pyplot does not show itself. As the last value of the same cell it is not shown a second
    time; in other cells it is shown as any value is.
    """
    shell = _shell()
    if shell is not None:
        _display(figure)
        figure._ipython_display_ = partial(_display_elsewhere, figure, shell.execution_count)  # type: ignore[attr-defined]


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
