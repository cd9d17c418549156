import numpy as np
import pytest
import torch

from speechshap.attribution.completeness import Completeness

KEYS = [(0, replicate) for replicate in range(40)]


def test_the_gap_is_what_the_sums_lack_of_the_difference() -> None:
    completeness = Completeness(1)
    completeness.add_rows([(0, 0), (0, 0), (0, 1)], torch.tensor([[1.0], [2.0], [5.0]]))  # two rows of one replicate
    completeness.add_references([(0, 0), (0, 1)], torch.tensor([[0.5], [1.5]]))
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
        completeness.add_rows(KEYS, torch.from_numpy(sums)[:, None])
        completeness.add_references(KEYS[:10], torch.from_numpy(references[:10])[:, None])
        gap, error = completeness.gap(torch.zeros(1, 1))
        gaps.append(float(gap))
        errors.append(float(error) ** 2)
    assert np.mean(errors) == pytest.approx(np.var(gaps), rel=0.1)


def test_one_replicate_has_a_gap_and_no_error() -> None:
    completeness = Completeness(2)
    completeness.add_rows([(0, 0), (0, 1), (1, 0)], torch.tensor([[1.0], [2.0], [3.0]]))
    completeness.add_references([(0, 0), (0, 1), (1, 0)], torch.zeros(3, 1))
    gap, error = completeness.gap(torch.tensor([[1.5], [2.0]]))
    assert gap.tolist() == [[0.0], [1.0]]
    assert error is None


@pytest.mark.parametrize("points", [1, 2, 4])
def test_a_twentieth_as_many_references_as_points_are_asked_for(points: int) -> None:
    asked = [replicate for replicate in range(2000 // points) if Completeness.needs_reference(replicate, points)]
    assert asked[:2] == [0, 1]
    assert len(asked) == pytest.approx(2000 / 20, abs=1)
