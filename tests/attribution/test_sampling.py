import math
from itertools import pairwise

import pytest
import torch

from speechshap.attribution import Evaluator, PathDensity
from speechshap.attribution.baselines import gaussian_noise
from speechshap.attribution.replicates import PathPoint
from speechshap.attribution.sampling import EDGES, NUM_BINS, PILOT, SCHEMES, PathSampler, Scheme, bin_of

CENTRES = (torch.tensor(EDGES[1:], dtype=torch.float64) + torch.tensor(EDGES[:-1], dtype=torch.float64)) / 2


BASE = PathDensity.base()


def sampler(
    scheme: Scheme = "adaptive", ids: tuple[str, ...] = ("a", "b"), seed: int = 0, density: PathDensity = BASE
) -> PathSampler:
    inputs = torch.randn(len(ids), 10, generator=torch.Generator().manual_seed(0))
    evaluator = Evaluator(lambda waveforms: waveforms, inputs, ids=ids)
    return PathSampler(evaluator, gaussian_noise(), scheme, seed, density)


def heights(middle: float) -> tuple[float, ...]:
    """Twice as much from 0.4 to 0.5 as elsewhere, for instance."""
    return tuple(middle if 0.4 <= left < 0.45 else 1.0 for left in EDGES[:-1])


@pytest.mark.parametrize("density", [PathDensity.uniform(), PathDensity.base(), PathDensity(heights(3.0))])
def test_points_are_distributed_as_the_density_says(density: PathDensity) -> None:
    alphas, weights = density.points(torch.linspace(0, 1, 200001, dtype=torch.float64)[:-1])
    shares = torch.bincount(bin_of(alphas), minlength=NUM_BINS) / len(alphas)
    expected = torch.tensor(density.heights, dtype=torch.float64) * torch.tensor(EDGES, dtype=torch.float64).diff()
    torch.testing.assert_close(shares.double(), expected / expected.sum(), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights, 1 / density.at(alphas))
    # Weighted, they integrate any function: alpha squared, and one that grows towards the end.
    assert float((weights * alphas.square()).mean()) == pytest.approx(1 / 3, abs=1e-4)
    assert float((weights / (1.001 - alphas)).mean()) == pytest.approx(math.log(1001), rel=1e-3)
    assert float(weights.max()) <= 1 / 0.85 + 1e-9 or density.heights == heights(3.0)


def test_the_best_density_is_proportional_to_the_root_of_the_second_moment() -> None:
    ratios = torch.ones(NUM_BINS)
    ratios[10] = 900.0
    base, learnt = PathDensity.base(), PathDensity.learnt(ratios)
    inside = torch.tensor([0.45], dtype=torch.float64)  # the eleventh bin: 0.4 to 0.5
    outside = torch.tensor([0.25], dtype=torch.float64)
    expected = (0.2 + 0.8 * 30 / 3.465) / (0.2 + 0.8 / 3.465)  # mixed with the base density; bin mass 0.085
    rise = float(learnt.at(inside) / learnt.at(outside)) / float(base.at(inside) / base.at(outside))
    assert rise == pytest.approx(expected, rel=0.2)  # heights are rounded
    few = PathDensity.learnt(ratios, observations=8)
    assert 1 < float(few.at(inside) / few.at(outside)) < rise
    assert PathDensity.learnt(ratios * (1 + 1e-6 * torch.arange(NUM_BINS))) == learnt


def test_a_density_that_promises_little_is_uniform() -> None:
    flat = 1 / PathDensity.base().at(CENTRES).square()
    assert PathDensity.learnt(flat) == PathDensity.uniform()
    assert PathDensity.learnt(flat * CENTRES) == PathDensity.uniform()
    spike = 1 / (1.0001 - CENTRES).square()
    assert float(PathDensity.learnt(flat * spike).at(torch.tensor([0.9999]))) > 10


@pytest.mark.parametrize("wrong", [(), (1.0, -1.0, 3.0), (-1.0,) * NUM_BINS, (float("nan"),) * NUM_BINS])
def test_heights_that_are_no_density(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=f"expected {NUM_BINS} positive numbers"):
        PathDensity(wrong)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_draws_belong_to_the_seed_the_id_and_the_number(scheme: Scheme) -> None:
    one, other = sampler(scheme), sampler(scheme, ids=("b",))
    assert all(torch.equal(x, y) for x, y in zip(one.draw(1, 7), one.draw(1, 7), strict=True))
    assert torch.equal(one.draw(1, 7).alphas, other.draw(0, 7).alphas)
    for different in (one.draw(1, 8), one.draw(0, 7), sampler(scheme, seed=1).draw(1, 7)):
        assert not torch.equal(one.draw(1, 7).alphas, different.alphas)
    references = [
        one.reference((1, 7, 0)),
        one.reference((1, 8, 0)),
        one.reference((0, 7, 0)),
        one.reference((1, 7, 1)),
    ]
    assert all(not torch.equal(references[0], different) for different in references[1:])


