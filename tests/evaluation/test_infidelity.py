import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from evaluation.toys import linear

from speechshap.attribution import Evaluator, Targets
from speechshap.evaluation import infidelity, perturb
from speechshap.frames import FrameGrid


def test_exact_attributions_of_a_linear_model_explain_every_fall() -> None:
    evaluator, targets = linear([1.0, -2.0, 3.0, 0.5, 0.0, 1.0])
    falls = perturb(evaluator, targets, [torch.zeros(6)])
    assert float(infidelity(torch.tensor([[1.0, -2.0, 3.0, 0.5, 0.0, 1.0]]), falls)) == pytest.approx(0, abs=1e-6)
    assert float(infidelity(torch.tensor([[7.0, -14.0, 21.0, 3.5, 0.0, 7.0]]), falls)) == pytest.approx(0, abs=1e-6)
    assert float(infidelity(torch.zeros(1, 6), falls)) == 1
    assert float(infidelity(-torch.tensor([[1.0, -2.0, 3.0, 0.5, 0.0, 1.0]]), falls)) == 1


def test_the_replaced_stretches_are_runs_between_a_twentieth_and_a_half() -> None:
    evaluator, targets = linear([1.0] * 100)
    masks = perturb(evaluator, targets, [torch.zeros(100)], n_perturbations=200).masks[0]
    sizes = masks.sum(1)
    assert 5 <= int(sizes.min()) < 10
    assert 40 < int(sizes.max()) <= 50
    assert (masks.diff(dim=1).sum(1) <= 2).all()
    assert (masks.float().mean(0) > 0.15).all()  # no frame is spared


def test_it_is_captums_with_the_best_scale() -> None:
    """Captum's attributions are those of a unit of change, and its own average is not relative."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(1, 30, generator=generator, dtype=torch.float64)
    weight = torch.randn(30, generator=generator, dtype=torch.float64)

    def forward(waveforms: torch.Tensor) -> torch.Tensor:
        output = (waveforms * weight).tanh().sum(1) + 0.1 * waveforms.sum(1) ** 2
        return torch.stack([torch.zeros_like(output), output], 1)

    evaluator = Evaluator(forward, waveform, grid=FrameGrid(1, 1))
    perturbations = perturb(evaluator, Targets.from_classes(1, 1), [torch.zeros(30)], n_perturbations=64)
    attributions = waveform * weight + 0.3 * torch.randn(1, 30, generator=generator, dtype=torch.float64)

    def replace(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return waveform * perturbations.masks[0], waveform * ~perturbations.masks[0]

    per_unit = attributions / waveform  # the perturbation itself is the sound that was replaced
    unscaled = captum_infidelity(
        forward, replace, waveform, per_unit, target=1,
        n_perturb_samples=64, max_examples_per_batch=64, normalize=True,
    )  # fmt: skip
    expected = unscaled / perturbations.falls.square().mean(1)
    torch.testing.assert_close(infidelity(attributions, perturbations), expected)
