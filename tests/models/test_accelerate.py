import copy
from pathlib import Path

import pytest
import torch
from families import SHAPES, WAV2VEC2_FAMILIES, family_config, relative_difference
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, WavLMModel

from speechshap.models import accelerate

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def make_model(family: str, norm: str = "group", is_stable: bool = False, **fields: object) -> nn.Module:
    """A tiny model of transformers whose norms and gates are as after training, and not as at the start."""
    torch.manual_seed(0)
    config = family_config(family, norm, is_stable, conv_bias=norm == "layer", **fields)
    model = AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name or "gru" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def make_waveforms(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Three waveforms of unequal length, zero-padded, and their mask."""
    torch.manual_seed(1)
    mask = torch.arange(4000) < torch.tensor([[4000], [2500], [400]])
    return (torch.randn(3, 4000) * mask).to(dtype), mask


def states_and_gradient(model: nn.Module, waveforms: Tensor, mask: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """All hidden states, the last one too, and the gradient of a random sum of the last one."""
    waveforms = waveforms.clone().requires_grad_()
    output = model(waveforms, attention_mask=mask, output_hidden_states=True)
    weights = torch.randn(output.last_hidden_state.shape, generator=torch.Generator().manual_seed(2))
    if mask is not None:  # what follows an utterance means nothing
        frames = model._get_feat_extract_output_lengths(mask.sum(1))
        weights *= (torch.arange(weights.shape[1]) < frames.cpu()[:, None])[..., None]
    total = (output.last_hidden_state * weights.to(output.last_hidden_state)).sum()
    (gradient,) = torch.autograd.grad(total, waveforms)
    return [*output.hidden_states, output.last_hidden_state], gradient


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(("family", "norm", "is_stable"), SHAPES)
def test_states_and_input_gradients_are_those_of_transformers(
    family: str,
    norm: str,
    is_stable: bool,
    is_masked: bool,
    dtype: torch.dtype,
    tolerance: float,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", False)  # of the reference, too
    model = make_model(family, norm, is_stable).to(device, dtype)
    waveforms, mask = (tensor.to(device) for tensor in make_waveforms(dtype))
    given = mask if is_masked else None
    expected_states, expected_gradient = states_and_gradient(model, waveforms, given)
    states, gradient = states_and_gradient(accelerate(model), waveforms, given)
    for state, expected in zip(states, expected_states, strict=True):
        if is_masked:  # frames after an utterance mean nothing
            state, expected = state[0], expected[0]
        assert relative_difference(state, expected) < tolerance
    assert relative_difference(gradient, expected_gradient) < tolerance


@pytest.mark.parametrize("family", WAV2VEC2_FAMILIES)
def test_frozen_weights_change_nothing(family: str) -> None:
    model = make_model(family)
    waveforms, mask = make_waveforms()
    expected_states, expected_gradient = states_and_gradient(model, waveforms, mask)
    frozen = accelerate(model).requires_grad_(False)
    for _ in range(2):  # the second time from what the first one kept
        states, gradient = states_and_gradient(frozen, waveforms, mask)
        assert relative_difference(states[-1][0], expected_states[-1][0]) < 1e-5
        assert relative_difference(gradient, expected_gradient) < 1e-5


@pytest.mark.parametrize("family", WAV2VEC2_FAMILIES)
def test_parameters_have_the_gradients_that_they_have_in_transformers(family: str) -> None:
    model = make_model(family)
    waveforms, mask = make_waveforms()

    def parameter_gradients() -> dict[str, Tensor]:
        model.zero_grad()
        output = model(waveforms, attention_mask=mask).last_hidden_state
        output[0].square().mean().backward()
        return {
            name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
        }

    expected = parameter_gradients()
    accelerate(model)
    found = parameter_gradients()
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], atol=1e-4 * scale + 1e-7, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", WAV2VEC2_FAMILIES)
def test_state_dicts_load_both_ways(family: str) -> None:
    plain, fast = make_model(family), accelerate(make_model(family))
    assert plain.state_dict().keys() == fast.state_dict().keys()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(1.1)
    waveforms, _ = make_waveforms()
    _ = fast(waveforms)  # what is kept of the old weights is not used for the new ones
    fast.load_state_dict(plain.state_dict())
    assert relative_difference(fast(waveforms).last_hidden_state, plain(waveforms).last_hidden_state) < 1e-5
    plain.load_state_dict(fast.state_dict())


def test_what_follows_from_frozen_weights_is_computed_anew_when_they_change() -> None:
    fast = accelerate(make_model("wavlm")).requires_grad_(False)
    waveforms, _ = make_waveforms()
    before = fast(waveforms).last_hidden_state
    with torch.no_grad():
        fast.encoder.layers[0].attention.rel_attn_embed.weight.mul_(3)
        fast.encoder.layers[1].attention.k_proj.weight.mul_(3)
        fast.encoder.pos_conv_embed.conv.parametrizations.weight.original0.mul_(3)
    fresh = accelerate(make_model("wavlm"))
    fresh.load_state_dict(fast.state_dict())
    after = fast(waveforms).last_hidden_state
    assert relative_difference(after, fresh(waveforms).last_hidden_state) < 1e-6
    assert relative_difference(before, after) > 1e-2


def test_nothing_old_is_used_after_training_that_writes_past_autograd() -> None:
    """Fused optimisers do not count their changes."""
    fast = accelerate(make_model("wavlm"))
    waveforms, _ = make_waveforms()
    with torch.no_grad():
        fast(waveforms)  # validation before training
    optimizer = torch.optim.AdamW(fast.parameters(), lr=0.1, fused=True)
    fast(waveforms).last_hidden_state.square().mean().backward()
    optimizer.step()
    fresh = accelerate(make_model("wavlm"))
    fresh.load_state_dict(fast.state_dict())
    fast.requires_grad_(False)
    assert torch.equal(fast(waveforms).last_hidden_state, fresh.requires_grad_(False)(waveforms).last_hidden_state)


def test_a_model_made_in_inference_mode_works() -> None:
    waveforms, _ = make_waveforms()
    with torch.inference_mode():
        found = accelerate(make_model("wavlm").requires_grad_(False))(waveforms).last_hidden_state
    assert relative_difference(found, make_model("wavlm")(waveforms).last_hidden_state) < 1e-5


def test_a_saved_model_loads_in_plain_transformers(tmp_path: Path) -> None:
    fast = accelerate(make_model("wavlm"))
    fast.save_pretrained(tmp_path)
    waveforms, mask = make_waveforms()
    plain = WavLMModel.from_pretrained(tmp_path).eval()
    expected = plain(waveforms, attention_mask=mask).last_hidden_state[0]
    assert relative_difference(fast(waveforms, attention_mask=mask).last_hidden_state[0], expected) < 1e-5


@pytest.mark.parametrize("family", WAV2VEC2_FAMILIES)
def test_a_model_with_a_head_is_accelerated_below_it(family: str) -> None:
    torch.manual_seed(0)
    config = family_config(family, "group", num_labels=4, classifier_proj_size=8)
    model = AutoModelForAudioClassification.from_config(AutoConfig.for_model(config.pop("model_type"), **config)).eval()
    waveforms, mask = make_waveforms()
    expected = model(waveforms, attention_mask=mask).logits
    torch.testing.assert_close(accelerate(model)(waveforms, attention_mask=mask).logits, expected, atol=1e-5, rtol=1e-4)


def test_attention_weights_are_those_of_each_head() -> None:
    model = make_model("wavlm")
    waveforms, _ = make_waveforms()
    model(waveforms, output_attentions=True)  # transformers' hooks are there before
    expected = model(waveforms, output_attentions=True).attentions[1]  # the mean over the heads
    weights = accelerate(model)(waveforms, output_attentions=True).attentions[1]
    torch.testing.assert_close(weights.mean(1), expected[:, 0], atol=1e-6, rtol=1e-4)
    assert (weights[:, 0] - weights[:, 1]).abs().max() > 1e-3
    model.config.output_attentions = True
    assert torch.equal(model(waveforms).attentions[1], weights)


def test_position_bias_is_that_of_transformers_for_all_distances() -> None:
    model = make_model("wavlm", num_buckets=16, max_bucket_distance=20)
    expected = model.encoder.layers[0].attention.compute_bias(60, 60)
    bias = accelerate(model).encoder.layers[0].attention.compute_bias(60, 60)
    assert torch.equal(bias, expected)


@pytest.mark.parametrize("is_masked", [False, True])
def test_the_fused_attention_of_a_gpu_gives_the_same_and_gets_a_bias_that_it_need_not_copy(
    is_masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, with the call that a GPU would get; 12 frames are no multiple of 8."""
    model = make_model("wavlm")
    waveforms, mask = make_waveforms()
    given = mask if is_masked else None
    expected_states, expected_gradient = states_and_gradient(model, waveforms, given)
    biases = spy_on_fused_attention(monkeypatch)
    states, gradient = states_and_gradient(accelerate(model), waveforms, given)
    assert len(biases) == 2
    for bias in biases:
        assert bias.shape == (3, 2, 12, 12)
        assert not any(stride % 8 for stride in bias.stride()[:3])
    assert relative_difference(states[-1][0], expected_states[-1][0]) < 1e-5
    assert relative_difference(gradient, expected_gradient) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bias_has_the_type_of_the_query(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels misread others."""
    waveforms, mask = make_waveforms()
    model = accelerate(make_model("wavlm"))
    biases = spy_on_fused_attention(monkeypatch)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        model(waveforms, attention_mask=mask)
    assert [bias.dtype for bias in biases] == [dtype] * 2


def spy_on_fused_attention(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Have WavLM's attention do as on a GPU, and note the biases that the fused call gets."""
    fused, biases = torch.nn.functional.scaled_dot_product_attention, []

    def spy(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *others: object, **options: object) -> Tensor:
        assert bias.dtype == query.dtype == key.dtype == value.dtype
        biases.append(bias)
        return fused(query, key, value, bias, *others, **options)

    monkeypatch.setattr("speechshap.models.gated_attention._fused_alignment", lambda device: 8)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", spy)
    return biases


def test_a_copy_keeps_nothing_of_the_original() -> None:
    fast = accelerate(make_model("wavlm")).requires_grad_(False)
    waveforms, _ = make_waveforms()
    expected = fast(waveforms).last_hidden_state
    other = copy.deepcopy(fast)
    assert torch.equal(other(waveforms).last_hidden_state, expected)
    with torch.no_grad():
        other.encoder.layers[1].attention.v_proj.weight.mul_(2)
    assert not torch.equal(other(waveforms).last_hidden_state, expected)
    assert torch.equal(fast(waveforms).last_hidden_state, expected)


def test_it_trains_after_inference_mode() -> None:
    fast = accelerate(make_model("wavlm")).requires_grad_(False)
    waveforms, mask = make_waveforms()
    with torch.inference_mode():
        fast(waveforms)
    _, gradient = states_and_gradient(fast, waveforms, mask)
    assert gradient.abs().sum() > 0


def test_accelerating_twice_changes_nothing_more() -> None:
    fast = accelerate(make_model("wavlm"))
    waveforms, _ = make_waveforms()
    expected = fast(waveforms).last_hidden_state
    assert torch.equal(accelerate(fast)(waveforms).last_hidden_state, expected)


def test_the_derivative_along_a_direction_is_that_of_finite_differences() -> None:
    """Forward mode, which conductance takes its slopes from."""
    fast = accelerate(make_model("wavlm").double()).requires_grad_(False)
    waveforms, _ = make_waveforms(torch.float64)
    direction = torch.randn(waveforms.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def last(values: Tensor) -> Tensor:
        return fast(values).last_hidden_state

    _, slope = torch.func.jvp(last, (waveforms,), (direction,))
    step = 1e-6
    expected = (last(waveforms + step * direction) - last(waveforms - step * direction)) / (2 * step)
    assert relative_difference(slope, expected) < 1e-6


def test_hubert_with_batch_norm_before_the_positional_convolution() -> None:
    model = make_model("hubert", conv_pos_batch_norm=True)
    waveforms, _ = make_waveforms()
    expected = model(waveforms).last_hidden_state
    assert relative_difference(accelerate(model)(waveforms).last_hidden_state, expected) < 1e-5


@pytest.mark.slow
def test_full_size_base_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("wavlm")).eval()
    waveforms = 0.1 * torch.randn(2, 16000)
    expected_states, expected_gradient = states_and_gradient(model, waveforms, None)
    states, gradient = states_and_gradient(accelerate(model).requires_grad_(False), waveforms, None)
    assert relative_difference(states[-1], expected_states[-1]) < 1e-5
    assert relative_difference(gradient, expected_gradient) < 1e-5


def test_models_of_another_build_are_refused() -> None:
    for family in ("bert", "sew"):  # the positional convolution of SEW brings frames together
        model = AutoModel.from_config(AutoConfig.for_model(family, num_hidden_layers=1, hidden_size=48))
        with pytest.raises(ValueError, match=rf"the model is a {type(model).__name__}; expected one with the conv.*"):
            accelerate(model)
    with pytest.raises(ValueError, match="the model is a Linear"):
        accelerate(nn.Linear(1, 1))
