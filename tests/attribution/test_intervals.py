import math

import pytest
import torch
from attribution.tiny import noise
from torch import Tensor

from speechshap.attribution import Evaluator, Targets, find_method, parse_methods
from speechshap.attribution.intervals import interval_reach
from speechshap.frames import FrameGrid

REPETITIONS = 150


@pytest.mark.parametrize(
    ("text", "n_replicates", "by_the_normal"),
    [
        ("occlusion(stretch_frames=1, n_draws=2)", 2, 0.70),
        ("occlusion(stretch_frames=1, n_draws=4)", 4, 0.855),
        ("kernel_shap(stretch_frames=1, n_divisions=1, n_draws=4, n_samples=64)", 4, 0.855),
        ("gradient_shap(scheme=uniform, n_samples=4)", 4, 0.855),
        ("gradient_shap(scheme=antithetic, n_samples=8)", 4, 0.855),
        ("gradient_shap(scheme=stratified, n_samples=8)", 4, 0.855),
    ],
)
def test_intervals_of_few_replicates_hold_the_truth_as_often_as_they_say(
    text: str, n_replicates: int, by_the_normal: float
) -> None:
    """A linear model and references of normally distributed samples: so are the replicates."""
    weights, waveform = noise(10, 1, seed=0), noise(1, 10, seed=1)
    grid = FrameGrid(hop=1, receptive_field=1)
    evaluator = Evaluator(
        lambda waveforms: waveforms @ weights, waveform.expand(REPETITIONS, -1),
        ids=[str(number) for number in range(REPETITIONS)], grid=grid,
    )  # fmt: skip

    def baseline(waveform: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(len(waveform), generator=generator, dtype=torch.float64)

    (choice,) = parse_methods(text)
    result = find_method(choice.name).explain(
        evaluator, Targets.from_classes(REPETITIONS, 0), baseline, choice.settings
    )
    truth = weights[:, 0] * waveform[0]
    assert set(result.n_replicates.tolist()) == {n_replicates}

    lower, upper = result.frames_interval(0.95)
    assert float(((lower <= truth) & (truth <= upper)).double().mean()) == pytest.approx(0.95, abs=0.02)
    too_short = interval_reach(math.inf) * result.frames_standard_error
    assert float(((result.frames - truth).abs() <= too_short).double().mean()) == pytest.approx(by_the_normal, abs=0.04)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_two_replicates_have_the_distribution_of_cauchy(level: float) -> None:
    assert interval_reach(1, level) == pytest.approx(math.tan(math.pi / 2 * level))
