import numpy as np
import pytest
import torch

from speechshap.attribution import Evaluator, PathDensity, gaussian_noise
from speechshap.attribution.completeness import Completeness, FixedCompleteness
from speechshap.attribution.quadrature import NestedRules
from speechshap.attribution.replicates import PathPoint
from speechshap.attribution.sampling import POINTS_PER_REPLICATE, PathSampler, Scheme

KEYS = [(0, replicate, 0) for replicate in range(40)]


def points_of(keys: list[tuple[int, int, int]]) -> list[PathPoint]:
    return [PathPoint(*key) for key in keys]


def ones(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.float64)


def test_the_gap_is_what_the_sums_lack_of_the_difference() -> None:
    completeness = Completeness(1)
    # Two rows of one replicate, with a weight of their own each.
    completeness.add_rows(
        points_of([(0, 0, 0), (0, 0, 1), (0, 1, 0)]), torch.tensor([[2.0], [1.0], [5.0]]), torch.tensor([0.5, 2.0, 1.0])
    )
    completeness.add_references([(0, 0, 0), (0, 0, 1), (0, 1, 0)], torch.tensor([[0.25], [0.75], [1.5]]))
    gap, error = completeness.gap(torch.tensor([[6.0]]))
    assert gap.tolist() == [[4 - (6 - 1)]]
    # Sums and outputs vary together: they are 3.5 and 6.5.
    assert error.tolist() == [[pytest.approx(1.5)]]


def test_the_error_of_the_gap_is_that_of_the_sums_and_of_fewer_references() -> None:
    """Over many runs, in which both are random and depend on each other."""
    generator = np.random.default_rng(0)
    gaps, errors = [], []
    for _ in range(2000):
        references = generator.normal(size=40)
        sums = -references + generator.normal(0, 0.3, size=40)  # as of a model that is nearly linear
        completeness = Completeness(1)
        completeness.add_rows(points_of(KEYS), torch.from_numpy(sums)[:, None], ones(40))
        completeness.add_references(KEYS[:10], torch.from_numpy(references[:10])[:, None])
        gap, error = completeness.gap(torch.zeros(1, 1))
        gaps.append(float(gap))
        errors.append(float(error) ** 2)
    assert np.mean(errors) == pytest.approx(np.var(gaps), rel=0.1)


def test_one_replicate_has_a_gap_and_no_error() -> None:
    completeness = Completeness(2)
    completeness.add_rows(points_of([(0, 0, 0), (0, 1, 0), (1, 0, 0)]), torch.tensor([[1.0], [2.0], [3.0]]), ones(3))
    completeness.add_references([(0, 0, 0), (0, 1, 0), (1, 0, 0)], torch.zeros(3, 1))
    gap, error = completeness.gap(torch.tensor([[1.5], [2.0]]))
    assert gap.tolist() == [[0.0], [1.0]]
    assert error is None


@pytest.mark.parametrize("scheme", ["uniform", "stratified"])
def test_a_twentieth_as_many_references_as_points_are_asked_for(scheme: Scheme) -> None:
    evaluator = Evaluator(lambda waveforms: waveforms, torch.ones(1, 4))
    sampler = PathSampler(evaluator, gaussian_noise(), scheme, 0, PathDensity.base())
    points = sampler.points(0, 0, 2000 // POINTS_PER_REPLICATE[scheme])
    asked = [key for point in points if sampler.needs_output(key := sampler.reference_key(point))]
    assert asked[:2] == [(0, 0, 0), (0, 1, 0)]
    assert len(asked) == pytest.approx(2000 / 20, abs=1)


def test_the_error_of_a_fixed_gap_is_the_difference_of_two_rules() -> None:
    """For the integrand 3 a^2, whose integral is 1; one node in the middle takes 3/4."""
    rules = NestedRules.of([1, 3])
    completeness = FixedCompleteness(rules.sizes, 1, 1)
    points = [PathPoint(0, 0, number) for number in range(3)]
    completeness.add_rows(points, 3 * rules.nodes[:, None] ** 2, rules.weights)
    completeness.add_references([(0, 0, 0)], torch.tensor([[0.5]]))
    gap, error = completeness.gap(torch.tensor([[1.25]]))
    assert gap.item() == pytest.approx(1 + 0.5 - 1.25)
    assert error.item() == pytest.approx(1 / 4)
