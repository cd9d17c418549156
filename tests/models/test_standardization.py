from functools import reduce

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from speechshap.models.standardization import Standardization, merge_moments, moments_of


def features(*shape: int) -> Tensor:
    """Features of very unequal means and deviations, two of which do not vary."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    values = values * torch.logspace(-4, 4, shape[-1]) + torch.linspace(-50, 50, shape[-1])
    values[..., 2], values[..., 5] = 0.0, 0.1
    return values


@pytest.mark.parametrize("sizes", [[60], [1, 59], [7, 1, 20, 32]])
def test_moments_of_batches_are_those_of_scikit_learn_of_all(sizes: list[int]) -> None:
    values = features(3, 60, 8)
    standardization = Standardization(3, 8).double()
    standardization.fit(reduce(merge_moments, map(moments_of, values.split(sizes, 1))))
    assert int(standardization.num_utterances) == 60
    for state in range(3):
        scaler = StandardScaler().fit(values[state].numpy())
        np.testing.assert_allclose(standardization.mean[state], scaler.mean_, rtol=1e-12)
        np.testing.assert_allclose(standardization.deviation[state], scaler.scale_, rtol=1e-10)
        expected = scaler.transform(values[state].numpy())
        np.testing.assert_allclose(standardization(values)[state], expected, rtol=1e-9, atol=1e-9)


def test_a_small_deviation_around_a_large_mean_is_kept() -> None:
    """Sums of squares would lose it."""
    values = 1e6 + 0.1 * torch.randn(1, 200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moments = reduce(merge_moments, map(moments_of, values.split(9, 1)))
    deviation = (moments.squares / moments.num_values).sqrt()
    torch.testing.assert_close(deviation, values.std(1, correction=0), rtol=1e-8, atol=0)


def test_rounding_of_a_feature_that_is_constant_is_not_blown_up() -> None:
    values = torch.full((1, 50, 1), 300.0)
    values[0, ::3] = torch.nextafter(values[0, ::3], torch.tensor(1e9))
    standardization = Standardization(1, 1)
    standardization.fit(moments_of(values))
    assert float(standardization(values).abs().max()) < 1e-3


def test_nothing_changes_before_it_is_fitted_and_a_state_dict_brings_the_fit() -> None:
    values, standardization = features(2, 5, 8).float(), Standardization(2, 8)
    assert torch.equal(standardization(values), values)
    assert not standardization.is_fitted
    standardization.fit(moments_of(values))
    copy = Standardization(2, 8)
    copy.load_state_dict(standardization.state_dict())
    assert copy.is_fitted
    assert torch.equal(copy(values), standardization(values))
    assert not torch.equal(copy(values), values)


def test_the_gradient_is_exact() -> None:
    standardization = Standardization(2, 3).double()
    standardization.fit(moments_of(torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))))
    assert torch.autograd.gradcheck(standardization, torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True))


def test_half_precision_is_standardised_in_single_precision() -> None:
    """A mean that is large for the deviation is not rounded to eight bits."""
    values = torch.tensor([[[100.0], [101.0]]])
    standardization = Standardization(1, 1)
    standardization.fit(moments_of(values))
    assert standardization(values.bfloat16()).flatten().tolist() == [-1.0, 1.0]
