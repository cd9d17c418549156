"""A class of a model, asked for in Python by its name or its number."""

import operator
from collections.abc import Sequence

from speechshap.errors import UserError, is_integer


def class_number(parameter: str, value: object, names: Sequence[str]) -> int:
    """Number of the class that is asked for.

    Args:
        parameter: Named in the error.
        value: Name or number.
        names: Of all classes.

    Raises:
        UserError: There is no such class.

    Example:
        >>> class_number("target_class", "sad", ["happy", "sad"]), class_number("target_class", 0, ["happy", "sad"])
        (1, 0)
        >>> class_number("target_class", 2, ["happy", "sad"])
        Traceback (most recent call last):
        speechshap.errors.UserError: `target_class` is 2; expected a class of the model: 0 happy, 1 sad
    """
    if isinstance(value, str) and value in names:
        return names.index(value)
    number = operator.index(value) if is_integer(value) else -1
    if not 0 <= number < len(names):
        raise UserError(f"`{parameter}` is {value!r}; expected a class of the model: {numbered(names)}")
    return number


def numbered(names: Sequence[str]) -> str:
    """Names with their numbers, for a message."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))
