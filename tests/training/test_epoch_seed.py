"""Random numbers of an epoch depend on seed, epoch and rank, and on nothing else."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from speechshap.training import EpochSeed
from speechshap.training.epoch_seed import seed_epoch


def draws(*place: int) -> tuple[float, float, float]:
    seed_epoch(*place)
    return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002, S311


def test_another_seed_epoch_or_rank_draws_other_numbers_from_all_generators() -> None:
    drawn = [draws(*place) for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    for generator in zip(*drawn, strict=True):
        assert len(set(generator)) == 4
    assert draws(0, 1, 0) == drawn[2]


@pytest.mark.parametrize(("seed", "is_seeded"), [("0", True), (None, False)])
def test_a_run_without_a_seed_stays_unseeded(
    seed: str | None, is_seeded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed is None:
        monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    else:
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
    trainer: Any = SimpleNamespace(current_epoch=3, global_rank=0)
    drawn = []
    for _ in range(2):
        EpochSeed().on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        drawn.append(float(torch.rand(())))
    assert (drawn[0] == drawn[1]) is is_seeded
