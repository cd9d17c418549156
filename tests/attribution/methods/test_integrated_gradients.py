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
from speechshap.errors import UserError
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=6)


def fixed(reference: Tensor) -> Baseline:
    """This reference, cropped."""
    return lambda waveform, generator: reference[: len(waveform)].to(waveform)


def attribute(evaluator: Evaluator, targets: object, baseline: Baseline = silence, **options: object) -> Attribution:
    targets = Targets.from_classes(len(evaluator), targets)
    return explain(evaluator, targets, baseline, IntegratedGradientsSettings(**options), keep_values=True)


def test_parity_with_captum() -> None:
    """Captum has other nodes, so that both have to be close to the integral itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    waveform, reference = noise(1, 40, seed=0), noise(40, seed=1)
    result = attribute(Evaluator(model, waveform, grid=GRID), 1, fixed(reference), n_points=15)
    expected = IntegratedGradients(model).attribute(
        waveform, reference[None], target=1, n_steps=64, method="gausslegendre"
    )
    error = float((result.values[0] - expected).norm() / expected.norm())
    assert error < 1e-4
    # The difference of two rules is a bound of what the larger one errs by.
    assert error < float(result.values_standard_error.norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("n_points", [3, 7, 15])
def test_gradients_that_are_polynomials_on_the_path_are_integrated_exactly(n_points: int) -> None:
    """The gradient of x^d is of degree d - 1; n nodes integrate a degree of n - 1 exactly, the half of them do not."""
    degree = n_points
    waveforms, reference = noise(2, 40, seed=0), noise(40, seed=1)
    result = attribute(
        Evaluator(lambda x: x.pow(degree), waveforms, grid=GRID), [[3, 5]] * 2, fixed(reference), n_points=n_points
    )
    expected = (waveforms.pow(degree) - reference.pow(degree))[:, [3, 5]]
    torch.testing.assert_close(result.values.sum(2), expected)
    assert result.completeness_gap.abs().max() < 1e-6 * expected.abs().max()
    assert (result.completeness_gap_standard_error > 0).all()


def test_the_errors_are_differences_to_the_rule_with_half_the_points() -> None:
    """One node in the middle takes 4 (1/2)^3 = 1/2 for the integral of 4 a^3, and three nodes take 1."""
    waveforms = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    result = attribute(Evaluator(lambda x: x.pow(4), waveforms, grid=FrameGrid(1, 1)), 0, n_points=3)
    torch.testing.assert_close(result.values[0, 0], torch.tensor([16.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(result.frames_standard_error[0, 0], torch.tensor([8.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(result.completeness_gap_standard_error.item(), 8.0)
    assert result.relative_error.item() == pytest.approx(0.5)
    lower, upper = result.frames_interval()
    assert float(upper[0, 0, 0] - lower[0, 0, 0]) == pytest.approx(2 * 1.96 * 8, rel=1e-3)


def test_everything_has_an_error() -> None:
    hidden = nn.Linear(40, 3)
    evaluator = Evaluator(
        lambda x: hidden(x).tanh(), noise(2, 40, seed=0).float(), layers={"hidden": hidden}, grid=GRID
    )
    result = attribute(evaluator, 0, n_points=7, spectrum=SpectralGrid(8, 4))
    assert result.n_samples.tolist() == [7, 7]
    assert result.n_replicates.tolist() == [1, 1]
    for name in ("values", "frames", "completeness_gap", "time_frequency"):
        assert getattr(result, f"{name}_standard_error").shape == getattr(result, name).shape
    assert result.layers_standard_error["hidden"].shape == result.layers["hidden"].shape
    assert result.path_second_moments is None


def test_points_are_added_until_two_rules_agree() -> None:
    """The first utterance needs few points, the second one, which rises steeply in the middle of its path, more."""
    waveforms = torch.tensor([[0.2], [1.0]], dtype=torch.float64)
    calls: list[int] = []

    def forward(rows: Tensor) -> Tensor:
        calls.append(len(rows) if torch.is_grad_enabled() else 0)
        return (40 * (rows - 0.4)).tanh()

    evaluator = Evaluator(forward, waveforms, grid=FrameGrid(1, 1))
    result = attribute(evaluator, 0, n_points="auto", tolerance=0.02)
    assert result.n_samples.tolist() == [15, 127]
    assert sum(calls) == 15 + 127  # nothing is evaluated twice
    assert result.converged.tolist() == [True, True]
    change = (40 * (waveforms[:, 0] - 0.4)).tanh() + 1
    torch.testing.assert_close(result.values[:, 0, 0], change, atol=1e-9, rtol=1e-4)
    given_up = attribute(evaluator, 0, n_points="auto", tolerance=0.02, max_points=31)
    assert given_up.n_samples.tolist() == [15, 31]
    assert given_up.converged.tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_points": 32}, "`n_points` is 32; expected one less than a power of two, from 3 on, such as 31"),
        ({"n_points": 1}, "`n_points` is 1; .* such as 3"),
        ({"max_points": 100}, "`max_points` is 100; .* from 15 on, such as 127"),
        ({"tolerance": 0.0}, "`tolerance` is 0.0; expected a relative error above 0"),
    ],
)
def test_settings_that_are_not_legal(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        IntegratedGradientsSettings(**options)


@pytest.mark.parametrize("layer_method", ["endpoint", "path"])
def test_neurons_in_closed_form(layer_method: LayerMethod) -> None:
    """With h = W x and f = |h|^2, both definitions come to h(x)^2 - h(b)^2."""
    torch.manual_seed(0)
    hidden = nn.Linear(6, 3, bias=False).double()
    waveforms, reference = noise(2, 6, seed=0), noise(6, seed=1)
    evaluator = Evaluator(
        lambda x: hidden(x).square().sum(1, keepdim=True), waveforms, layers={"hidden": hidden}, grid=GRID
    )
    result = attribute(evaluator, 0, fixed(reference), layer_method=layer_method, n_points=3)
    expected = hidden(waveforms).square() - hidden(reference).square()
    torch.testing.assert_close(result.layers["hidden"][:, 0].double(), expected.detach(), atol=1e-5, rtol=1e-5)


def test_layers_along_the_path_and_bands_sum_to_the_whole() -> None:
    model = seeded(TinyWavLM())
    evaluator = Evaluator(model, noise(2, 2000, seed=0, dtype=torch.float32), [2000, 1300], layers=model.layers)
    options = {"layer_method": "path", "spectrum": SpectralGrid(400, 160, 20), "n_points": 7}
    result = attribute(evaluator, [[0, 2]] * 2, gaussian_noise(), **options)
    expected = result.values.sum(2)
    for values in (*result.layers.values(), result.time_frequency):
        torch.testing.assert_close(values.sum((2, 3)), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_an_utterance_in_a_batch_is_attributed_as_alone(chunk_size: int | None) -> None:
    model = seeded(TinyWavLM())
    waveforms, lengths = noise(2, 2000, seed=0, dtype=torch.float32), [1300, 2000]
    options = {"n_points": 3, "seed": 3}
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
