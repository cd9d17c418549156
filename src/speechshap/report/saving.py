"""Figures as files, which appear when they are whole."""

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from speechshap.errors import UserError
from speechshap.files import whole_file


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure under a name that says as what; a picture that was there before stays until the new one is whole.

    Raises:
        UserError: The suffix is that of no picture.
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.png"
        >>> save_figure(Figure(), path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    kind = picture_format(path)
    with whole_file(path) as partial:
        figure.savefig(partial, format=kind)


def picture_format(path: Path) -> str:
    """Format of a picture, by its suffix.

    Raises:
        UserError: It is none that matplotlib knows.
    """
    kind = path.suffix.lower().removeprefix(".")
    formats = FigureCanvasBase.get_supported_filetypes()
    if kind not in formats:
        raise UserError(
            f"`save_path` is {path}; expected a name that ends in one of {', '.join(f'.{f}' for f in formats)}"
        )
    return kind
