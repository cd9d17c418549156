import pytest
import torch

from speechshap.attribution import PathDensity
from speechshap.attribution.baselines import gaussian_noise
from speechshap.attribution.sampling import NUM_BINS, SCHEMES, PathSampler, Scheme


def sampler(scheme: Scheme = "adaptive", ids: tuple[str, ...] = ("a", "b"), seed: int = 0) -> PathSampler:
    inputs = torch.randn(len(ids), 10, generator=torch.Generator().manual_seed(0))
    return PathSampler(inputs, [10] * len(ids), ids, gaussian_noise(), scheme, seed, PathDensity())


def test_points_of_a_density_are_distributed_as_it_says() -> None:
    density = PathDensity((0.4, 2.0, 0.6))
    alphas, weights = density.points(torch.linspace(0, 1, 30001, dtype=torch.float64))
    counts = torch.histc(alphas, 3, 0, 1) / len(alphas)
    torch.testing.assert_close(counts, torch.tensor([0.4, 2.0, 0.6], dtype=torch.float64) / 3, atol=1e-3, rtol=0)
    assert set(weights.tolist()) == {2.5, 0.5, 1 / 0.6}
    # Weighted, they integrate any function: here alpha squared, whose integral is 1/3.
    assert float((weights * alphas.square()).mean()) == pytest.approx(1 / 3, abs=1e-4)


def test_the_best_density_is_proportional_to_the_root_of_the_second_moment() -> None:
    moments = torch.tensor([1.0, 4.0, 9.0, 4.0])
    heights = torch.tensor(PathDensity.from_second_moments(moments).heights)
    expected = 0.2 + 0.8 * torch.tensor([0.5, 1.0, 1.5, 1.0])
    torch.testing.assert_close(heights, expected, atol=0.07, rtol=0)  # rounded to sixteenths
    few = torch.tensor(PathDensity.from_second_moments(moments, observations=16).heights)
    torch.testing.assert_close(few - 1, (heights - 1) / 2, atol=0.07, rtol=0)
    slightly_different = moments * torch.tensor([1 + 1e-6, 1, 1 - 1e-6, 1])
    assert PathDensity.from_second_moments(slightly_different) == PathDensity.from_second_moments(moments)


@pytest.mark.parametrize("heights", [(), (1.0, -1.0, 3.0), (2.0, 1.0), (float("nan"),)])
def test_heights_that_are_no_density(heights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected positive numbers with mean 1"):
        PathDensity(heights)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_draws_belong_to_the_seed_the_id_and_the_number(scheme: Scheme) -> None:
    one, other = sampler(scheme), sampler(scheme, ids=("b",))
    assert all(torch.equal(x, y) for x, y in zip(one.draw(1, 7), one.draw(1, 7), strict=True))
    assert torch.equal(one.draw(1, 7).alphas, other.draw(0, 7).alphas)
    for different in (one.draw(1, 8), one.draw(0, 7), sampler(scheme, seed=1).draw(1, 7)):
        assert not torch.equal(one.draw(1, 7).alphas, different.alphas)
        assert not torch.equal(one.draw(1, 7).reference, different.reference)


def test_schemes_place_their_alphas_as_they_say() -> None:
    draws = {scheme: [sampler(scheme).draw(0, number).alphas for number in range(50)] for scheme in SCHEMES}
    assert all(len(alphas) == 1 for alphas in draws["uniform"])
    assert all(float(alphas.sum()) == pytest.approx(1) for alphas in draws["antithetic"])
    for alphas in draws["stratified"]:
        assert 0 <= alphas[0] < 0.5 <= alphas[1] < 1
    assert all(torch.equal(x, y) for x, y in zip(draws["stratified"], draws["adaptive"], strict=True))


def test_what_was_observed_moves_the_next_round_of_that_utterance_only() -> None:
    own = sampler()
    alphas = (torch.arange(NUM_BINS) + 0.5).double() / NUM_BINS
    for _ in range(4):
        own.observe(0, alphas, torch.where(torch.arange(NUM_BINS) == 3, 100.0, 0.1))
    assert int(own.second_moments(0).argmax()) == 3
    own.next_round(0)
    drawn = torch.cat([own.draw(0, number).alphas for number in range(200)])
    assert float(((drawn > 2 / 16) & (drawn < 5 / 16)).double().mean()) > 2 * 3 / 16
    assert torch.equal(own.draw(1, 0).alphas, sampler().draw(1, 0).alphas)
    plain = sampler("stratified")
    plain.observe(0, alphas, torch.ones(NUM_BINS))
    plain.next_round(0)
    assert torch.equal(plain.draw(0, 0).alphas, sampler("stratified").draw(0, 0).alphas)
