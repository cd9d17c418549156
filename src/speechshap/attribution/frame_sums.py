"""Sums over frames, a block of samples at a time."""

import torch
from torch import Tensor

from speechshap.frames import FrameGrid

_BLOCK_SAMPLES = 2**18  # 16 s


def sum_frames(
    left: Tensor, right: Tensor, frame_lengths: Tensor, num_frames: int, grid: FrameGrid, dtype: torch.dtype
) -> Tensor:
    """Sum the products of samples over the frames that own them (:meth:`speechshap.frames.FrameGrid.edges`).

    Args:
        left: ``(R, T)``.
        right: ``(R, T)``.
        frame_lengths: Frames of each row, ``(R,)`` int64; the last one owns all that follows.
        num_frames: Most frames of a row.
        grid: Where the frames lie.
        dtype: Of the sums.

    Returns:
        ``(R, num_frames)``; 0 beyond the frames of a row.

    Example:
        >>> samples, ones = torch.arange(9.0)[None], torch.ones(1, 9)
        >>> sum_frames(samples, ones, torch.tensor([3]), 4, FrameGrid(hop=2, receptive_field=4), torch.float64)
        tensor([[ 3.,  7., 26.,  0.]], dtype=torch.float64)
    """
    # Stretches of a hop, which end where frames do: the first frame owns one or several, the last one what is left.
    of_first = -(-grid.first_edge // grid.hop)
    before = of_first * grid.hop - grid.first_edge  # samples that the first stretch lacks
    num_samples = left.shape[1]
    block = max(1, _BLOCK_SAMPLES // grid.hop) * grid.hop
    frames = left.new_zeros(len(left), num_frames, dtype=dtype)
    for start in range(-before, num_samples, block):
        inside = slice(max(0, start), start + block)
        products = left[:, inside] * right[:, inside]
        lacking = (inside.start - start, -(inside.start - start + products.shape[1]) % grid.hop)
        whole = torch.nn.functional.pad(products, lacking)
        stretches = whole.view(len(whole), -1, grid.hop).sum(2, dtype=dtype)
        number = (start + before) // grid.hop + torch.arange(stretches.shape[1], device=left.device)
        owners = torch.minimum((number - of_first + 1).clamp_min(0), frame_lengths[:, None] - 1)
        frames.scatter_add_(1, owners, stretches)
    return frames
