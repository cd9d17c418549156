"""Whether a module may be left out of a calculation that takes its parameters alone."""

from torch import nn


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling a module does what ``kind`` does with its parameters, and nothing else.

    It does not if the module has hooks (of Captum's layer methods, say), or a forward pass of its own, as adapters and
    quantised layers have.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> is_plain(layer, nn.Linear)
        True
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: None)
        >>> is_plain(layer, nn.Linear)
        False
    """
    hooks = (
        module._forward_pre_hooks,
        module._forward_hooks,
        module._backward_pre_hooks,
        module._backward_hooks,
    )
    return type(module).forward is kind.forward and "forward" not in vars(module) and not any(hooks)
