"""Tensors that follow from parameters, kept until the parameters change."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor


class Derived:
    """Remembers the last tensor that was computed from some parameters.

    While autograd has to follow the parameters nothing is kept: each call computes anew. Otherwise the tensor is
    computed once for these values on this device. It is made outside of inference mode, so that a graph may save it
    later. Copies and pickles of a module start empty.

    Example:
        >>> weight, doubled = torch.ones(2), Derived()
        >>> doubled([weight], lambda: 2 * weight) is doubled([weight], lambda: 2 * weight)
        True
        >>> _ = weight.mul_(3)
        >>> doubled([weight], lambda: 2 * weight)
        tensor([6., 6.])
    """

    def __init__(self) -> None:
        self._parameters: list[Tensor] = []  # held, so that no other tensor can take their place in memory
        self._key: Hashable = None
        self._value = torch.empty(0)

    def __call__(self, parameters: Sequence[Tensor], compute: Callable[[], Tensor], *arguments: Hashable) -> Tensor:
        """Return what ``compute`` makes of the parameters and of further arguments that it depends on."""
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            return compute()
        # A counter of in-place changes tells new values in the same memory.
        key = (*((id(p), p.data_ptr(), p._version, p.device, p.dtype) for p in parameters), *arguments)
        if key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._key, self._parameters = key, list(parameters)
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()
