"""Explanations of a model with low-rank adapters: those of the model whose weights have what the adapters learnt."""

import copy
from typing import Any

import pytest
import torch
from families import family_config, of_each_kind

from speechshap.attribution import Attribution, Evaluator, Targets, find_method, gaussian_noise, gradient_shap
from speechshap.training import EmotionModule

LENGTHS = [2000, 1500]
TARGETS = {"wavlm": ["q_proj", "output_dense", "gru_rel_pos_linear"], "whisper": ["q_proj", "fc2"]}


@pytest.fixture
def modules(family: str) -> tuple[EmotionModule, EmotionModule]:
    """One with adapters that have learnt something, and a copy with merged weights."""
    torch.manual_seed(0)
    module = EmotionModule(["angry", "sad"], backbone_config=family_config(family), lora_rank=4, lora_alpha=8.0,
                           lora_targets=TARGETS[family]).eval()  # fmt: skip
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    merged = copy.deepcopy(module)
    merged.merge_adapters()
    return module, merged


def sounds() -> torch.Tensor:
    waveforms = 0.1 * torch.randn(2, 2000, generator=torch.Generator().manual_seed(1))
    return waveforms * (torch.arange(2000) < torch.tensor(LENGTHS)[:, None])


def assert_like(one: torch.Tensor, other: torch.Tensor) -> None:
    assert float(other.abs().max()) > 0
    torch.testing.assert_close(one, other, rtol=1e-3, atol=3e-3 * float(other.abs().max()))


def is_changed(module: EmotionModule, attribution: Attribution, explain: Any) -> bool:
    """Whether the attributions are other ones without the adapters."""
    without = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in without.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    size = float(attribution.frames.abs().max())
    return float((explain(without).frames - attribution.frames).abs().max()) > 0.01 * size


@of_each_kind
def test_gradient_shap_and_the_neurons_of_layers(modules: tuple[EmotionModule, EmotionModule]) -> None:
    def explain(module: EmotionModule) -> Attribution:
        return gradient_shap(
            module, sounds(), lengths=torch.tensor(LENGTHS), ids=["a", "b"], n_samples=8, layers=module.layers,
            layer_method="path", grid=module.grid,
        )  # fmt: skip

    of_adapters, of_merged = map(explain, modules)
    assert_like(of_adapters.values, of_merged.values)
    assert list(of_adapters.layers) == ["layer_1", "layer_2"]
    for name, layer in of_merged.layers.items():
        assert_like(of_adapters.layers[name], layer)
    assert is_changed(modules[0], of_adapters, explain)


@of_each_kind
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("integrated_gradients", {"n_points": 7, "space": "stem"}),
        ("occlusion", {"stretch_frames": 2}),
        ("saliency", {}),
        ("attention_rollout", {}),
    ],
)
def test_other_methods(modules: tuple[EmotionModule, EmotionModule], name: str, settings: dict[str, Any]) -> None:
    method = find_method(name)

    def explain(module: EmotionModule) -> Attribution:
        evaluator = Evaluator(
            module, sounds(), LENGTHS, ["a", "b"], grid=module.grid, spaces=module.spaces, module=module, chunk_size=8
        )
        return method.explain(evaluator, Targets.from_classes(2, 1), gaussian_noise(), method.settings(**settings))

    of_adapters, of_merged = map(explain, modules)
    assert_like(of_adapters.frames, of_merged.frames)
    assert is_changed(modules[0], of_adapters, explain)
