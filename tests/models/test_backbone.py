import json
from pathlib import Path

import pytest
import torch
from families import FAMILIES, SHAPES, WAV2VEC2_FAMILIES, family_config
from helpers import tiny_config
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

from speechshap.errors import UserError
from speechshap.models import (
    BACKBONES,
    Backbone,
    Wav2Vec2Backbone,
    build_backbone,
    load_backbone,
    load_classifier,
    wrap_backbone,
)

LENGTHS = torch.tensor([4000, 2500, 400, 3210])


def save_checkpoint(
    folder: Path, family: str, norm: str, do_normalize: bool = False, is_stable: bool = False
) -> torch.nn.Module:
    """Write a tiny checkpoint as the hub has them and return the model."""
    torch.manual_seed(0)
    fields = family_config(family, norm, is_stable)
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    with torch.no_grad():  # the first norm as it is after training, and not as it is at the start
        norm_layer = model.feature_extractor.conv_layers[0].layer_norm
        norm_layer.weight.uniform_(0.5, 1.5)
        norm_layer.bias.uniform_(-0.5, 0.5)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return model


def random_waveforms() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(int(length), generator=generator) for length in LENGTHS]


@pytest.mark.parametrize(("family", "norm", "is_stable"), SHAPES)
def test_a_whole_utterance_is_what_hugging_face_makes_of_it(
    tmp_path: Path, family: str, norm: str, is_stable: bool
) -> None:
    model = save_checkpoint(tmp_path, family, norm, is_stable=is_stable)
    backbone = load_backbone(str(tmp_path)).eval()
    waveform = random_waveforms()[0][None]
    output = model(waveform, output_hidden_states=True)
    states, frames = backbone(waveform, LENGTHS[:1])
    assert frames.tolist() == [12]
    assert len(states) == backbone.num_layers + 1
    for state, reference in zip(states, [*output.hidden_states[:-1], output.last_hidden_state], strict=True):
        torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)


