import pytest
import torch
from attribution.tiny import noise
from helpers import PADDED_GRIDS

from speechshap.attribution.frame_sums import sum_frames
from speechshap.frames import FrameGrid


@pytest.mark.parametrize(
    "grid", [FrameGrid(), FrameGrid(1, 1), FrameGrid(7, 40), FrameGrid(40, 40), FrameGrid(3000, 1), *PADDED_GRIDS]
)
@pytest.mark.parametrize("block", [1, 400, 2**18])
def test_samples_are_summed_over_the_frames_that_own_them(
    grid: FrameGrid, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechshap.attribution.frame_sums._BLOCK_SAMPLES", block)
    lengths = [*torch.randint(1, 1300, (4,), generator=torch.Generator().manual_seed(block)).tolist(), 720, 1300]
    left, right = (noise(len(lengths), 1300, seed=seed, dtype=torch.float32) for seed in range(2))
    for row, length in enumerate(lengths):
        right[row, length:] = 0  # padding
    frame_lengths = torch.tensor([max(1, grid.num_frames(length)) for length in lengths])
    num_frames = int(frame_lengths.max()) + 2
    frames = sum_frames(left, right, frame_lengths, num_frames, grid, torch.float64)
    expected = torch.zeros(len(lengths), num_frames, dtype=torch.float64)
    for row, length in enumerate(lengths):
        products = left[row, :length] * right[row, :length]
        expected[row].index_add_(0, grid.owner(length), products.double())
    torch.testing.assert_close(frames, expected)
