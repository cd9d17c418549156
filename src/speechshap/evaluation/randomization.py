"""A model that has forgotten what it learnt, from its output downwards: its explanations should be other ones."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def randomized(module: nn.Module, top: float, run: Callable[[], object], seed: int = 0) -> Iterator[None]:
    """A model whose uppermost parameters are shuffled, each within itself; it is left as it was.

    Model parameter randomisation (Adebayo et al. 2018, section 3) from the top down. The values of a parameter keep
    their distribution, so that outputs stay in a natural range, and lose what was learnt. A parameter of equal values,
    such as the weights of a normalisation that was never trained, stays as it is.

    Args:
        module: The model.
        top: Share of its modules that are shuffled, those that run last first: 0 is the last one alone, 1 all.
        run: Evaluates the module once, which shows in what order its parts run.
        seed: Of the shuffling.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 1))
        >>> before = [parameter.clone() for parameter in model.parameters()]
        >>> with randomized(model, 0.0, lambda: model(torch.ones(1, 1))):
        ...     [torch.equal(*pair) for pair in zip(model.parameters(), before)]
        [True, True, False, True]
    """
    parts = _in_order_of_use(module, run)
    chosen = parts[: max(1, math.ceil(top * len(parts)))]
    kept = [(parameter, parameter.detach().clone()) for part in chosen for parameter in part]
    generator = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for parameter, values in kept:
                order = torch.randperm(values.numel(), generator=generator).to(values.device)
                parameter.copy_(values.flatten()[order].view_as(values))
        yield
    finally:
        with torch.no_grad():
            for parameter, values in kept:
                parameter.copy_(values)


def _in_order_of_use(module: nn.Module, run: Callable[[], object]) -> list[list[nn.Parameter]]:
    """Parameters of the modules that have any of their own, those of the last to run first; unused ones at the end."""
    owners = {name: part for name, part in module.named_modules() if list(part.parameters(recurse=False))}
    order: dict[str, None] = {}
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: order.update({name: None}))
        for name, part in owners.items()
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    last_first = [*reversed(order), *(name for name in owners if name not in order)]
    return [list(owners[name].parameters(recurse=False)) for name in last_first]
