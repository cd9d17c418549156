from itertools import permutations

import numpy as np
import pytest
import shap
import torch
from attribution.tiny import noise
from captum.attr import KernelShap
from torch import Tensor

from speechshap.attribution import Attribution, Baseline, Evaluator, Targets, as_baseline, find_method, silence
from speechshap.attribution.methods.kernel_shap import explain, sampled_coalitions
from speechshap.attribution.surrogate import SurrogateSettings
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=1, receptive_field=1)
MIXED = noise(8, 8, seed=5)


def attribute(
    evaluator: Evaluator, baseline: Baseline = silence, targets: object = 0, **options: object
) -> Attribution:
    chosen = Targets.from_classes(len(evaluator), targets)
    return explain(evaluator, chosen, baseline, SurrogateSettings(**{"stretch_frames": 1, "n_divisions": 1, **options}))


def entangled(waveforms: Tensor) -> Tensor:
    """Interactions of every order."""
    width = waveforms.shape[1]
    return (waveforms @ MIXED[:width]).tanh().cumprod(1)[:, :2] + 0.3 * waveforms.sum(1, keepdim=True).sin()


def test_the_method_is_found_by_its_name() -> None:
    assert find_method("kernel_shap").settings is SurrogateSettings


def test_an_additive_model_is_exact_however_many_coalitions_are_drawn() -> None:
    weight, waveforms = noise(12, 2, seed=0), noise(1, 12, seed=1)
    evaluator = Evaluator(lambda x: x @ weight, waveforms, grid=GRID)
    result = attribute(evaluator, targets=[[0, 1]], n_samples=48, n_draws=2)
    torch.testing.assert_close(result.frames[0].double(), waveforms * weight.T, atol=1e-6, rtol=1e-5)
    assert result.frames_standard_error.max() < 1e-6
    assert result.n_samples.tolist() == [48 + 2]
    assert result.n_replicates.tolist() == [2]


@pytest.mark.parametrize("n_samples", [40, 2000])
def test_a_product_is_half_of_each_factor(n_samples: int) -> None:
    """Drawn in pairs, products of two features are exact, too: they are even, and only what is odd is fitted."""
    evaluator = Evaluator(lambda x: x[:, 1:2] * x[:, 3:4], torch.arange(1.0, 11)[None], grid=GRID)
    result = attribute(evaluator, n_samples=n_samples, n_draws=1)
    torch.testing.assert_close(result.frames[0, 0], torch.tensor([0.0, 4, 0, 4, 0, 0, 0, 0, 0, 0]), atol=1e-5, rtol=0)


def test_all_coalitions_give_the_shapley_values() -> None:
    waveform, reference = noise(1, 5, seed=0), noise(5, seed=1)
    expected = torch.zeros(5, 2, dtype=torch.float64)
    for order in permutations(range(5)):
        point = reference.clone()
        for feature in order:
            before = entangled(point[None])[0]
            point[feature] = waveform[0, feature]
            expected[feature] += (entangled(point[None])[0] - before) / 120
    result = attribute(
        Evaluator(entangled, waveform, grid=GRID), lambda *_: reference, [[0, 1]], n_draws=1, n_samples=30
    )
    torch.testing.assert_close(result.frames[0].T.double(), expected, atol=1e-5, rtol=0)
    assert result.n_samples.tolist() == [30 + 1]


def test_parity_with_shap() -> None:
    """Exact for a background of one, and within the error of both for more."""
    waveform, references = noise(1, 8, seed=0), noise(200, 8, seed=1)
    function = lambda x: entangled(torch.from_numpy(x))[:, 0].numpy()  # noqa: E731
    evaluator = Evaluator(entangled, waveform, grid=GRID)
    expected = shap.KernelExplainer(function, references[:1].numpy(), silent=True).shap_values(waveform.numpy())
    result = attribute(evaluator, lambda *_: references[0], n_draws=1, n_samples=300)
    np.testing.assert_allclose(result.frames[0, 0], expected[0], atol=1e-5)
    expected = shap.KernelExplainer(function, references.numpy(), silent=True).shap_values(waveform.numpy())
    result = attribute(evaluator, as_baseline(references), n_draws=100, n_samples=1000)
    distance = (result.frames[0, 0] - torch.from_numpy(expected[0])) / result.frames_standard_error[0, 0]
    assert distance.abs().max() < 4


