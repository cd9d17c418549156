"""From one vector an utterance to logits."""

import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.models.modes import evaluation_mode


def mlp_head(num_features: int, num_classes: int, dropout: float = 0.1, hidden_units: int = 256) -> nn.Module:
    """The default head: ``Linear(features, units) - ReLU - Dropout(dropout) - Linear(units, classes)``.

    Args:
        num_features: That the pooling gives.
        num_classes: Logits.
        dropout: Share of the hidden units that are dropped in training.
        hidden_units: 0 makes a single linear layer.

    Example:
        >>> mlp_head(768, 4, hidden_units=0)
        Linear(in_features=768, out_features=4, bias=True)
    """
    if not hidden_units:
        return nn.Linear(num_features, num_classes)
    return nn.Sequential(
        nn.Linear(num_features, hidden_units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_units, num_classes)
    )


def require_fit(head: nn.Module, num_features: int, num_classes: int) -> None:
    """Raise a UserError where a head does not take what the pooling gives, or gives other logits than asked for.

    Example:
        >>> require_fit(nn.Linear(768, 4), num_features=1536, num_classes=4)
        Traceback (most recent call last):
        speechshap.errors.UserError: `head` does not take what the pooling gives, (batch, 1536): mat1 and mat2 ...
    """
    weight = next(head.parameters(), torch.empty(0))
    try:
        with evaluation_mode(head), torch.no_grad():
            logits = head(torch.zeros(1, num_features, dtype=weight.dtype, device=weight.device))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"`head` does not take what the pooling gives, (batch, {num_features}): {reason}") from error
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (1, num_classes):
        raise UserError(f"`head` gives {shape} for one utterance; expected logits {(1, num_classes)}")
