"""The optimiser, its groups of parameters, and how their learning rates go."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn


@dataclass
class ParameterGroup:
    """Parameters that are trained with one learning rate.

    Attributes:
        name: For the curves of the learning rates.
        learning_rate: The highest.
        first_step: Step from which they are trained.
        parameters: In the order of the module.
    """

    name: str
    learning_rate: float
    first_step: int = 0
    parameters: list[nn.Parameter] = field(default_factory=list)


def parameter_groups(
    parameters: Iterable[nn.Parameter],
    depths: Mapping[nn.Parameter, int],
    learning_rate: float,
    backbone_learning_rate: float | None = None,
    layer_decay: float = 1.0,
    first_step: int = 0,
) -> list[ParameterGroup]:
    """Divide what is trained by its learning rate.

    The last layer of the backbone that is trained has the backbone's rate, and each one below that of the next times
    the decay (Clark et al. 2020, ELECTRA; Bao et al. 2021, BEiT); the lowest is that of all below the first layer.

    Args:
        parameters: Those that are trained.
        depths: Of those in the backbone, by :attr:`speechshap.models.Backbone.depths`; the others are the head.
        learning_rate: Of the head.
        backbone_learning_rate: Of the backbone; None: that of the head.
        layer_decay: Factor from layer to layer; 1: they have the same rate.
        first_step: Step from which the backbone is trained.

    Returns:
        A single group where there is nothing to tell apart.

    Example:
        >>> head, first, second = (nn.Parameter(torch.zeros(1)) for _ in range(3))
        >>> groups = parameter_groups([head, first, second], {first: 1, second: 2}, 1e-3, 1e-4, layer_decay=0.5)
        >>> [(group.name, group.learning_rate) for group in groups]
        [('head', 0.001), ('layer_1', 5e-05), ('layer_2', 0.0001)]
    """
    parameters = list(parameters)
    rate = learning_rate if backbone_learning_rate is None else backbone_learning_rate
    if rate == learning_rate and layer_decay == 1 and first_step == 0:
        return [ParameterGroup("all", learning_rate, parameters=parameters)]
    last = max((depths[parameter] for parameter in parameters if parameter in depths), default=0)
    groups: dict[str, ParameterGroup] = {}
    for parameter in parameters:
        depth = depths.get(parameter)
        if depth is None:
            group = ParameterGroup("head", learning_rate)
        elif layer_decay == 1:
            group = ParameterGroup("backbone", rate, first_step)
        else:
            name = f"layer_{depth}" if depth else "stem"
            group = ParameterGroup(name, rate * layer_decay ** (last - depth), first_step)
        groups.setdefault(group.name, group).parameters.append(parameter)
    return list(groups.values())


def adamw(
    groups: Sequence[ParameterGroup], weight_decay: float, warmup_fraction: float, total_steps: int
) -> OptimizerLRSchedulerConfig:
    """AdamW with linear warm-up and linear decay, as Lightning takes it.

    Args:
        groups: What is trained. The rate of a group that joins later rises from there on, in as many steps as that of
            the others did, up to where theirs is.
        weight_decay: Of AdamW, alike for all parameters, biases and norms too.
        warmup_fraction: Share of the steps during which the learning rate rises.
        total_steps: Of the run.

    Example:
        >>> group = ParameterGroup("all", 1e-3, parameters=[nn.Parameter(torch.ones(1))])
        >>> list(adamw([group], 0.01, warmup_fraction=0.1, total_steps=100))
        ['optimizer', 'lr_scheduler']
    """
    total = max(1, total_steps)
    warmup = max(1, round(warmup_fraction * total))

    def factor_from(first_step: int) -> Callable[[int], float]:
        def factor(step: int) -> float:
            rise = max(0, step - first_step + 1) / warmup
            return min(rise, max(0.0, (total - step) / max(1, total - warmup)))

        return factor

    options = [
        # A single group has no name, so that its curve has that of the optimiser.
        {"params": group.parameters, "lr": group.learning_rate, **({"name": group.name} if len(groups) > 1 else {})}
        for group in groups
    ]
    optimizer = torch.optim.AdamW(options, weight_decay=weight_decay)
    factors = [factor_from(group.first_step) for group in groups]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
