"""Whatever pools the frames of a classifier, its decisions are explained as those of any other one."""

from typing import Any

import pytest
import torch
from families import as_after_training, family_config
from models.tiny import POOLINGS, sounds
from torch import Tensor

from speechshap import GradientSHAP
from speechshap.attribution import Attribution, Evaluator, Targets, find_method, gaussian_noise
from speechshap.models.standardization import moments_of
from speechshap.training import EmotionModule

LENGTHS = (3000, 1700)

with_each_pooling = pytest.mark.parametrize("options", POOLINGS)


def make_module(options: dict[str, Any], **others: Any) -> EmotionModule:
    """A standardised module as after training."""
    torch.manual_seed(0)
    module = EmotionModule(
        ["calm", "happy", "sad"], backbone_config=family_config("wavlm", "group"), standardize=True,
        **{"pooling" if name == "kind" else name: value for name, value in options.items()}, **others,
    )  # fmt: skip
    standardization = module.classifier.standardization
    assert standardization is not None
    standardization.fit(moments_of(torch.randn(len(standardization.mean), 10, standardization.mean.shape[1])))
    as_after_training(module)
    return module.requires_grad_(False)


def explain(module: EmotionModule, waveforms: Tensor, lengths: Tensor, method: str, **settings: Any) -> Attribution:
    found = find_method(method)
    evaluator = Evaluator(
        module, 0.1 * waveforms, lengths, ["a", "b"][: len(waveforms)], grid=module.grid, spaces=module.spaces,
        layers=module.layers if "layer_method" in settings else {},
    )  # fmt: skip
    targets = Targets.from_classes(len(waveforms), [[0, 2]] * len(waveforms))
    return found.explain(evaluator, targets, gaussian_noise(), found.settings(**settings))


def check_padding(module: EmotionModule, together: Attribution, method: str, **settings: Any) -> None:
    """The shorter sound of a batch is explained as it is alone, and its padding not at all."""
    waveforms, lengths = sounds(*LENGTHS)
    found = find_method(method)
    evaluator = Evaluator(
        module, 0.1 * waveforms[1:, : LENGTHS[1]], lengths[1:], ["b"], grid=module.grid, spaces=module.spaces
    )
    targets = Targets.from_classes(1, [[0, 2]])
    alone = found.explain(evaluator, targets, gaussian_noise(), found.settings(**settings))
    count = alone.frames.shape[2]
    scale = float(alone.frames.abs().max())
    torch.testing.assert_close(together.logits[1], alone.logits[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.frames[1, :, :count], alone.frames[0], rtol=1e-3, atol=1e-3 * scale)
    assert not together.frames[1, :, count:].any()


@with_each_pooling
def test_gradient_shap_is_complete_within_its_error(options: dict) -> None:
    module, settings = make_module(options), {"n_samples": 256}
    result = explain(module, *sounds(*LENGTHS), "gradient_shap", **settings)
    assert result.completeness_gap_standard_error is not None
    assert (result.completeness_gap.abs() < 5 * result.completeness_gap_standard_error).all()
    assert (result.completeness_gap_standard_error < 0.5 * result.frames.abs().sum(2)).all()
    check_padding(module, result, "gradient_shap", **settings)


@with_each_pooling
def test_integrated_gradients_between_features_of_the_stem_are_complete(options: dict) -> None:
    module, settings = make_module(options), {"space": "stem", "n_points": 63}
    result = explain(module, *sounds(*LENGTHS), "integrated_gradients", **settings)
    assert (result.completeness_gap.abs() < 0.02 * result.frames.abs().sum(2)).all()
    check_padding(module, result, "integrated_gradients", **settings)


@with_each_pooling
def test_kernel_shap_sums_to_the_change_from_its_reference(options: dict) -> None:
    module, settings = make_module(options), {"n_samples": 128, "stretch_frames": 3, "n_divisions": 1}
    result = explain(module, *sounds(*LENGTHS), "kernel_shap", **settings)
    assert (result.frames.abs().sum(2) > 0).all()
    assert (result.completeness_gap.abs() < 1e-3 * result.frames.abs().sum(2)).all()
    check_padding(module, result, "kernel_shap", **settings)


@with_each_pooling
def test_occlusion_tells_what_the_logits_lose(options: dict) -> None:
    module = make_module(options)
    result = explain(module, *sounds(*LENGTHS), "occlusion")
    assert result.frames.isfinite().all()
    assert (result.frames.abs().sum(2) > 0).all()
    check_padding(module, result, "occlusion")


@with_each_pooling
def test_neurons_of_a_layer_that_all_passes_through_sum_to_the_frames(options: dict) -> None:
    module = make_module(options, hidden_layer=2)
    result = explain(module, *sounds(*LENGTHS), "gradient_shap", n_samples=8, layer_method="path")
    expected = result.frames.sum(2)
    assert list(result.layers) == ["layer_1", "layer_2"]
    for values in result.layers.values():
        scale = float(result.frames.abs().sum(2).max())
        torch.testing.assert_close(values.sum((2, 3)), expected, rtol=1e-3, atol=1e-4 * scale)
        assert not values[1, :, 5:].any()


@with_each_pooling
def test_a_sound_is_explained_in_a_line_of_python(options: dict) -> None:
    explainer = GradientSHAP(model=make_module(options), num_samples=8)
    waveform = 0.1 * sounds(2000)[0][0]
    assert explainer.explain(waveform)["attributions"].isfinite().all()
    neurons = explainer.explain(waveform, mode="neuron")["attributions"]
    assert {values.shape for values in neurons.values()} == {(6, 32)}


@with_each_pooling
def test_a_long_recording_is_explained_as_a_whole_and_as_it_is_alone(options: dict) -> None:
    module = make_module(options, window_seconds=1.0)
    waveforms, lengths = sounds(40_000, 9_000)
    both = explain(module, waveforms, lengths, "gradient_shap", n_samples=4)
    assert both.frames.isfinite().all()
    assert (both.frames[0] != 0).all()
    alone = explain(module, waveforms[:1], lengths[:1], "gradient_shap", n_samples=4)
    scale = float(alone.frames.abs().max())
    torch.testing.assert_close(both.frames[0], alone.frames[0], rtol=1e-3, atol=1e-3 * scale)


@with_each_pooling
def test_windows_change_nothing_for_what_fits_into_one(options: dict) -> None:
    waveforms, lengths = sounds(16_000, 9_000)
    one, other = (make_module(options, window_seconds=seconds) for seconds in (1.0, 20.0))
    assert torch.equal(one(waveforms, lengths), other(waveforms, lengths))
