"""The folder of a command that trains many times: the same for the same options, so that it goes on there."""

import re
from pathlib import Path

from speechshap.errors import UserError
from speechshap.files import locked, whole_file

OPTIONS = "config.yaml"
"""The options, in the folder."""

_PATIENCE_SECONDS = 60.0


def choose_folder(parent: Path, kind: str, options: str) -> Path:
    """The folder of a command with these options: the one that is there, or else the next number.

    Args:
        parent: Folder of the experiment.
        kind: What the name of the folder begins with.
        options: All that decides the results, as text.

    Raises:
        UserError: Another process keeps the folder locked.

    Example:
        >>> import tempfile
        >>> parent = Path(tempfile.mkdtemp())
        >>> [choose_folder(parent, "sweep", options).name for options in ("a: 1", "a: 2", "a: 1")]
        ['sweep_0', 'sweep_1', 'sweep_0']
    """
    with locked(parent / f".{kind}.lock", _PATIENCE_SECONDS, or_raise=UserError, stays=True):
        form = re.compile(rf"{kind}_(\d+)")
        there = {int(name[1]): path for path in parent.iterdir() if (name := form.fullmatch(path.name))}
        for number in sorted(there):
            saved = there[number] / OPTIONS
            if saved.is_file() and saved.read_text(encoding="utf-8") == options:
                return there[number]
        folder = parent / f"{kind}_{max(there, default=-1) + 1}"
        with whole_file(folder / OPTIONS) as partial:
            partial.write_text(options, encoding="utf-8")
        return folder
