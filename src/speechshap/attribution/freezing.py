"""Parameters taken out of the graph while gradients of the input are computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from torch import nn

Step = TypeVar("Step")


def frozen_steps(steps: Iterator[Step], *callables: Callable[..., Any] | None) -> Iterator[Step]:
    """The steps of an iterator, each taken while the parameters of the modules behind ``callables`` are frozen.

    Between the steps the parameters are as they were found, so that nobody who stops asking leaves them frozen.

    Args:
        steps: Computes something at each step.
        callables: Modules, bound methods of modules, partial functions of either; what is behind others, and None, is
            not known, and left alone.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> steps = (parameter.requires_grad for parameter in model.parameters())
        >>> list(frozen_steps(steps, model.forward)), model.weight.requires_grad
        ([False, False], True)
    """
    modules = [module for function in callables for module in _modules_behind(function)]
    end = object()
    while True:
        with _frozen(modules):
            step = next(steps, end)
        if step is end:
            return
        yield step  # type: ignore[misc]


def _modules_behind(function: object) -> list[nn.Module]:
    if isinstance(function, partial):
        given = (function.func, *function.args, *function.keywords.values())
        return [module for part in given for module in _modules_behind(part)]
    owner = getattr(function, "__self__", function)
    return [owner] if isinstance(owner, nn.Module) else []


@contextmanager
def _frozen(modules: list[nn.Module]) -> Iterator[None]:
    """Parameters that require no gradient within the block: a backward pass keeps and computes nothing for them."""
    # A tensor made in inference mode could not be put back.
    trained = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad and parameter.is_leaf and not parameter.is_inference()
    ]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
