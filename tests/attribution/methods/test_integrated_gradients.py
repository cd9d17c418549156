import pytest
import torch
from attribution.tiny import TinyWavLM, noise, seeded
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from speechshap.attribution import (
    Attribution,
    Baseline,
    Evaluator,
    Method,
    SpectralGrid,
    Targets,
    ZeroGradientError,
    find_method,
    gaussian_noise,
)
from speechshap.attribution.baselines import silence
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.methods.integrated_gradients import IntegratedGradientsSettings, explain
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=6)


def fixed(reference: Tensor) -> Baseline:
    """This reference, cropped."""
    return lambda waveform, generator: reference[: len(waveform)].to(waveform)


def attribute(evaluator: Evaluator, targets: object, baseline: Baseline = silence, **options: object) -> Attribution:
    targets = Targets.from_classes(len(evaluator), targets)
    return explain(evaluator, targets, baseline, IntegratedGradientsSettings(**options), keep_values=True)


def test_parity_with_captum_for_the_same_nodes_and_the_same_reference() -> None:
    model = seeded(TinyWavLM()).double()
    waveform, reference, length = noise(1, 2000, seed=0), noise(2000, seed=1), torch.tensor([2000])
    result = attribute(Evaluator(model, waveform), 1, fixed(reference), n_points=7)
    expected = IntegratedGradients(lambda x: model(x, length.expand(len(x)))).attribute(
        waveform, reference[None], target=1, n_steps=7, method="gausslegendre"
    )
    torch.testing.assert_close(result.values[0], expected, atol=1e-6 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(("degree", "n_points"), [(3, 2), (5, 3), (2, 1)])
def test_gradients_that_are_polynomials_on_the_path_are_integrated_exactly(degree: int, n_points: int) -> None:
    """The gradient of x^d is of degree d - 1; n nodes integrate a degree of 2 n - 1 exactly."""
    waveforms, reference = noise(2, 40, seed=0), noise(40, seed=1)
    result = attribute(
        Evaluator(lambda x: x.pow(degree), waveforms, grid=GRID), [[3, 5]] * 2, fixed(reference), n_points=n_points
    )
    expected = (waveforms.pow(degree) - reference.pow(degree))[:, [3, 5]]
    torch.testing.assert_close(result.values.sum(2), expected)
    assert result.completeness_gap.abs().max() < 1e-6


def test_the_completeness_gap_is_the_error_of_the_quadrature() -> None:
    """One node in the middle takes 2 (1/2)^3 x for the gradient of x^4, half of what its integral is."""
    waveforms = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    result = attribute(Evaluator(lambda x: x.pow(4), waveforms, grid=FrameGrid(1, 1)), 0, n_points=1)
    assert result.values.tolist() == [[[8.0, 0.0]]]
    assert result.completeness_gap.tolist() == [[-8.0]]


def test_there_are_no_standard_errors() -> None:
    hidden = nn.Linear(40, 3)
    evaluator = Evaluator(
        lambda x: hidden(x).tanh(), noise(2, 40, seed=0).float(), layers={"hidden": hidden}, grid=GRID
    )
    result = attribute(evaluator, 0, n_points=5, spectrum=SpectralGrid(8, 4))
    assert result.n_samples.tolist() == [5, 5]
    assert result.n_replicates.tolist() == [1, 1]
    errors = ("values", "frames", "completeness_gap", "time_frequency")
    assert all(getattr(result, f"{name}_standard_error") is None for name in errors)
    assert (result.layers_standard_error, result.relative_error, result.path_second_moments) == ({}, None, None)
    with pytest.raises(ValueError, match="one replicate has no standard error"):
        result.frames_interval()


@pytest.mark.parametrize("layer_method", ["endpoint", "path"])
def test_neurons_in_closed_form(layer_method: LayerMethod) -> None:
    """With h = W x and f = |h|^2, both definitions come to h(x)^2 - h(b)^2."""
    torch.manual_seed(0)
    hidden = nn.Linear(6, 3, bias=False).double()
    waveforms, reference = noise(2, 6, seed=0), noise(6, seed=1)
    evaluator = Evaluator(
        lambda x: hidden(x).square().sum(1, keepdim=True), waveforms, layers={"hidden": hidden}, grid=GRID
    )
    result = attribute(evaluator, 0, fixed(reference), layer_method=layer_method, n_points=2)
    expected = hidden(waveforms).square() - hidden(reference).square()
    torch.testing.assert_close(result.layers["hidden"][:, 0].double(), expected.detach(), atol=1e-5, rtol=1e-5)


def test_layers_along_the_path_and_bands_sum_to_the_whole() -> None:
    model = seeded(TinyWavLM())
    evaluator = Evaluator(model, noise(2, 2000, seed=0, dtype=torch.float32), [2000, 1300], layers=model.layers)
    options = {"layer_method": "path", "spectrum": SpectralGrid(400, 160, 20), "n_points": 6}
    result = attribute(evaluator, [[0, 2]] * 2, gaussian_noise(), **options)
    expected = result.values.sum(2)
    for values in (*result.layers.values(), result.time_frequency):
        torch.testing.assert_close(values.sum((2, 3)), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_an_utterance_in_a_batch_is_attributed_as_alone(chunk_size: int | None) -> None:
    model = seeded(TinyWavLM())
    waveforms, lengths = noise(2, 2000, seed=0, dtype=torch.float32), [1300, 2000]
    options = {"n_points": 5, "seed": 3}
    together = attribute(
        Evaluator(model, waveforms, lengths, ["x", "y"], chunk_size=chunk_size), 1, gaussian_noise(), **options
    )
    for row, length in enumerate(lengths):
        own = Evaluator(model, waveforms[row : row + 1, :length], ids=["xy"[row]])
        alone = attribute(own, 1, gaussian_noise(), **options)
        scale = float(alone.values.abs().max())
        torch.testing.assert_close(together.values[row, :, :length], alone.values[0], atol=1e-5 * scale, rtol=0)
        assert together.values[row, :, length:].abs().sum() == 0


def test_the_seed_and_the_id_choose_the_reference() -> None:
    waveforms = noise(1, 40, seed=0)

    def values(name: str, seed: int) -> Tensor:
        evaluator = Evaluator(lambda x: x.pow(2), waveforms, ids=[name], grid=GRID)
        return attribute(evaluator, 0, gaussian_noise(), seed=seed).values

    assert torch.equal(values("a", 0), values("a", 0))
    assert not torch.equal(values("a", 0), values("a", 1))
    assert not torch.equal(values("a", 0), values("b", 0))


def test_silence_tells_nothing_of_a_model_that_normalises_its_input() -> None:
    """The output is the same on all of the path but its start, and the gap shows the change that was missed."""
    model = lambda x: torch.stack([x[:, 0] / (x.norm(dim=1) + 1e-9), x[:, 1] / (x.norm(dim=1) + 1e-9)], 1)  # noqa: E731
    result = attribute(Evaluator(model, torch.tensor([[3.0, 4.0]]), grid=FrameGrid(1, 1)), 1)
    assert result.values.sum().abs() < 1e-5
    torch.testing.assert_close(result.completeness_gap, torch.tensor([[-0.8]]))


def test_an_output_that_ignores_an_utterance_is_told() -> None:
    evaluator = Evaluator(lambda x: x[:, :2] * 0, noise(1, 40, seed=0), ids=["a"])
    with pytest.raises(ZeroGradientError, match="every gradient of utterance a is 0"):
        attribute(evaluator, 0)


def test_the_method_is_found_by_its_name() -> None:
    assert find_method("integrated_gradients") == Method(IntegratedGradientsSettings, explain)
