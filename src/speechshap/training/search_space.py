"""What a sweep tries: by the name of an option a range, or values."""

import math
from collections.abc import Mapping
from typing import Any, NotRequired, Protocol, TypedDict

from speechshap.errors import UserError


class Range(TypedDict):
    """Numbers from ``low`` to ``high``, whole ones where both are; evenly in their logarithm if ``log``."""

    low: int | float
    high: int | float
    log: NotRequired[bool]


Choice = bool | int | float | str | None
SearchSpace = dict[str, Range | list[Choice]]

OF_HEAD: SearchSpace = {
    "model.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
    "model.hidden_units": [64, 128, 256, 512],
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.label_smoothing": {"low": 0.0, "high": 0.2},
    "model.pooling": ["mean", "mean_std"],
}
"""What is tried where nothing else is asked for: a head on a frozen backbone, on features that are small."""


class Suggests(Protocol):
    """A trial of Optuna, as far as it is needed."""

    def suggest_categorical(self, name: str, choices: list[Choice]) -> Any: ...  # noqa: D102 - Optuna's

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...  # noqa: D102

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...  # noqa: D102


def check_space(space: Mapping[str, Any]) -> None:
    """Refuse what is no range and no list of values.

    Args:
        space: By the name of an option.

    Raises:
        UserError: It is empty, a range is none, or an option has no values.

    Example:
        >>> check_space({"model.dropout": {"low": 0.5, "high": 0.1}})
        Traceback (most recent call last):
        speechshap.errors.UserError: `search`: model.dropout is from 0.5 to 0.1; expected `low` below `high`
    """
    if not space:
        raise UserError('`search` is empty; expected options with values, such as {"model.hidden_units": [64, 256]}')
    for name, values in space.items():
        if not name.startswith(("model.", "data.", "trainer.")):
            raise UserError(f"`search`: {name} is no option of a training; expected one such as model.learning_rate")
        if isinstance(values, list):
            if not values:
                raise UserError(f"`search`: {name} has no values")
            continue
        low, high = values["low"], values["high"]
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"`search`: {name} is from {low} to {high}; expected `low` below `high`")
        if values.get("log") and low <= 0:
            raise UserError(f"`search`: {name} is from {low} on; expected more than 0 with `log`")


def suggest(trial: Suggests, space: SearchSpace) -> dict[str, Any]:
    """Have a trial choose a value of each option.

    Args:
        trial: Of Optuna.
        space: To choose from.

    Returns:
        Values by the name of the option.
    """
    chosen: dict[str, Any] = {}
    for name, values in space.items():
        if isinstance(values, list):
            chosen[name] = trial.suggest_categorical(name, values)
            continue
        low, high, log = values["low"], values["high"], values.get("log", False)
        if isinstance(low, int) and isinstance(high, int):
            chosen[name] = trial.suggest_int(name, low, high, log=log)
        else:
            chosen[name] = trial.suggest_float(name, low, high, log=log)
    return chosen
