"""A training whose numbers are no longer finite."""

from collections.abc import Mapping

from torch import Tensor

from speechshap.errors import UserError


class DivergedError(UserError):
    """The numbers of a training are no longer finite."""


def refuse_loss(loss: Tensor, step: int, epoch: int) -> None:
    """Raise a UserError for a loss that is NaN or infinite.

    Example:
        >>> import torch
        >>> refuse_loss(torch.tensor(float("nan")), step=3, epoch=0)
        Traceback (most recent call last):
        speechshap.training.divergence.DivergedError: the training diverged: the loss is nan in step 3 (epoch 0); ...
    """
    if not bool(loss.isfinite()):
        raise _diverged(f"loss is {loss.item()} in step {step} (epoch {epoch})")


def refuse_weights(weights: Mapping[str, Tensor], step: int) -> None:
    """Raise a UserError for weights of which some are NaN or infinite."""
    if not all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point()):
        raise _diverged(f"weights are no longer finite after step {step}")


def _diverged(what: str) -> DivergedError:
    return DivergedError(
        f"the training diverged: the {what}; take a smaller `learning_rate` or a longer `warmup_fraction`. The "
        "checkpoints of earlier epochs are kept"
    )