def gradient_of_last_state(backbone: Backbone, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
    """Hidden states, detached, and the gradient of a random sum of the last one."""
    waveforms = waveforms.clone().requires_grad_()
    states, frames = backbone(waveforms, lengths)
    weights = torch.randn(99, states[0].shape[2], generator=torch.Generator().manual_seed(2))
    total = sum((states[-1][row, :count] * weights[:count]).sum() for row, count in enumerate(frames.tolist()))
    return [state.detach() for state in states], torch.autograd.grad(total, waveforms)[0]


def assert_same_as_alone(backbone: Backbone, waveforms: list[Tensor]) -> None:
    """Each utterance of a padded batch has its own states and gradients, and padding has none."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    states, gradient = gradient_of_last_state(backbone, pad_sequence(waveforms, batch_first=True), lengths)
    for row, waveform in enumerate(waveforms):
        states_alone, gradient_alone = gradient_of_last_state(backbone, waveform[None], lengths[row : row + 1])
        for state, alone in zip(states, states_alone, strict=True):
            assert float((state[row, : alone.shape[1]] - alone[0]).norm() / alone.norm()) < 1e-5
        own = gradient[row, : len(waveform)]
        assert float((own - gradient_alone[0]).norm() / gradient_alone.norm()) < 1e-5
        assert gradient[row, len(waveform) :].abs().sum() == 0


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize(("family", "norm", "is_stable"), [*SHAPES, ("whisper", "layer", True)])
def test_padding_changes_neither_states_nor_gradients(
    family: str, norm: str, is_stable: bool, do_normalize: bool
) -> None:
    torch.manual_seed(0)
    config = family_config(family, norm, is_stable, do_normalize=do_normalize)
    assert_same_as_alone(build_backbone(config).eval(), random_waveforms())


@pytest.mark.parametrize("seed", range(6))
def test_padding_changes_nothing_for_random_lengths(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(400, 6000, (5,), generator=generator).tolist()
    lengths[seed % 5] = 400  # the shortest that makes a frame
    torch.manual_seed(seed)
    family = WAV2VEC2_FAMILIES[seed % len(WAV2VEC2_FAMILIES)]
    backbone = build_backbone(family_config(family, "group" if seed < 3 else "layer")).eval()
    assert_same_as_alone(backbone, [torch.randn(length, generator=generator) for length in lengths])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_in_the_padding_is_not_heard(family: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config(family, "group")).eval()
    padded = pad_sequence(random_waveforms(), batch_first=True)
    noisy = torch.where(torch.arange(padded.shape[1]) < LENGTHS[:, None], padded, 7.0)
    for row, frames in enumerate(backbone(padded, LENGTHS)[1].tolist()):
        torch.testing.assert_close(
            backbone(noisy, LENGTHS)[0][-1][row, :frames], backbone(padded, LENGTHS)[0][-1][row, :frames]
        )


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_published_padding_is_that_of_hugging_face_without_a_mask(tmp_path: Path, norm: str) -> None:
    model = save_checkpoint(tmp_path, "wavlm", norm)
    padded = pad_sequence(random_waveforms(), batch_first=True)
    states, frames = load_backbone(str(tmp_path), padding="published").eval()(padded, LENGTHS)
    torch.testing.assert_close(states[-1], model(padded).last_hidden_state, atol=1e-5, rtol=1e-4)
    assert frames.tolist() == [12, 7, 1, 9]


def test_half_precision_checkpoints_are_loaded_and_built_in_single_precision(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "wavlm", "group").half().save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path))
    built = build_backbone({**tiny_config(), "dtype": "float16"})
    for backbone in (loaded, built, build_backbone(loaded.export_config())):
        assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_loading_says_where_the_published_use_is_another_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path, "wavlm", "group")
    with caplog.at_level("INFO", logger="speechshap"):
        load_backbone(str(tmp_path))
        assert "without an attention mask" in caplog.text
        caplog.clear()
        load_backbone(str(tmp_path), padding="published")
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
        load_backbone(str(tmp_path))
        assert caplog.text == ""


def test_only_the_states_that_are_asked_for_are_computed() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(tiny_config()).eval()
    waveforms = pad_sequence(random_waveforms(), batch_first=True)
    every, _ = backbone(waveforms, LENGTHS)
    backbone.layers["layer_2"].register_forward_hook(lambda *_: pytest.fail("a layer ran that nothing depends on"))
    (first, stem), _ = backbone(waveforms, LENGTHS, [1, 0])
    assert torch.equal(first, every[1])
    assert torch.equal(stem, every[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_weights_sum_to_one_over_the_frames_of_the_utterance(family: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config(family)).eval()
    waveforms = pad_sequence(random_waveforms(), batch_first=True)
    before, _ = backbone(waveforms, LENGTHS)
    weights = backbone.attention_weights(waveforms, LENGTHS)
    assert list(weights) == [1, 2]
    frames = [backbone.grid.num_frames(length) for length in LENGTHS.tolist()]
    assert weights[1].shape == (4, 2, frames[0], frames[0])
    torch.testing.assert_close(weights[2].sum(-1), torch.ones(4, 2, frames[0]))
    assert weights[2][1, :, :, frames[1] :].abs().sum() == 0
    assert (weights[1][:, 0] - weights[1][:, 1]).abs().max() > 1e-3  # each head has its own
    assert torch.equal(backbone(waveforms, LENGTHS)[0][-1], before[-1])  # and asking leaves no trace


@pytest.mark.parametrize("number", [-1, 3])
def test_a_state_or_a_layer_that_is_not_there(number: int) -> None:
    backbone = build_backbone(tiny_config()).eval()
    with pytest.raises(ValueError, match=rf"there is no state \[{number}\]; expected some of 0 to 2"):
        backbone(torch.zeros(1, 800), torch.tensor([800]), [number])
    with pytest.raises(ValueError, match=rf"there is no layer \[{number}\]; expected some of 1 to 2"):
        backbone.attention_weights(torch.zeros(1, 800), torch.tensor([800]), [number])


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_changes_no_gradient_and_keeps_less(family: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config(family)).eval().requires_grad_(False)
    waveforms = pad_sequence(random_waveforms(), batch_first=True)

    def kept_bytes_and_gradient() -> tuple[int, Tensor]:
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        values = waveforms.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            total = backbone(values, LENGTHS)[0][-1].square().sum()
        return sum(kept.values()), torch.autograd.grad(total, values)[0]

    all_bytes, expected = kept_bytes_and_gradient()
    backbone.gradient_checkpointing = True
    few_bytes, gradient = kept_bytes_and_gradient()
    assert torch.equal(gradient, expected)
    assert few_bytes < all_bytes / 4


def test_half_precision_autocast_is_near_single_precision() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(tiny_config(norm="group")).eval().requires_grad_(False)
    waveforms = pad_sequence(random_waveforms(), batch_first=True)
    states, gradient = gradient_of_last_state(backbone, waveforms, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        half_states, half_gradient = gradient_of_last_state(backbone, waveforms, LENGTHS)
    assert half_states[-1].dtype == torch.float32  # of the layer norm
    assert float((half_states[-1][0] - states[-1][0]).norm() / states[-1][0].norm()) < 0.02
    assert float((half_gradient - gradient).norm() / gradient.norm()) < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_training_draws_masks_and_drops_layers(family: str) -> None:
    torch.manual_seed(0)
    fields = {"apply_spec_augment": True} if family == "whisper" else {}  # which is the default of the others
    config = family_config(family, mask_time_prob=0.5, mask_time_length=2, **fields)
    backbone = build_backbone(config).train()
    waveforms = pad_sequence(random_waveforms(), batch_first=True)
    first, second = (backbone(waveforms, LENGTHS, [0])[0][0] for _ in range(2))
    assert not torch.equal(first, second)
    setattr(backbone.model.config, "encoder_layerdrop" if family == "whisper" else "layerdrop", 1.0)
    backbone.normalize_last_state = False
    states, _ = backbone(waveforms, LENGTHS)
    assert torch.equal(states[0], states[-1])


@pytest.mark.parametrize(
    ("kernels", "strides"),
    [((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)), ((10, 3, 3), (5, 2, 2)), ((8, 4), (3, 3)), ((7,), (7,))],
)
@pytest.mark.parametrize("family", WAV2VEC2_FAMILIES)
def test_the_grid_has_as_many_frames_as_the_model_for_every_length(
    family: str, kernels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    config = {**family_config(family), "conv_kernel": kernels, "conv_stride": strides, "conv_dim": [8] * len(kernels)}
    backbone = build_backbone({**config, "num_feat_extract_layers": len(kernels)}).eval()
    shortest = backbone.grid.receptive_field
    lengths = torch.arange(shortest, shortest + 3 * backbone.grid.hop + 2)
    expected = backbone.model._get_feat_extract_output_lengths(lengths)
    assert [backbone.grid.num_frames(length) for length in lengths.tolist()] == expected.tolist()
    for length in (shortest, shortest + backbone.grid.hop - 1, shortest + backbone.grid.hop):
        states, frames = backbone(torch.randn(1, length), torch.tensor([length]), [0])
        assert states[0].shape[1] == int(frames) == backbone.grid.num_frames(length)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_the_checkpoint_decides_on_normalisation(tmp_path: Path, do_normalize: bool) -> None:
    model = save_checkpoint(tmp_path, "wavlm", "layer", do_normalize)
    waveform = 3 * random_waveforms()[0] + 1
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    values = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    assert torch.allclose(values[0], waveform) is not do_normalize
    states, _ = load_backbone(str(tmp_path)).eval()(waveform[None], LENGTHS[:1])
    torch.testing.assert_close(states[-1], model(values).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_an_exported_configuration_builds_the_same_architecture(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "wavlm", "group", do_normalize=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "freeze_feat_extract_train": True}))  # as on the hub
    loaded = load_backbone(str(tmp_path))
    rebuilt = build_backbone(loaded.export_config())
    rebuilt.load_state_dict(loaded.state_dict())
    waveform = random_waveforms()[0][None]
    torch.testing.assert_close(
        rebuilt.eval()(waveform, LENGTHS[:1])[0][-1], loaded.eval()(waveform, LENGTHS[:1])[0][-1]
    )


def test_the_full_size_model_builds_and_answers() -> None:
    backbone = build_backbone({"model_type": "wavlm"}).eval()
    assert sum(parameter.numel() for parameter in backbone.parameters()) == pytest.approx(94.4e6, rel=0.01)
    with torch.no_grad():
        states, _ = backbone(torch.randn(1, 8000), torch.tensor([8000]))
    assert len(states) == 13
    assert states[-1].shape == (1, 24, 768)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no folder ./nowhere"),
        ("/no/such/folder", "no folder /no/such/folder"),
    ],
)
def test_a_folder_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(name)


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    with pytest.raises(UserError, match=r"not a whole checkpoint .*preprocessor_config.json"):
        load_backbone(str(tmp_path))


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(UserError, match=r"microsoft/no-such-model cannot be had .*Name or service.*give the folder"):
        load_backbone("microsoft/no-such-model")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; expected one of wavlm"),
        ({}, "model_type is None"),
        (tiny_config(hiden_size=3), "a wavlm configuration has no field hiden_size"),
        (tiny_config(hidden_size=33), "`backbone_config`: .*divisible"),
    ],
)
def test_a_configuration_that_cannot_be(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(config)


def test_another_family_is_refused() -> None:
    class Other(torch.nn.Module):
        config = AutoConfig.for_model("bert")

    with pytest.raises(UserError, match="`backbone`: a bert model; expected one of wavlm, wav2vec2, hubert"):
        wrap_backbone(Other(), normalize=False)


def test_a_folder_of_a_text_model_is_told_as_what_it_is(tmp_path: Path) -> None:
    AutoConfig.for_model("bert").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="`backbone`: a bert model; expected one of wavlm"):
        load_backbone(str(tmp_path))
    with pytest.raises(UserError, match="`model`: a bert model, which does not classify raw waveforms"):
        load_classifier(str(tmp_path))


def test_adapter_layers_after_the_encoder_are_refused() -> None:
    with pytest.raises(UserError, match="a wav2vec2 model with adapter layers after its encoder"):
        build_backbone(family_config("wav2vec2", add_adapter=True))


def test_padding_does_not_pass_a_batch_norm_before_the_positional_convolution() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config("hubert", conv_pos_batch_norm=True)).eval()
    with torch.no_grad():
        backbone.model.encoder.pos_conv_embed.batch_norm.bias.fill_(0.5)
    assert_same_as_alone(backbone, random_waveforms())


def test_the_last_state_can_be_had_before_the_final_norm() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(family_config("wavlm", is_stable=True)).eval()
    waveform = random_waveforms()[0][None]
    (normalized,), _ = backbone(waveform, LENGTHS[:1], [2])
    backbone.normalize_last_state = False
    (plain,), _ = backbone(waveform, LENGTHS[:1], [2])
    torch.testing.assert_close(backbone.model.encoder.layer_norm(plain), normalized)
    assert not torch.allclose(plain, normalized)


def test_a_registered_family_is_built_and_named_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Wav2Vec2Backbone):
        pass

    monkeypatch.setitem(BACKBONES, "unispeech", Own)
    backbone = build_backbone({**tiny_config("unispeech"), "do_normalize": True}, "published")
    assert type(backbone) is Own
    assert (backbone.model.config.model_type, backbone.normalize, backbone.padding) == ("unispeech", True, "published")
    with pytest.raises(UserError, match=r"expected one of wavlm, .*, unispeech$"):
        build_backbone({"model_type": "bert"})


def test_one_entry_makes_a_family_of_the_same_build_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "unispeech", Wav2Vec2Backbone)
    torch.manual_seed(0)
    fields = tiny_config("unispeech", "group")
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    waveform = random_waveforms()[0][None]
    expected = model(waveform).last_hidden_state
    states, _ = wrap_backbone(model, normalize=False)(waveform, LENGTHS[:1])
    torch.testing.assert_close(states[-1], expected, atol=1e-5, rtol=1e-4)


def test_half_precision_is_for_families_whose_activations_it_holds() -> None:
    supports = {family: build_backbone(family_config(family)).supports_float16 for family in FAMILIES}
    assert [family for family in FAMILIES if not supports[family]] == ["wavlm"]
