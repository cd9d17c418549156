"""Tensors that follow from parameters, kept until the parameters change."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor


class Derived:
    """Remembers the last tensor that was computed from some frozen parameters.

    Where a parameter requires a gradient each call computes anew, and nothing is kept. Otherwise the tensor is computed
    once for these values on this device, outside of inference mode, so that a graph may save it later. Values written
    past autograd, through ``.data``, into parameters that stay frozen are not noticed. Copies and pickles of a module
    start empty.

    Example:
        >>> weight, doubled = torch.ones(2), Derived()
        >>> doubled([weight], lambda: 2 * weight) is doubled([weight], lambda: 2 * weight)
        True
        >>> _ = weight.mul_(3)
        >>> doubled([weight], lambda: 2 * weight)
        tensor([6., 6.])
    """

    def __init__(self) -> None:
        # The parameters are held so that no other tensor can take their place in memory.
        self._kept: tuple[Hashable, Sequence[Tensor], Tensor] | None = None

    def __call__(self, parameters: Sequence[Tensor], compute: Callable[[], Tensor], *arguments: Hashable) -> Tensor:
        """Return what ``compute`` makes of the parameters and of further arguments that it depends on."""
        if any(parameter.requires_grad for parameter in parameters):
            self._kept = None
            return compute()
        try:
            # The version counter detects in-place changes: new values in the same memory.
            key = (*((id(p), p.data_ptr(), p._version, p.device, p.dtype) for p in parameters), *arguments)
        except RuntimeError:  # tensors of inference mode and of function transforms have neither
            return compute()
        kept = self._kept
        if kept is None or kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept = key, list(parameters), compute()
        return kept[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()