@pytest.mark.parametrize(("scheme", "expected"), [("uniform", [0, 0]), ("antithetic", [0]), ("stratified", [0, 1])])
def test_points_share_a_reference_where_they_mirror_each_other_alone(scheme: Scheme, expected: list[int]) -> None:
    keys = list(dict.fromkeys(sampler(scheme).reference_key(point) for point in sampler(scheme).points(1, 4, 5)))
    assert keys == [(1, 4, number) for number in dict.fromkeys(expected)]
    pilot = [PathPoint(1, PILOT, number) for number in range(3)]
    assert {sampler(scheme).reference_key(point) for point in pilot} == {(1, PILOT, 0)}


def test_schemes_place_their_alphas_as_they_say() -> None:
    draws = {scheme: [sampler(scheme).draw(0, number).alphas for number in range(50)] for scheme in SCHEMES}
    assert all(len(alphas) == 1 for alphas in draws["uniform"])
    assert all(float(alphas.sum()) == pytest.approx(1) for alphas in draws["antithetic"])
    for alphas in draws["stratified"]:
        assert 0 <= alphas[0] < 0.5 <= alphas[1] < 1
    near_the_ends = [min(float(alphas[0]), 1 - float(alphas[1])) < 0.03 for alphas in draws["adaptive"]]
    assert 0.1 < sum(near_the_ends) / 50 < 0.7


def test_what_was_observed_moves_the_next_round_of_that_utterance_only() -> None:
    own = sampler()
    alphas = torch.tensor([(left + right) / 2 for left, right in pairwise(EDGES)], dtype=torch.float64)
    for _ in range(4):
        own.observe(0, alphas, torch.where(torch.arange(NUM_BINS) == 10, 1e4, 0.1))
    assert int(own.second_moments(0).argmax()) == 10
    own.next_round(0)
    drawn = torch.cat([own.draw(0, number).alphas for number in range(200)])
    assert float(((drawn > 0.3) & (drawn < 0.6)).double().mean()) > 0.4
    assert torch.equal(own.draw(1, 0).alphas, sampler().draw(1, 0).alphas)
    plain = sampler("stratified")
    plain.observe(0, alphas, torch.ones(NUM_BINS))
    plain.next_round(0)
    assert torch.equal(plain.draw(0, 0).alphas, sampler("stratified").draw(0, 0).alphas)


@pytest.mark.parametrize(("norms", "stays_uniform"), [
    ((1.0, 1.0, 1.0), True), ((0.1, 1.0, 10.0), True), ((0.1, 1.0, 50.0), False), ((50.0, 1.0, 1.0), False),
])  # fmt: skip
def test_the_pilot_of_an_utterance_finds_what_is_large_at_the_ends(
    norms: tuple[float, ...], stays_uniform: bool
) -> None:
    own, plain = sampler(density=PathDensity.uniform()), sampler("stratified")
    assert own.has_pilot
    assert not plain.has_pilot
    assert torch.equal(own.draw(0, 3).alphas, plain.draw(0, 3).alphas)
    alphas = own.draw(0, PILOT).alphas
    own.observe(0, alphas, torch.tensor(norms).square())
    own.after_pilot(0)
    assert torch.equal(own.draw(0, 3).alphas, plain.draw(0, 3).alphas) == stays_uniform
    assert torch.equal(own.draw(1, 3).alphas, plain.draw(1, 3).alphas)  # another utterance has its own
    assert torch.equal(own.reference((0, 3, 1)), plain.reference((0, 3, 1)))


def test_what_is_level_along_the_path_keeps_uniform_points() -> None:
    own = sampler(density=PathDensity.uniform())
    for number in range(8):
        alphas = own.draw(0, number).alphas
        own.observe(0, alphas, torch.ones_like(alphas))
    own.next_round(0)
    assert torch.equal(own.draw(0, 9).weights, torch.ones(2, dtype=torch.float64))
