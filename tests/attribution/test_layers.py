import pytest
import torch
from attribution.tiny import TinyWavLM, draws_for_captum, seeded
from captum.attr import LayerGradientShap
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.attribution import gradient_shap
from speechshap.attribution.layers import LayerMethod
from speechshap.errors import UserError
from speechshap.frames import FrameGrid


def speech_model(is_weighted: bool = True, norm: str = "layer") -> TinyWavLM:
    return seeded(TinyWavLM(norm, is_weighted))


@pytest.mark.parametrize("layer", [1, 2])
def test_endpoint_is_captums_layer_gradient_shap_for_the_same_draws(
    layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = speech_model()
    waveform, baselines, alphas = draws_for_captum(monkeypatch)
    length = torch.tensor([2000])
    # Captum cannot take the layer itself, which puts out a tuple; its last part puts out the same tensor.
    name, last_part = f"layer_{layer}", module.layers[f"layer_{layer}"].final_layer_norm
    captum = LayerGradientShap(lambda x: module(x, length.expand(len(x))), last_part)
    expected = captum.attribute(waveform, baselines, n_samples=6, stdevs=0.0, target=1)
    result = gradient_shap(
        module, waveform, baselines, torch.tensor([[1]]), alphas=alphas, chunk_size=4, layers=module.layers
    )
    assert result.layers[name].shape == (1, 1, 6, 8)
    scale = float(expected.abs().max())
    torch.testing.assert_close(result.layers[name][0], expected, atol=1e-5 * scale, rtol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_path_sums_to_the_input_attribution_at_every_layer(norm: str) -> None:
    """The head hears the last layer alone, so that all information passes through each layer's output."""
    module = speech_model(is_weighted=False, norm=norm)
    waveforms = 0.1 * torch.randn(2, 3000, generator=torch.Generator().manual_seed(4))
    lengths = torch.tensor([3000, 1700])
    targets = torch.arange(3).expand(2, 3)
    result = gradient_shap(
        module, waveforms, "noise", targets, lengths, n_samples=8, chunk_size=5,
        layers=module.layers, layer_method="path",
    )  # fmt: skip
    expected = result.values.sum(-1)
    assert expected.abs().min() > 0
    for values in result.layers.values():
        assert values.shape == (2, 3, 9, 8)
        torch.testing.assert_close(values.sum((2, 3)), expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)
        assert values[1, :, 5:].abs().max() == 0  # padding


def test_path_beside_a_weighted_sum_tells_what_passes_through_the_layer() -> None:
    """With the softmax-weighted sum of all states the head hears earlier states directly, past the layer."""
    module = speech_model()
    waveform = 0.1 * torch.randn(1, 2000, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        module.layer_weights.copy_(torch.tensor([-50.0, -50.0, 0.0]))  # the last state alone after all
    result = gradient_shap(module, waveform, n_samples=6, layers=module.layers, layer_method="path")
    for values in result.layers.values():
        torch.testing.assert_close(values.sum((2, 3)), result.values.sum(-1), atol=1e-4, rtol=1e-3)


def closed_form(x: Tensor, lengths: Tensor, hidden: nn.Module) -> Tensor:
    h = hidden(x)
    return torch.stack([h.square().sum(1), h.sum(1)], dim=1)


def test_both_methods_in_closed_form() -> None:
    """With h = W x and f = |h|^2, endpoint and path both come to h(x)^2 - E[h(b)^2] when E[h(b)] = 0."""
    hidden = nn.Linear(4, 3, bias=False)
    x = torch.tensor([[1.0, -2.0, 0.5, 0.5]])
    with torch.no_grad():
        weight = hidden.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, -3]]))
    expected = (x @ weight.T).square() - weight.square().sum(1) * x.var(correction=0)
    for method in ("endpoint", "path"):
        result = gradient_shap(
            lambda x, lengths: closed_form(x, lengths, hidden), x, targets=torch.tensor([[0]]), n_samples=4000,
            chunk_size=2000, layers={"hidden": hidden}, layer_method=method,
        )  # fmt: skip
        deviation = (result.layers["hidden"][0] - expected) / result.layers_standard_error["hidden"][0]
        assert deviation.abs().max() < 4


def test_the_strongest_neurons_are_those_of_the_greatest_sum() -> None:
    module = speech_model()
    waveform = 0.1 * torch.randn(1, 2000, generator=torch.Generator().manual_seed(4))
    result = gradient_shap(module, waveform, n_samples=4, layers=module.layers)
    indices, sums = result.strongest_neurons("layer_2", 3)
    by_neuron = result.layers["layer_2"][0, 0].sum(0)
    assert int(indices[0, 0, 0]) == int(by_neuron.abs().argmax())
    torch.testing.assert_close(sums[0, 0], by_neuron[indices[0, 0]])


