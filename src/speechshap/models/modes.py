"""The state that a model is explained in."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode with frozen parameters; both are left as they were found, submodule by submodule.

    Frozen, a backward pass computes and keeps nothing for the parameters, and their ``grad`` stays what it is.
    """
    training = [part for part in module.modules() if part.training]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for part in training:
            part.training = True
