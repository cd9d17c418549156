"""Hooks on an accelerated model, against transformers' own model with the same weights."""

import copy

import pytest
import torch
from families import family_config, make_model, relative_difference, waveforms
from torch import Tensor, nn

from speechshap.models import accelerate, build_backbone

LAYERS = [
    "feature_extractor",
    "feature_extractor.conv_layers.0",
    "feature_extractor.conv_layers.0.conv",
    "feature_extractor.conv_layers.0.layer_norm",
    "feature_extractor.conv_layers.0.activation",
    "feature_extractor.conv_layers.3",
    "feature_extractor.conv_layers.3.conv",
    "feature_extractor.conv_layers.6.activation",
    "feature_projection.layer_norm",
    "encoder.pos_conv_embed",
    "encoder.pos_conv_embed.conv",
    "encoder.pos_conv_embed.padding",
    "encoder.pos_conv_embed.activation",
    "encoder.layers.1.attention.gru_rel_pos_linear",
    "encoder.layers.1.layer_norm",
]


class Last(nn.Module):
    """Eight features of the last hidden state, averaged over time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.model(waveforms).last_hidden_state.mean(1)[:, :8]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("layer", LAYERS)
def test_captum_finds_what_it_finds_in_transformers(layer: str, norm: str) -> None:
    attr = pytest.importorskip("captum.attr")
    plain = Last(make_model(norm=norm)).double()  # silence, where paths start, is hard on a norm in single precision
    fast = copy.deepcopy(plain)
    accelerate(fast.model)

    def attributions(model: Last) -> list[Tensor]:
        part, values = model.get_submodule(f"model.{layer}"), waveforms().double()
        gradients = attr.LayerIntegratedGradients(model, part).attribute(values, target=1, n_steps=4)
        conductance = attr.LayerConductance(model, part).attribute(values, target=1, n_steps=4)
        return [attr.LayerActivation(model, part).attribute(values), gradients, conductance]

    for found, expected in zip(attributions(fast), attributions(plain), strict=True):
        assert found.shape == expected.shape
        assert relative_difference(found, expected) < 1e-8


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "out_proj"])
def test_hooks_of_projections_that_transformers_passes_by_are_called(name: str) -> None:
    model = accelerate(make_model())
    attention = model.encoder.layers[0].attention
    caught: dict[str, Tensor] = {}
    attention.register_forward_pre_hook(
        lambda _, args, kw: caught.update(states=[*args, *kw.values()][0]), with_kwargs=True
    )
    getattr(attention, name).register_forward_hook(lambda _, inputs, output: caught.update(found=output))
    model(waveforms())
    assert caught["found"].shape == caught["states"].shape
    if name != "out_proj":
        projection = getattr(attention, name)
        assert torch.equal(caught["found"], nn.functional.linear(caught["states"], projection.weight, projection.bias))


@pytest.mark.parametrize("layer", ["feature_extractor", "encoder.pos_conv_embed", "encoder.layers.0.attention"])
def test_hooks_and_references_from_before_are_kept(layer: str) -> None:
    model = make_model()
    part, calls = model.get_submodule(layer), []
    part.register_forward_hook(lambda module, inputs, output: calls.append(module))
    assert accelerate(model).get_submodule(layer) is part
    model(waveforms())
    assert calls == [part]


@pytest.mark.parametrize("layer", LAYERS[1:4])
def test_hooks_change_nothing_for_padded_batches(layer: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config("wavlm", "group")).eval()
    lengths = torch.tensor([2000, 1500])
    values = waveforms() * (torch.arange(2000) < lengths[:, None])
    expected = backbone(values, lengths)[0][-1]
    backbone.model.get_submodule(layer).register_forward_hook(lambda *_: None)
    found = backbone(values, lengths)[0][-1]
    for row, frames in enumerate(backbone._frame_lengths(lengths)):
        assert relative_difference(found[row, :frames], expected[row, :frames]) < 1e-5


def test_a_layer_with_a_forward_pass_of_its_own_runs_it() -> None:
    """As adapters have one."""

    class Adapter(nn.Linear):
        def forward(self, states: Tensor) -> Tensor:
            return super().forward(states) + 1.0

    model = make_model()
    for name in ("q_proj", "gru_rel_pos_linear"):
        for layer in model.encoder.layers:
            getattr(layer.attention, name).__class__ = Adapter
    fast = accelerate(copy.deepcopy(model))
    before = accelerate(make_model())(waveforms()).last_hidden_state
    for layer in model.encoder.layers:  # transformers takes the parameters alone
        layer.attention.q_proj.bias.add_(1.0)
    expected, found = model(waveforms()).last_hidden_state, fast(waveforms()).last_hidden_state
    assert relative_difference(found, expected) < 1e-5
    assert relative_difference(found, before) > 1e-3
