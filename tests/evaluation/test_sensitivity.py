import pytest
import torch
from captum.metrics import sensitivity_max

from speechshap.attribution import Evaluator, GradientSHAPSettings, Targets, find_method, gaussian_noise
from speechshap.attribution.draws import draw_generator
from speechshap.evaluation import max_sensitivity
from speechshap.frames import FrameGrid

WAVEFORM = torch.randn(2, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def square(waveforms: torch.Tensor) -> torch.Tensor:
    return torch.stack([waveforms.sum(1), waveforms.square().sum(1)], 1)


@pytest.mark.parametrize("row", [0, 1])
def test_it_is_that_of_captum_for_the_same_noise(row: int) -> None:
    waveform = WAVEFORM[row : row + 1]
    evaluator = Evaluator(square, waveform, ids=["a"], grid=FrameGrid(1, 1))
    found = max_sensitivity(evaluator, lambda same: same.inputs**3, radius=0.1, n_perturbations=3)
    draws = [2 * torch.rand(50, generator=draw_generator(0, "a", number)) - 1 for number in range(3)]
    noise = 0.1 * waveform.std(correction=0) * torch.stack(draws)
    expected = sensitivity_max(
        lambda inputs: (inputs[0] ** 3,), (waveform,), perturb_func=lambda inputs, radius: (inputs[0] + noise,),
        n_perturb_samples=3, max_examples_per_batch=3,
    )  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_the_error_of_the_estimate_is_not_counted() -> None:
    """A linear model's true attributions move by as little as the sound; two seeds of few draws differ by far more."""
    evaluator = Evaluator(square, WAVEFORM, ids=["a", "b"], grid=FrameGrid(1, 1))
    method, targets = find_method("gradient_shap"), Targets.from_classes(2, 0)

    def explain(of: Evaluator, seed: int = 0) -> torch.Tensor:
        settings = GradientSHAPSettings(n_samples=4, seed=seed)
        return method.explain(of, targets, gaussian_noise(), settings).frames[:, 0]

    sensitivity = max_sensitivity(evaluator, explain, radius=0.02)
    between_seeds = (explain(evaluator, 1) - explain(evaluator)).norm(dim=1) / explain(evaluator).norm(dim=1)
    assert (sensitivity < 0.05).all()
    assert (between_seeds > 5 * sensitivity).all()


def test_it_does_not_depend_on_the_batch() -> None:
    both = Evaluator(square, WAVEFORM, ids=["a", "b"], grid=FrameGrid(1, 1))
    alone = Evaluator(square, WAVEFORM[1:], ids=["b"], grid=FrameGrid(1, 1))
    values = [max_sensitivity(each, lambda same: same.inputs.exp()) for each in (both, alone)]
    assert float(values[0][1]) == pytest.approx(float(values[1][0]))
