import pytest
import torch
from helpers import PADDED_GRIDS, WHISPER_GRID
from torch.nn.functional import conv1d, pad
from transformers import HubertConfig, HubertModel

from speechshap.frames import STRETCHES, FrameGrid


def test_frame_counts_are_those_of_hugging_face_for_every_length() -> None:
    model = HubertModel(HubertConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, conv_dim=[4] * 7))
    grid = FrameGrid()
    lengths = torch.arange(400, 4000)
    expected = model._get_feat_extract_output_lengths(lengths)
    assert [grid.num_frames(int(length)) for length in lengths] == expected.tolist()


def test_frames_of_a_padded_stem_by_hand() -> None:
    counts = {0: 0, 159: 0, 160: 1, 479: 1, 480: 2, 16_000: 50, 480_000: 1500}
    assert {length: WHISPER_GRID.num_frames(length) for length in counts} == counts
    assert (WHISPER_GRID.shortest, WHISPER_GRID.first_center, WHISPER_GRID.first_edge) == (160, 0, 160)
    torch.testing.assert_close(WHISPER_GRID.center_seconds(1000), torch.tensor([0.0, 0.02, 0.04]))
    assert WHISPER_GRID.edges(160).tolist() == [0, 160]
    assert WHISPER_GRID.edges(1000).tolist() == [0, 160, 480, 1000]


def test_frames_of_a_padded_stem_are_those_that_its_convolutions_make() -> None:
    def stem(samples: torch.Tensor) -> torch.Tensor:
        """Convolutions that see what Whisper's windows, all but the last, and its two convolutions do."""
        windows = conv1d(pad(samples[None], (199, 40)), torch.ones(1, 1, 399, dtype=samples.dtype), stride=160)
        ones = torch.ones(1, 1, 3, dtype=samples.dtype)
        return conv1d(conv1d(windows, ones, padding=1), ones, stride=2, padding=1)[0]

    for length in range(160, 1500):
        frames = stem(torch.ones(length))
        assert WHISPER_GRID.num_frames(length) == len(frames) == (length // 160 - 1) // 2 + 1
    samples = torch.ones(5000, dtype=torch.float64, requires_grad=True)
    centers = WHISPER_GRID.center_seconds(5000) * 16_000
    for frame in range(2, 13):  # those that see no padding
        seen = torch.autograd.grad(stem(samples)[frame], samples)[0].nonzero()
        assert len(seen) == WHISPER_GRID.receptive_field
        assert seen.double().mean() == pytest.approx(float(centers[frame]), abs=1e-3)


@pytest.mark.parametrize("grid", [FrameGrid(), STRETCHES, FrameGrid(7, 40), *PADDED_GRIDS])
def test_each_sample_belongs_to_the_frame_with_the_nearest_centre(grid: FrameGrid) -> None:
    for length in (1, 400, 719, 720, 1040, 16_000):
        frames = max(1, grid.num_frames(length))
        centers = torch.arange(frames) * grid.hop + (grid.receptive_field - 1) / 2 - grid.padding_before
        # Of two that are as near, the later one.
        distance = (torch.arange(length)[:, None] + 0.25 - centers).abs()
        assert torch.equal(grid.owner(length), distance.argmin(1))


@pytest.mark.parametrize("grid", [FrameGrid(), STRETCHES, FrameGrid(7, 40), *PADDED_GRIDS])
def test_the_frames_share_out_all_samples(grid: FrameGrid) -> None:
    for length in (grid.shortest, grid.shortest + 1, 719, 1040, 16_000):
        edges, frames = grid.edges(length), max(1, grid.num_frames(length))
        assert (edges[0], edges[-1], len(edges)) == (0, length, frames + 1)
        assert (edges.diff() >= 0).all()
        assert torch.equal(grid.owner(length).bincount(minlength=frames), edges.diff())


@pytest.mark.parametrize("grid", [FrameGrid(), STRETCHES, FrameGrid(7, 40), *PADDED_GRIDS])
def test_nothing_shorter_than_the_shortest_utterance_has_a_frame(grid: FrameGrid) -> None:
    assert grid.num_frames(grid.shortest) >= 1
    assert grid.shortest == 1 or grid.num_frames(grid.shortest - 1) == 0


def test_plain_stretches_own_the_samples_that_they_see() -> None:
    assert STRETCHES.hop_seconds == 0.02
    assert STRETCHES.edges(1000).tolist() == [0, 320, 640, 1000]


@pytest.mark.parametrize("grid", [FrameGrid(), WHISPER_GRID])
def test_a_frame_is_centred_in_the_stretch_that_it_owns(grid: FrameGrid) -> None:
    edges = grid.edges(16000)
    centers = grid.center_seconds(16000) * 16000
    assert len(centers) == len(edges) - 1 == grid.num_frames(16000)
    middles = (edges[:-1] + edges[1:] - 1) / 2  # of the samples that each owns
    assert (centers - middles)[1:-1].abs().max() <= 0.51  # a stretch of even length has no middle sample
    assert (centers >= edges[:-1]).all()
    assert (centers < edges[1:]).all()
