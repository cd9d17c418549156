"""Measures of this package beside those of Quantus, for the same utterances, attributions and truth."""

import numpy as np
import pytest
import quantus
import torch
from evaluation.toys import SAMPLES, all_valid
from torch import nn

from speechshap.attribution import Evaluator, Targets
from speechshap.evaluation import (
    area_under_curve,
    deletion_curves,
    gini,
    mass_inside,
    points_inside,
    precision_at_length,
)

BATCH, FRAMES, INSIDE = 5, 40, 12
GENERATOR = torch.Generator().manual_seed(0)
WAVEFORMS = torch.randn(BATCH, FRAMES, generator=GENERATOR)
SCORES = torch.rand(BATCH, FRAMES, generator=GENERATOR)
TRUTH = torch.stack([torch.arange(FRAMES).roll(3 * row) < INSIDE for row in range(BATCH)])


class Network(nn.Module):
    """Two classes of utterances ``(batch, time)`` or, as Quantus has them, ``(batch, 1, time)``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(FRAMES, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(waveforms)


def of_quantus(metric: quantus.Metric, **arguments: np.ndarray) -> list[float]:
    inputs = {"x_batch": WAVEFORMS, "a_batch": SCORES, "s_batch": TRUTH}
    batches = {name: values[:, None].numpy() for name, values in inputs.items()}
    return metric(model=Network().eval(), y_batch=np.ones(BATCH, int), **batches, **arguments)


QUIET = {"disable_warnings": True, "display_progressbar": False}


@pytest.mark.parametrize(
    ("measure", "metric"),
    [
        (area_under_curve, quantus.AUC(**QUIET)),
        (points_inside, quantus.PointingGame(**QUIET)),
        (mass_inside, quantus.AttributionLocalisation(**QUIET)),
        (precision_at_length, quantus.TopKIntersection(k=INSIDE, **QUIET)),
    ],
)
def test_localisation(measure, metric: quantus.Metric) -> None:
    found = measure(SCORES, TRUTH, all_valid(BATCH, FRAMES))
    assert found.tolist() == pytest.approx([float(value) for value in of_quantus(metric)], abs=1e-5)


def test_sparseness() -> None:
    assert gini(SCORES, all_valid(BATCH, FRAMES)).tolist() == pytest.approx(
        of_quantus(quantus.Sparseness(**QUIET)), abs=1e-3
    )


def test_deletion() -> None:
    """Pixel flipping keeps the probabilities after each step, without the utterance itself."""
    model = Network().eval()
    evaluator = Evaluator(lambda waveforms: model(waveforms), WAVEFORMS, grid=SAMPLES)
    curves = deletion_curves(
        evaluator, Targets.from_classes(BATCH, 1, output="probability"), SCORES, [torch.zeros(FRAMES)] * BATCH,
        steps=FRAMES,
    )  # fmt: skip
    flipping = quantus.PixelFlipping(features_in_step=1, perturb_baseline=0.0, **QUIET)
    expected = of_quantus(flipping, softmax=True)
    np.testing.assert_allclose(curves.outputs[:, 1:].detach().numpy(), np.array(expected), atol=1e-5)