def test_parity_with_captum_within_its_error() -> None:
    """Stretches of two samples, which Captum knows by their mask."""
    waveform, reference = noise(1, 16, seed=0), noise(1, 16, seed=1)
    model = lambda x: entangled(x.double().unflatten(1, (8, 2)).sum(2))  # noqa: E731
    mask = torch.arange(16)[None] // 2
    torch.manual_seed(0)
    expected = KernelShap(model).attribute(waveform, reference, 1, feature_mask=mask, n_samples=3000)
    evaluator = Evaluator(model, waveform, grid=FrameGrid(2, 2))
    result = attribute(evaluator, lambda *_: reference[0], 1, n_draws=1, n_samples=300)
    torch.testing.assert_close(result.frames[0, 0], expected[0, ::2], atol=0.05, rtol=0.05)


def test_the_values_sum_to_what_they_must() -> None:
    evaluator = Evaluator(entangled, noise(1, 8, seed=0), grid=GRID)
    baseline = as_baseline(noise(50, 8, seed=1))
    result = attribute(evaluator, baseline, [[0, 1]], n_samples=64, n_draws=20)
    assert result.completeness_gap.abs().max() < 1e-6
    total = result.outputs - result.frames.sum(2)  # the mean output at the references
    assert ((total - entangled(noise(50, 8, seed=1)).mean(0)).abs() < 4 * result.completeness_gap_standard_error).all()
    single = attribute(evaluator, baseline, n_samples=64, n_draws=1)
    assert single.completeness_gap.abs().max() < 1e-6
    assert single.completeness_gap_standard_error is None


@pytest.mark.parametrize("frames", [1, 2])
def test_an_utterance_of_one_or_two_stretches(frames: int) -> None:
    waveform = noise(1, frames, seed=0)
    result = attribute(Evaluator(lambda x: x.sum(1, keepdim=True) ** 2, waveform, grid=GRID))
    expected = waveform[0] * waveform.sum()  # a square's cross term is half each one's
    torch.testing.assert_close(result.frames[0, 0].double(), expected, atol=1e-6, rtol=1e-6)
    assert result.frames_standard_error.abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 1.0])  # with a fixed reference only the coalitions are random
def test_the_intervals_hold_the_shapley_values(spread: float) -> None:
    """A polynomial of degree three, whose Shapley values over independent references are known."""
    weight, waveform = noise(10, seed=0), noise(1, 10, seed=1)
    triples = [(number, (number + 1) % 10, (number + 4) % 10) for number in range(10)]
    model = lambda x: (x @ weight + sum(x[:, triple].prod(1) for triple in triples))[:, None]  # noqa: E731
    expected = weight * waveform[0]
    for triple in triples:
        expected[list(triple)] += waveform[0, triple].prod() / 3
    baseline = lambda x, generator: spread * torch.randn(10, generator=generator, dtype=x.dtype)  # noqa: E731
    evaluator, held = Evaluator(model, waveform, grid=GRID, chunk_size=200), []
    for seed in range(100):
        lower, upper = attribute(evaluator, baseline, n_samples=100, seed=seed).frames_interval(0.95)
        held.append((lower <= expected) & (expected <= upper))
    held = torch.stack(held).double()
    assert 0.9 < float(held.mean()) < 0.99
    assert held.mean(0).min() > 0.82


def test_coalitions_are_drawn_by_their_weights() -> None:
    drawn = sampled_coalitions(5, 20000, torch.Generator().manual_seed(0))
    sizes = torch.bincount(drawn.sum(1), minlength=6) / 20000
    expected = torch.tensor([0, 1 / 4, 1 / 6, 1 / 6, 1 / 4, 0])
    torch.testing.assert_close(sizes, expected / expected.sum(), atol=0.015, rtol=0)
    assert (drawn.double().mean(0) - 0.5).abs().max() < 0.015
