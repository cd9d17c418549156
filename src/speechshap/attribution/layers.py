"""Outputs of a model's layers, recorded while it runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from speechshap.errors import UserError

LayerMethod = Literal["endpoint", "path"]
LAYER_METHODS: tuple[str, ...] = get_args(LayerMethod)


@contextmanager
def caught_outputs(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of layers by name; of a tuple the first member.

    Raises:
        UserError: The output of a layer is no tensor, it runs more than once, or what follows it works in place on its
            output; when the model runs.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with caught_outputs({"hidden": model[0]}) as caught:
        ...     _ = model(torch.zeros(1, 2))
        >>> caught["hidden"].shape
        torch.Size([1, 3])
    """
    caught: dict[str, Tensor] = {}
    versions: dict[str, int] = {}

    def catch(name: str, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"`layers`: the output of layer {name} is a {type(output).__name__}; expected a tensor or a tuple of "
                "them"
            )
        if name in caught:
            raise UserError(
                f"`layers`: layer {name} runs more than once within forward; its neurons have no single attribution"
            )
        caught[name] = tensor
        versions[name] = tensor._version

    handles: list[RemovableHandle] = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(lambda _, __, output, name=name: catch(name, output)))
        yield caught
        for name, tensor in caught.items():
            if tensor._version != versions[name]:
                raise UserError(f"`layers`: the output of layer {name} is changed in place; name what follows")
    finally:
        for handle in handles:
            handle.remove()
