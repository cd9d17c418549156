import pytest
import torch
from transformers import HubertConfig, HubertModel

from speechshap.frames import STRETCHES, FrameGrid


def test_frame_counts_are_those_of_hugging_face_for_every_length() -> None:
    model = HubertModel(HubertConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, conv_dim=[4] * 7))
    grid = FrameGrid()
    lengths = torch.arange(400, 4000)
    expected = model._get_feat_extract_output_lengths(lengths)
    assert [grid.num_frames(int(length)) for length in lengths] == expected.tolist()


@pytest.mark.parametrize("length", [400, 719, 720, 1040, 16000])
def test_each_sample_belongs_to_the_frame_with_the_nearest_centre(length: int) -> None:
    grid = FrameGrid()
    centres = torch.arange(grid.num_frames(length)) * 320 + 199.5
    distance = (torch.arange(length)[:, None] - centres).abs()
    assert torch.equal(grid.owner(length), distance.argmin(1))


def test_plain_stretches_own_the_samples_that_they_see() -> None:
    assert STRETCHES.hop_seconds == 0.02
    assert STRETCHES.edges(1000).tolist() == [0, 320, 640, 1000]


def test_the_frames_share_out_all_samples() -> None:
    edges = FrameGrid().edges(16000)
    assert edges[0] == 0
    assert edges[-1] == 16000
    assert len(edges) == 50
    assert (edges.diff() > 0).all()
    assert torch.equal(FrameGrid().owner(16000).bincount(), edges.diff())


def test_a_frame_is_centred_in_the_stretch_that_it_owns() -> None:
    grid = FrameGrid()
    edges = grid.edges(16000) / 16000
    centers = grid.center_seconds(16000)
    assert len(centers) == 49
    torch.testing.assert_close(centers[1:-1], (edges[1:-2] + edges[2:-1] - 1 / 16000) / 2)
    assert (centers > edges[:-1]).all()
    assert (centers < edges[1:]).all()
