import numpy as np
import pytest
from torch.utils.tensorboard import summary as make

from speechshap.report.histogram import EDGES_OF_ANY_SIZE, Histogram, equal_edges


@pytest.mark.parametrize("edges", [EDGES_OF_ANY_SIZE, equal_edges(-1, 3, 17)])
def test_a_histogram_is_that_of_summary_writer_in_whatever_portions_values_come(edges: np.ndarray) -> None:
    values = np.random.default_rng(0).normal(size=5000) * np.logspace(-9, 3, 5000)
    one, other, empty = Histogram(edges), Histogram(edges), Histogram(edges)
    for number, part in enumerate(np.array_split(values, 250)):
        (one if number % 2 else other).take(part)
    one.take(np.zeros(0))
    one.merge(other)
    found, expected = one.summary("x"), make.histogram("x", values, edges)
    assert found is not None
    (mine,), (theirs,) = found.value, expected.value
    assert (mine.histo.bucket_limit, mine.histo.bucket) == (theirs.histo.bucket_limit, theirs.histo.bucket)
    for name in ("min", "max", "num", "sum", "sum_squares"):
        assert getattr(mine.histo, name) == pytest.approx(getattr(theirs.histo, name))
    assert empty.summary("x") is None
