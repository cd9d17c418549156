"""A tensor that follows from parameters, kept until the parameters change."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor


class Derived:
    """Remembers the last tensor that was computed from some frozen parameters.

    Where a parameter requires a gradient each call computes anew, and nothing is kept. Otherwise the tensor is computed
    once for these values, outside of inference mode, so that a graph may save it later. The values are compared with
    a copy of them, since nothing else tells of values that were written past autograd, through ``.data`` or by a fused
    optimiser. On a GPU the comparison would make the program wait. Copies and pickles of a module start empty.

    Example:
        >>> weight, doubled = torch.ones(2), Derived()
        >>> doubled([weight], lambda: 2 * weight) is doubled([weight], lambda: 2 * weight)
        True
        >>> _ = weight.data.mul_(3)
        >>> doubled([weight], lambda: 2 * weight)
        tensor([6., 6.])
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[Hashable, ...], list[Tensor], Tensor] | None = None

    def __call__(self, parameters: Sequence[Tensor], compute: Callable[[], Tensor], *arguments: Hashable) -> Tensor:
        """Return what ``compute`` makes of the parameters and of further arguments that it depends on."""
        if any(parameter.requires_grad for parameter in parameters):
            self._kept = None
            return compute()
        if not all(map(_has_memory, parameters)):
            return compute()
        if self._kept is None or self._kept[0] != arguments or not _are_equal(parameters, self._kept[1]):
            with torch.inference_mode(False), torch.no_grad():
                self._kept = arguments, [parameter.detach().clone() for parameter in parameters], compute()
        return self._kept[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()


def _are_equal(parameters: Sequence[Tensor], kept: Sequence[Tensor]) -> bool:
    return all(
        one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
        for one, other in zip(parameters, kept, strict=True)
    )


def _has_memory(parameter: Tensor) -> bool:
    """False for the tensors of function transforms such as vmap, which can be neither compared nor kept."""
    try:
        parameter.data_ptr()
    except RuntimeError:
        return False
    return True
