"""The configurations that come with the package, by their names."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from speechshap.errors import UserError

_FOLDER = Path(__file__).parents[1] / "configs"
_OPTIONS = ("-c", "--config")


def config_names() -> list[str]:
    """Names of the configurations that come with the package.

    Example:
        >>> "ravdess" in config_names()
        True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def find_config(name: str) -> str:
    """Path of a configuration: a file is taken as it is, before one of the package that has the same name.

    Where a checkout has no symbolic links, ``configs/demo.yaml`` is no file; it then stands for ``demo``.

    Raises:
        UserError: There is neither.

    Example:
        >>> Path(find_config("demo")).name
        'demo.yaml'
    """
    if Path(name).expanduser().is_file():
        return str(Path(name).expanduser())
    names = config_names()
    stem = Path(name).stem
    if stem in names and Path(name) in (Path(stem), Path("configs", f"{stem}.yaml")):
        return str(_FOLDER / f"{stem}.yaml")
    near = get_close_matches(stem, names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"`config`: no file {name}; expected a YAML file, or one of {', '.join(names)}{hint}")


def config_paths(arguments: Sequence[str]) -> list[str]:
    """Arguments with the path of each configuration in place of its name.

    Raises:
        UserError: A configuration does not exist.

    Example:
        >>> config_paths(["fit", "--config=demo"])[1].endswith("demo.yaml")
        True
    """
    return list(_config_paths(arguments))


def _config_paths(arguments: Sequence[str]) -> Iterator[str]:
    option = None
    for argument in arguments:
        name, is_joined, value = argument.partition("=")
        if option in _OPTIONS and _is_name(argument):
            yield find_config(argument)
        elif name in _OPTIONS and is_joined and _is_name(value):
            yield f"{name}={find_config(value)}"
        else:
            yield argument
        option = argument


def _is_name(value: str) -> bool:
    """Whether a value may be a name or a path, and is no option and no YAML text, which is taken, too."""
    return re.fullmatch(r"[^-{:\n][^{:\n]*", value) is not None
