import numpy as np
import pytest
import torch
from scipy.integrate import quad

from speechshap.attribution.quadrature import NestedRules, NestedSums, fejer
from speechshap.attribution.replicates import ReplicatePart


@pytest.mark.parametrize("count", [1, 2, 3, 7, 15, 31])
def test_a_rule_is_exact_for_polynomials_of_a_degree_below_its_size(count: int) -> None:
    nodes, weights = fejer(count)
    for degree in range(count):
        assert float((weights * nodes**degree).sum()) == pytest.approx(1 / (degree + 1), rel=1e-12)
    assert (weights > 0).all()
    assert ((nodes > 0) & (nodes < 1)).all()


def test_a_smooth_integral_is_that_of_scipy() -> None:
    nodes, weights = fejer(31)
    expected, _ = quad(lambda alpha: np.exp(alpha) / (1 + 5 * alpha**2), 0, 1)
    assert float((weights * nodes.exp() / (1 + 5 * nodes**2)).sum()) == pytest.approx(expected, rel=1e-12)


def test_each_rule_has_the_nodes_of_the_one_before() -> None:
    rules = NestedRules.of([7, 15, 31])
    for rule, size in enumerate(rules.sizes):
        nodes, weights = fejer(size)
        own = rules.nodes[:size].sort(descending=True)
        torch.testing.assert_close(own.values, nodes)
        torch.testing.assert_close(rules.weights[:size, rule][own.indices], weights)
        assert not rules.weights[size:, rule].any()


def test_sums_by_the_largest_rule_that_is_complete() -> None:
    rules = NestedRules.of([1, 3, 7])
    sums = NestedSums(rules.sizes, 2, (2,), torch.float64, torch.device("cpu"))
    cubes = rules.nodes[:, None] ** torch.tensor([3, 2])
    sums.add(cubes[:3], rules.weights[:3], [ReplicatePart(0, 3, False)])
    # Rows of two utterances, the second of which is narrower.
    sums.add(torch.cat([cubes[3:7, :1], cubes[:1, :1]]), torch.cat([rules.weights[3:7], rules.weights[:1]]), [
        ReplicatePart(0, 4, True), ReplicatePart(1, 1, False)
    ])  # fmt: skip
    sums.add(cubes[1:3, :1], rules.weights[1:3], [ReplicatePart(1, 2, False)])
    assert sums.mean[0, 0].item() == pytest.approx(1 / 4)
    assert sums.mean[1].tolist() == pytest.approx([1 / 4, 0])
    # Three nodes are exact for a cube by symmetry, one in the middle takes 1/8.
    assert sums.difference()[1, 0].item() == pytest.approx(1 / 8)
