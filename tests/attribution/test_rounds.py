from collections.abc import Callable

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
    assert hasty.n_samples.tolist() == [39] * 3  # whole replicates, and a pilot


def normalised(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Weighted sum of the samples over their level, which has a floor of 0.001."""
    weights = torch.linspace(-1, 2, inputs.shape[1], dtype=inputs.dtype)
    return torch.stack([(inputs @ weights) / (inputs.norm(dim=1) + 1e-3), inputs[:, 0]], dim=1)


def normalised_attribution(inputs: Tensor) -> Tensor:
    """Of the first output of :func:`normalised` against silence, in closed form."""
    weights, norm = torch.linspace(-1, 2, len(inputs), dtype=inputs.dtype), inputs.norm()
    growth = (1 + norm / 1e-3).log() / norm  # integral of 1 / (a norm + 0.001)
    fall = (growth - 1 / (norm + 1e-3)) / norm  # integral of a / (a norm + 0.001)^2
    return weights * inputs * growth - inputs.square() / norm * (inputs @ weights) * fall


def mean_squared_error(scheme: Scheme, waveform: Tensor) -> float:
    expected = normalised_attribution(waveform[0])
    first = torch.zeros(1, 1, dtype=torch.int64)
    runs = [
        gradient_shap(normalised, waveform, "silence", first, scheme=scheme, n_samples=48, chunk_size=48, seed=seed)
        for seed in range(60)
    ]
    return float(torch.stack([(run.values[0, 0] - expected).square().sum() for run in runs]).mean())


@pytest.mark.slow
def test_spikes_at_the_end_of_the_path_are_met_by_more_points() -> None:
    waveform = torch.randn(1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert mean_squared_error("adaptive", waveform) < mean_squared_error("stratified", waveform) / 3


@pytest.mark.parametrize("baselines", ["noise", "silence"])
@pytest.mark.parametrize("model", [quadratic, lambda x, lengths: torch.stack([2 * x.sum(1), x[:, 0]], dim=1)])
def test_without_spikes_the_adaptive_scheme_is_the_stratified_one(
    inputs: Tensor, baselines: str, model: Callable[..., Tensor]
) -> None:
    """Its only cost is the pilot."""
    options = {"targets": torch.zeros(3, 1, dtype=torch.int64), "grid": GRID, "chunk_size": 100}
    adaptive = gradient_shap(model, inputs, baselines, n_samples=101, **options)
    stratified = gradient_shap(model, inputs, baselines, n_samples=98, scheme="stratified", **options)
    assert adaptive.n_samples.tolist() == [101] * 3
    torch.testing.assert_close(adaptive.values, stratified.values)
    torch.testing.assert_close(adaptive.frames_standard_error, stratified.frames_standard_error)


def test_a_linear_model_is_exact_against_a_fixed_reference(inputs: Tensor) -> None:
    weights = torch.linspace(-1, 1, 40)[:, None] * torch.ones(2)
    result = gradient_shap(lambda x, lengths: x @ weights, inputs, "silence", torch.zeros(3, 1, dtype=torch.int64))
    torch.testing.assert_close(result.values[:, 0], inputs * weights[:, 0])
    assert result.relative_error.max() < 1e-6


@pytest.mark.parametrize(("n_samples", "evaluated"), [(31, 32), (32, 33), (50, 51)])
def test_the_points_of_a_pilot_are_counted(inputs: Tensor, n_samples: int, evaluated: int) -> None:
    rows = 0

    def forward(x: Tensor, lengths: Tensor) -> Tensor:
        nonlocal rows
        rows += len(x) * x.requires_grad
        return quadratic(x, lengths)

    result = gradient_shap(forward, inputs[:1], targets=0, n_samples=n_samples, chunk_size=7)
    assert rows == int(result.n_samples) == evaluated


def test_the_pilot_of_an_utterance_does_not_depend_on_the_others() -> None:
    waveforms = torch.randn(3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    waveforms[1] *= 1e-3  # below the floor of the levels: no spike
    options = {"n_samples": 40, "baselines": "silence"}
    first = torch.zeros(3, 1, dtype=torch.int64)
    together = gradient_shap(normalised, waveforms, targets=first, ids=["a", "b", "c"], chunk_size=5, **options)
    for number, name in enumerate("abc"):
        own = waveforms[number : number + 1]
        alone = gradient_shap(normalised, own, targets=first[:1], ids=[name], chunk_size=40, **options)
        torch.testing.assert_close(alone.values[0], together.values[number])
