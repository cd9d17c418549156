"""The configurations that come with the package, by their names."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from speechshap.errors import UserError

_FOLDER = Path(__file__).parents[1] / "configs"
_OPTIONS = ("-c", "--config")


def config_names() -> list[str]:
    """Names of the configurations that come with the package, with the folder of those in one.

    Example:
        >>> {"ravdess", "emobox/wavlm_base"} <= set(config_names())
        True
    """
    return sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.yaml"))


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
    own = next((own for own in names if Path(name) in (Path(own), Path("configs", f"{own}.yaml"))), None)
    if own is not None:
        return str(_FOLDER / f"{own}.yaml")
    by_stem = {Path(own).stem: own for own in names}  # one without a folder comes last
    near = get_close_matches(Path(name).stem, by_stem, 1)
    hint = f"; did you mean {by_stem[near[0]]}?" if near else ""
    raise UserError(f"`config`: no file {name}; expected a YAML file, or one of {', '.join(names)}{hint}")


def config_paths(arguments: Sequence[str]) -> list[str]:
    """Arguments with the path of each configuration in place of its name.

    Raises:
        UserError: A configuration does not exist, or it comes after an option that it sets, too: what comes last wins,
            so that the option would be lost.

    Example:
        >>> config_paths(["fit", "--config=demo"])[1].endswith("demo.yaml")
        True
    """
    found = list(_config_paths(arguments))
    _refuse_lost_options(found)
    return found


def config_with(option: str, arguments: Sequence[str]) -> str | None:
    """The last configuration among the arguments that sets an option, or None.

    Example:
        >>> config_with("data.root", ["--config", "{data: {root: here}}", "--config", "{model: {freeze: none}}"])
        '{data: {root: here}}'
    """
    for _, config in reversed(list(_configs(arguments))):
        content = read_config(config)
        # The options of a subcommand may be one level further down.
        if any(_sets(part, option) for part in (content, *(content.values() if isinstance(content, dict) else ()))):
            return config
    return None


def read_config(config: str) -> Any:
    """What a file, or a YAML text in its place, says; None where it cannot be read, which the parser tells.

    Example:
        >>> read_config("{data: {root: here}}")
        {'data': {'root': 'here'}}
    """
    try:
        return yaml.safe_load(Path(config).read_text(encoding="utf-8") if _is_name(config) else config)
    except (OSError, ValueError, yaml.YAMLError):
        return None


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


def _configs(arguments: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Place and value of each configuration among the arguments."""
    for place, (argument, after) in enumerate(pairwise([*arguments, ""])):
        name, is_joined, value = argument.partition("=")
        if name in _OPTIONS and (is_joined or after):
            yield place, value if is_joined else after


def _refuse_lost_options(arguments: Sequence[str]) -> None:
    for place, config in _configs(arguments):
        before, after = (_options(part) for part in (arguments[:place], arguments[place:]))
        content = read_config(config)
        if lost := [name for name in before if name not in after and _sets(content, name.rstrip("+"))]:
            raise UserError(
                f'--{lost[0]} comes before `config="{config}"`, which sets it, too, and what comes last wins; give '
                f"--{lost[0]} after it"
            )


def _options(arguments: Sequence[str]) -> list[str]:
    """Options among the arguments, without their hyphens."""
    return [argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")]


def _sets(content: Any, option: str) -> bool:
    """Whether a configuration has a value for an option, or for the whole that it is a part of.

    What is made of options of its own is none: those are merged with the ones that were given.
    """
    if not isinstance(content, dict):
        return False
    for part in option.split("."):
        if not isinstance(content, dict):
            break
        if part not in content and isinstance(content.get("init_args"), dict):
            content = content["init_args"]  # of a class; the command line may leave the word out
        if part not in content:
            return False
        content = content[part]
    return not isinstance(content, dict) or "class_path" in content


def _is_name(value: str) -> bool:
    """Whether a value may be a name or a path, and is no option and no YAML text, which is taken, too."""
    return re.fullmatch(r"[^-{:\n][^{:\n]*", value) is not None
