"""From frames to one vector an utterance."""

import torch
from torch import Tensor


def masked_mean(frames: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean over the frames that belong to the utterance.

    Args:
        frames: ``(batch, frames, features)``.
        frame_lengths: ``(batch,)`` frames of each utterance.

    Returns:
        ``(batch, features)``.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    mask = torch.arange(frames.shape[1], device=frames.device) < frame_lengths[:, None]  # (batch, frames)
    # Filling and not multiplying, so that padding that is not finite stays out as well.
    return frames.masked_fill(~mask[..., None], 0).sum(1) / frame_lengths[:, None].to(frames.dtype)
