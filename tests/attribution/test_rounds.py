import pytest
import torch
from torch import Tensor

from speechshap.attribution import Evaluator, PathDensity, Targets, gaussian_noise, gradient_shap
from speechshap.attribution.path import PathEstimator
from speechshap.attribution.rounds import advance_to
from speechshap.attribution.sampling import PathSampler, Scheme
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=6)


def quadratic(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([inputs.square().sum(1), inputs[:, 0] * inputs[:, 1]], dim=1)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("scheme", "rounds"), [("uniform", [16, 32, 64, 71]), ("adaptive", [8, 16, 32, 36])])
def test_every_round_doubles_what_there_is_and_the_sampler_learns_in_between(
    inputs: Tensor, scheme: Scheme, rounds: list[int]
) -> None:
    evaluator = Evaluator(quadratic, inputs)
    sampler = PathSampler(evaluator, gaussian_noise(), scheme, 0, PathDensity.base())
    estimator = PathEstimator(evaluator, Targets.from_classes(3, 0), sampler)
    told: list[object] = []
    advance, next_round = estimator.advance, sampler.next_round
    estimator.advance = lambda goals: (told.append(goals), advance(goals))
    sampler.next_round = lambda utterance: (told.append(utterance), next_round(utterance))
    advance_to(estimator, sampler, 71)
    first, *others = rounds
    assert told == [[first] * 3, *(each for goal in others for each in (0, 1, 2, [goal] * 3))]


def test_auto_draws_until_the_tolerance_is_met_and_says_when_it_was_not(inputs: Tensor) -> None:
    options = {"targets": torch.zeros(3, 1, dtype=torch.int64), "grid": GRID, "chunk_size": 100}
    result = gradient_shap(quadratic, inputs, n_samples="auto", tolerance=0.15, max_samples=5000, **options)
    assert result.converged.all()
    assert (result.relative_error <= 0.15).all()
    assert (result.n_samples > 16).all()
    assert len(set(result.n_samples.tolist())) > 1  # each utterance stops for itself
    alone = gradient_shap(
        quadratic, inputs[1:2], n_samples="auto", tolerance=0.15, max_samples=5000, ids=["1"],
        **{**options, "targets": torch.zeros(1, 1, dtype=torch.int64)},
    )  # fmt: skip
    assert int(alone.n_samples[0]) == int(result.n_samples[1])
    hasty = gradient_shap(quadratic, inputs, n_samples="auto", tolerance=0.001, max_samples=40, **options)
    assert not hasty.converged.any()
    assert hasty.n_samples.tolist() == [40] * 3
