import numpy as np
import pytest
import torch

from speechshap.evaluation import gini, relative_gap


def mean_difference(values: np.ndarray) -> float:
    """Gini index as half the relative mean absolute difference of all pairs."""
    return float(np.abs(values[:, None] - values[None]).mean() / (2 * values.mean()))


def test_it_is_half_the_relative_mean_difference() -> None:
    frames = torch.randn(4, 25, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(25) < torch.tensor([[25], [20], [7], [1]])
    expected = [mean_difference(row[mask].abs().numpy()) for row, mask in zip(frames, valid, strict=True)]
    assert gini(frames, valid).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_gap_is_relative_to_the_change_of_the_output() -> None:
    gap = relative_gap(torch.tensor([3.0, -3.0, 3.0]), torch.tensor([1.0, 1.0, torch.nan]))
    assert gap[:2].tolist() == pytest.approx([0.5, 0.25])
    assert gap[2].isnan()
