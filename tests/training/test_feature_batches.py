import torch

from speechshap.models import Features
from speechshap.training.feature_batches import FeatureBatch


def test_padding_is_counted_in_frames_of_a_single_state() -> None:
    names = ["a", "b", "c"]
    for frames, lengths, share in ((10, [10, 4, 1], 0.5), (1, [1, 1, 1], 0.0)):
        features = Features(torch.zeros(13, 3, frames, 8), torch.tensor(lengths))
        assert FeatureBatch(features, torch.zeros(3), names, names, names).padding_fraction == share
