import pytest
import torch
from scipy.stats import spearmanr

from speechshap.evaluation import rank_correlation


@pytest.mark.parametrize("levels", [0, 2])
def test_it_is_the_correlation_of_scipy(levels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(5, 30, generator=generator)
    other = one + torch.randn(5, 30, generator=generator)
    if levels:  # many are equal
        one, other = ((values * levels).round() for values in (one, other))
    valid = torch.arange(30) < torch.tensor([[30], [20], [10], [30], [25]])
    expected = [
        spearmanr(first[mask], second[mask]).statistic
        for first, second, mask in zip(one.numpy(), other.numpy(), valid.numpy(), strict=True)
    ]
    torch.testing.assert_close(rank_correlation(one, other, valid), torch.tensor(expected).float())


def test_an_explanation_agrees_with_itself_and_not_with_its_reverse() -> None:
    frames, valid = torch.randn(1, 20, generator=torch.Generator().manual_seed(0)), torch.ones(1, 20, dtype=torch.bool)
    assert float(rank_correlation(frames, frames**3, valid)) == pytest.approx(1)
    assert float(rank_correlation(frames, -frames, valid)) == pytest.approx(-1)
    assert rank_correlation(frames, torch.ones(1, 20), valid).isnan().all()
