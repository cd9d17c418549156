"""Parameters by the names of their options: only the command line speaks of flags."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from inspect import signature
from itertools import pairwise
from typing import get_args, get_type_hints

from jsonargparse import ArgumentError

from speechshap.cli.configs import config_with
from speechshap.cli.mistakes import in_plain_words, unknown_option
from speechshap.errors import UserError, find_cause

_PARAMETER = re.compile(r"`(\w+)(?:=\"?([^`\"]*)\"?)?`")


def flags_of(**groups: Sequence[Callable[..., object]]) -> dict[str, str]:
    """Option of each parameter of some classes, and of the fields of options that are made of several.

    Of two with one name it is that of the first group.

    Example:
        >>> class Data:
        ...     def __init__(self, root): ...
        >>> flags_of(data=[Data])
        {'root': '--data.root', 'ckpt_path': '--ckpt_path', 'config': '--config'}
    """
    flags: dict[str, str] = {}
    for group, classes in groups.items():
        for class_ in classes:
            for name, parameter in signature(class_).parameters.items():
                flags.setdefault(name, f"--{group}.{name}")
                for field in fields(parameter.default) if is_dataclass(parameter.default) else ():
                    flags.setdefault(field.name, f"--{group}.{name}.{field.name}")
    return {**flags, "ckpt_path": "--ckpt_path", "config": "--config"}


def switches_of(**groups: Sequence[type]) -> set[str]:
    """Options of some classes that may be true or false.

    Example:
        >>> class Data:
        ...     def __init__(self, root: str, shuffle: bool | None = None) -> None: ...
        >>> switches_of(data=[Data])
        {'--data.shuffle'}
    """
    hints = {
        (group, name): hint
        for group, classes in groups.items()
        for class_ in classes
        for name, hint in get_type_hints(class_.__init__).items()  # type: ignore[misc]
    }
    return {f"--{group}.{name}" for (group, name), hint in hints.items() if bool in (hint, *get_args(hint))}


def switched_on(arguments: Sequence[str], switches: Iterable[str]) -> list[str]:
    """Arguments with ``=true`` after each of the switches that is given without a value.

    Example:
        >>> switched_on(["fit", "--trainer.fast_dev_run", "--seed", "3"], ["--trainer.fast_dev_run"])
        ['fit', '--trainer.fast_dev_run=true', '--seed', '3']
    """
    pairs = pairwise([*arguments, "--"])
    return [
        f"{argument}=true" if argument in switches and re.match(r"-[^\d]", after) else argument
        for argument, after in pairs
    ]


def add_nearest_option(error: ArgumentError, options: Iterable[str], arguments: Sequence[str] = ()) -> None:
    """Have the error of an unknown option name the one that was probably meant; any other error stays as it is.

    Args:
        error: Of the parser.
        options: That there are.
        arguments: That were parsed: an option which is in a configuration file is told with the file.

    Example:
        >>> unknown = ArgumentError(None, "unrecognized arguments: --n_samples 3")
        >>> add_nearest_option(unknown, ["--explain.n_samples", "--explain.seed"])
        >>> print(unknown)
        unrecognized arguments: --n_samples 3; did you mean --explain.n_samples?
    """
    name = unknown_option(error)
    if name is None:
        return
    file = None if "unrecognized arguments" in str(error) else config_with(name, arguments)
    if file is not None:
        error.message = f"{file}: there is no option {name}"
    near = get_close_matches(f"--{name}", list(options), 1)
    if near:
        error.message += f"; did you mean {near[0] if file is None else near[0].removeprefix('--')}?"


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message with each parameter in backticks replaced by its option.

    Example:
        >>> name_flags('`n_samples` is 1; try `layers="none"`', {"n_samples": "--explain.n_samples"})
        '--explain.n_samples is 1; try layers none'
    """

    def option(match: re.Match[str]) -> str:
        flag = flags.get(match[1], match[1])
        return flag if match[2] is None else f"{flag} {match[2]}"

    return _PARAMETER.sub(option, message)


@contextmanager
def parameters_as_flags(flags: Callable[[], Mapping[str, str]]) -> Iterator[None]:
    """Have mistakes and messages from below the command line name its options, in plain words.

    Args:
        flags: Option of each parameter; asked for when there is something to tell.
    """
    with rewritten_messages(lambda message: name_flags(message, flags()) if "`" in message else message):
        try:
            yield
        except ArgumentError as error:
            error.message = in_plain_words(error.message)
            raise
        except Exception as error:
            mistake = find_cause(error, UserError)
            told = in_plain_words(str(error)) if mistake is None else name_flags(str(mistake), flags())
            if told == str(error) and mistake is None:
                raise
            raise UserError(told) from error


@contextmanager
def rewritten_messages(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Have what the package logs within the block rewritten before it is shown.

    Args:
        rewrite: From a message to the one that is shown.
    """

    def change(record: logging.LogRecord) -> bool:
        if record.name.startswith("speechshap"):
            record.msg, record.args = rewrite(record.getMessage()), ()
        return True

    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(change)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(change)
