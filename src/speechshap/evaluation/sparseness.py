"""On how few frames an explanation lays its weight."""

import torch
from torch import Tensor


def gini(frames: Tensor, valid: Tensor) -> Tensor:
    """Gini index of the absolute attributions, ``(batch,)``: how sparse an explanation is (Chalasani et al. 2020).

    0 where all frames have the same, near 1 where one has everything. Neither is better: evidence may be short or long,
    and noise is sparse, too.

    Args:
        frames: Attributions, ``(batch, frames)``.
        valid: Frames that count, ``(batch, frames)`` bool.

    Example:
        >>> valid = torch.tensor([[True, True, True, True], [True, True, True, False]])
        >>> gini(torch.tensor([[0.0, 0.0, 0.0, 5.0], [-1.0, 1.0, 1.0, 7.0]]), valid)
        tensor([0.7500, 0.0000])
    """
    count = valid.sum(1, keepdim=True)
    place = torch.arange(1, frames.shape[1] + 1, device=frames.device)
    ordered = frames.abs().masked_fill(~valid, torch.inf).sort(1).values.masked_fill(place > count, 0)
    return ((2 * place - count - 1) * ordered).sum(1) / (count[:, 0] * ordered.sum(1))
