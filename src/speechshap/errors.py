"""Mistakes that a user can correct."""

import errno
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import TypeGuard, TypeVar

_Error = TypeVar("_Error", bound=BaseException)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Disk full, quota used up, file larger than the system or a limit allows."""


class UserError(ValueError):
    """A mistake in an option, a file or a checkpoint, told in one sentence that names it and the way out.

    Messages name parameters in backticks (`` `batch_size` ``, `` `targets="all"` ``). The command line turns these
    into its flags, prints the message without a traceback, and exits with a status that is not 0.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that a traceback would name as its causes.

    Example:
        >>> [str(cause) for cause in causes(ValueError("alone"))]
        ['alone']
    """
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def find_cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """The first exception of a kind among an exception and its causes."""
    return next((cause for cause in causes(error) if isinstance(cause, kind)), None)


def full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk (or quota) that an exception is, or was raised from.

    Example:
        >>> full_disk(OSError(errno.ENOSPC, "No space left on device", "table.csv")).filename
        'table.csv'
    """
    return next((cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in _NO_ROOM), None)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer (one of numpy, say), and not a truth value, which Python takes for one."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_at_least(least: int, **parameters: object) -> None:
    """Raise a UserError for a parameter that is no integer, or below ``least``; None stands for one that is left out.

    Example:
        >>> require_at_least(1, batch_size=0)
        Traceback (most recent call last):
        speechshap.errors.UserError: `batch_size` is 0; expected 1 at least
        >>> require_at_least(1, batch_size=2.5)
        Traceback (most recent call last):
        speechshap.errors.UserError: `batch_size` is 2.5; expected an integer, 1 at least
    """
    for name, value in parameters.items():
        if value is not None and (not is_integer(value) or value < least):
            kind = "" if is_integer(value) else "an integer, "
            raise UserError(f"`{name}` is {value!r}; expected {kind}{least} at least")


def require_choice(name: str, value: object, legal: Iterable[object]) -> None:
    """Raise a UserError for a parameter that is none of the legal values.

    Example:
        >>> require_choice("draw", "best", ["first", "wrong"])
        Traceback (most recent call last):
        speechshap.errors.UserError: `draw` is 'best'; expected first, wrong
    """
    legal = list(legal)
    if value not in legal:
        raise UserError(f"`{name}` is {value!r}; expected {', '.join(map(str, legal))}")
