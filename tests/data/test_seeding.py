"""Random numbers that belong to something."""

import random

import numpy as np
import pytest
import torch

from speechshap.data.seeding import random_numbers_of, seed_of


def numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311


def test_the_numbers_of_a_key_are_its_own_and_the_same_each_time() -> None:
    drawn = []
    for key in ((0, "a"), (0, "a"), (0, "b"), (1, "a")):
        with random_numbers_of(*key):
            drawn.append(numbers())
    assert drawn[0] == drawn[1]
    for draws in zip(*drawn[1:], strict=True):  # each generator
        assert len(set(draws)) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_all_generators_are_left_behind_as_they_were(fails: bool) -> None:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = numbers()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    try:
        with random_numbers_of("a"):
            numbers()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert numbers() == expected


def test_parts_of_a_key_are_not_run_together() -> None:
    assert seed_of(1, 23) != seed_of(12, 3)
    assert seed_of("a", "bc") != seed_of("ab", "c")
