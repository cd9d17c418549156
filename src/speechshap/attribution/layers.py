"""Outputs of a model's layers, recorded or replaced while it runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from speechshap.errors import UserError
from speechshap.spaces import Space

LayerMethod = Literal["endpoint", "path"]
LAYER_METHODS: tuple[str, ...] = get_args(LayerMethod)


@contextmanager
def caught_outputs(
    layers: Mapping[str, nn.Module], parameter: Literal["layers", "space"] = "layers", *, as_computed: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of layers by name; of a tuple the first member.

    Args:
        layers: By name.
        parameter: That which names them, for messages.
        as_computed: Record what the layers compute themselves, before hooks of others change it.

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
                f"`{parameter}`: the output of {name} is a {type(output).__name__}; expected a tensor or a tuple of "
                "them"
            )
        if name in caught:
            raise UserError(
                f"`{parameter}`: {name} runs more than once within forward; its output has no single attribution"
            )
        caught[name] = tensor
        versions[name] = tensor._version

    handles: list[RemovableHandle] = []
    try:
        for name, layer in layers.items():
            handles.append(
                layer.register_forward_hook(lambda _, __, output, name=name: catch(name, output), prepend=as_computed)
            )
        yield caught
        for name, tensor in caught.items():
            if tensor._version != versions[name]:
                raise UserError(f"`{parameter}`: the output of {name} is changed in place; name what follows")
    finally:
        for handle in handles:
            handle.remove()


class _Reached(Exception):  # noqa: N818 - no error
    """A model came to the output that was waited for."""


def outputs_until(name: str, modules: Mapping[str, nn.Module], run: Callable[[], object]) -> dict[str, Tensor]:
    """Outputs of modules, up to that of one of them; what follows it does not run.

    Args:
        name: Of the module after which there is nothing more to know.
        modules: That one and others that run before it.
        run: Runs the model.

    Raises:
        UserError: A module does not run, or :func:`caught_outputs` raises one.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(5, 1))  # which do not fit
        >>> outputs_until("first", {"first": model[0]}, lambda: model(torch.zeros(4, 2)))["first"].shape
        torch.Size([4, 3])
    """

    def stop(*_: object) -> None:
        raise _Reached

    caught: dict[str, Tensor] = {}
    with caught_outputs(modules, "space", as_computed=True) as found, suppress(_Reached):
        handle = modules[name].register_forward_hook(stop)
        try:
            run()
        finally:
            handle.remove()
            caught = dict(found)
    missing = next((own for own in modules if own not in caught), None)
    if missing is not None:
        raise UserError(f"`space`: {missing} did not run within forward; give a module that the model calls")
    return caught


@contextmanager
def replaced_output(space: Space, points: Tensor, unheard: Mapping[nn.Module, Tensor]) -> Iterator[None]:
    """Have a model go on from given points of a space, whatever it computed before.

    Args:
        space: Whose points these are.
        points: ``(R, positions, ...)``; gradients flow back to them.
        unheard: What the other skipped modules of the space give in place of their outputs; only its shape matters.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> with replaced_output(Space(module=model[0]), torch.zeros(4, 5, 3), {}):
        ...     outputs = model(torch.ones(4, 5, 2))
        >>> torch.equal(outputs, model[1](torch.zeros(4, 5, 3)))
        True
    """
    rows = points.movedim(1, space.time_dim).clone()  # so that what follows may work in place
    skipped = {module: unheard.get(module, rows) for module in space.skipped}
    own = {module: vars(module)["forward"] for module in skipped if "forward" in vars(module)}
    calls = 0

    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise UserError("`space`: its module runs more than once within forward; expected one that runs once")
        return (rows, *output[1:]) if isinstance(output, tuple) else rows

    # First of all hooks, so that those which record the output find the points.
    handle = space.module.register_forward_hook(replace, prepend=True)
    try:
        for module, output in skipped.items():
            module.forward = lambda *_, output=output, **__: output
        yield
    finally:
        for module in skipped:
            vars(module).pop("forward", None)  # what stood in for the method of its class
            vars(module).update({"forward": own[module]} if module in own else {})
        handle.remove()
