"""The optimiser, and how its learning rate goes."""

from collections.abc import Iterable

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    warmup_fraction: float,
    total_steps: int,
) -> OptimizerLRSchedulerConfig:
    """AdamW with linear warm-up and linear decay, as Lightning takes it.

    Args:
        parameters: Those that are not frozen are trained.
        learning_rate: The highest.
        weight_decay: Of AdamW.
        warmup_fraction: Share of the steps during which the learning rate rises.
        total_steps: Of the run.

    Example:
        >>> list(adamw([nn.Parameter(torch.ones(1))], 1e-3, 0.01, warmup_fraction=0.1, total_steps=100))
        ['optimizer', 'lr_scheduler']
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    total = max(1, total_steps)
    warmup = max(1, round(warmup_fraction * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (total - step) / max(1, total - warmup)))
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
