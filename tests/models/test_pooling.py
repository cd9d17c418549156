import torch

from speechshap.models import masked_mean


def test_masked_mean_by_hand() -> None:
    frames = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [float("nan"), 9.0]]])
    assert masked_mean(frames, torch.tensor([2])).tolist() == [[2.0, 4.0]]