@pytest.mark.parametrize("layer_method", ["endpoint", "path"])
def test_layers_in_batches_and_chunks_are_those_of_the_utterance_alone(layer_method: LayerMethod) -> None:
    module = speech_model()
    waveforms = 0.1 * torch.randn(2, 2400, generator=torch.Generator().manual_seed(5))
    lengths, ids = torch.tensor([1100, 2400]), ["x", "y"]
    options = {"n_samples": 4, "layers": module.layers, "layer_method": layer_method}
    options["targets"] = torch.tensor([[1], [1]])
    together = gradient_shap(module, waveforms, lengths=lengths, ids=ids, chunk_size=3, **options)
    for row in range(2):
        options["targets"] = torch.tensor([[1]])
        length = int(lengths[row])
        alone = gradient_shap(
            module, waveforms[row : row + 1, :length], ids=ids[row : row + 1], chunk_size=1, **options
        )
        for name, expected in alone.layers.items():
            frames = expected.shape[2]
            error = alone.layers_standard_error[name]
            for both, one in ((together.layers, expected), (together.layers_standard_error, error)):
                scale = float(one.abs().max())
                torch.testing.assert_close(both[name][row, :, :frames], one[0], atol=1e-5 * scale, rtol=1e-4)
            assert together.layers[name][row, :, frames:].abs().sum() == 0


def test_a_layer_that_does_not_run_is_named() -> None:
    module = speech_model()
    with pytest.raises(ValueError, match="layer other did not run within forward"):
        gradient_shap(module, torch.randn(1, 1000), n_samples=4, layers={"other": nn.Linear(2, 2)})


def test_a_layer_without_the_batch_first_is_named() -> None:
    layer = nn.GRU(1, 3)

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        return layer(waveforms.T[..., None])[0][-1]

    message = r"the output of layer memory has shape \(8, 2, 3\) for 2 waveforms; expected these in its first dimension"
    with pytest.raises(ValueError, match=message):
        gradient_shap(forward, torch.randn(2, 8), n_samples=4, layers={"memory": layer}, chunk_size=2)


def test_a_layer_that_the_output_does_not_hear_gets_zero() -> None:
    heard, unheard = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        _ = unheard(waveforms)
        return heard(waveforms)

    layers = {"heard": heard, "unheard": unheard}
    result = gradient_shap(forward, torch.randn(1, 4), n_samples=4, layers=layers, grid=FrameGrid(1, 1))
    assert result.layers["heard"].abs().max() > 0
    assert result.layers["unheard"].abs().max() == 0


def test_a_layer_that_runs_more_than_once_is_refused() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="`layers`: twice runs more than once within forward"):
        gradient_shap(lambda x, lengths: layer(layer(x)), torch.randn(1, 4), n_samples=4, layers={"twice": layer})


def test_a_layer_whose_output_is_changed_in_place_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
    with pytest.raises(ValueError, match="`layers`: the output of first is changed in place; name what follows"):
        gradient_shap(lambda x, lengths: model(x), torch.randn(1, 4), n_samples=4, layers={"first": model[0]})


def test_checkpointing_of_activations_changes_no_neuron() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 6), nn.Linear(6, 3)
    layers = {"first": first, "second": second}

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        return second(first(waveforms).tanh()).square()

    def checkpointed(waveforms: Tensor, lengths: Tensor) -> Tensor:
        return checkpoint(lambda x: second(first(x).tanh()), waveforms, use_reentrant=False).square()

    plain, again = (
        gradient_shap(model, torch.ones(1, 4).cumsum(1), n_samples=4, layers=layers, chunk_size=1)
        for model in (forward, checkpointed)
    )
    torch.testing.assert_close(again.values, plain.values)
    for layer in layers:
        torch.testing.assert_close(again.layers[layer], plain.layers[layer])


def test_path_under_autocast_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))
    waveforms = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UserError, match='`layer_method` is "path", whose forward-mode derivatives'),
    ):
        gradient_shap(model, waveforms, layers={"first": model[0]}, layer_method="path", n_samples=4)


class _Doubled(nn.Module):
    """Frames of 400 samples, each with two neurons of which the second is three times the first."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Identity()

    def forward(self, waveforms: Tensor) -> Tensor:
        level = waveforms.unfold(1, 400, 400).square().mean(2, keepdim=True)
        return self.hidden(torch.cat([level, 3 * level], 2)).square().sum((1, 2))[:, None]


def test_the_error_of_a_sum_of_neurons_knows_that_they_vary_together() -> None:
    model = _Doubled()
    waveform = torch.randn(1, 1600, generator=torch.Generator().manual_seed(0))
    result = gradient_shap(
        model, waveform, "noise", 0, n_samples=8, layers={"hidden": model.hidden}, grid=FrameGrid(400, 400)
    )
    single = result.layers_standard_error["hidden"]
    # Attributions to neurons a and 3a of a sum of squares are in the ratio 1 to 9, in every draw.
    torch.testing.assert_close(single[..., 1], 9 * single[..., 0])
    torch.testing.assert_close(result.layer_frames_standard_error["hidden"], 10 * single[..., 0])
