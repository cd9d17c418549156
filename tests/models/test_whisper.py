import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import (
    TINY_WHISPER,
    as_after_training,
    family_config,
    features_of,
    logits_and_gradient,
    relative_difference,
    save,
    states_and_gradient,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    WhisperConfig,
    WhisperForAudioClassification,
    WhisperForCausalLM,
    WhisperForConditionalGeneration,
    WhisperModel,
    WhisperTokenizer,
)
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from speechshap.errors import UserError
from speechshap.models import (
    Backbone,
    EmotionClassifier,
    build_backbone,
    from_transformers,
    load_backbone,
    load_classifier,
)

SAMPLES = 5120  # 32 mel frames, 16 frames
LENGTH = torch.tensor([SAMPLES])


def make_model(kind: Any = WhisperEncoder, **fields: Any) -> Any:
    torch.manual_seed(0)
    return as_after_training(kind(WhisperConfig(**{**TINY_WHISPER, **fields})))


def make_waveform(samples: int = SAMPLES) -> Tensor:
    return 0.3 * torch.randn(1, samples, generator=torch.Generator().manual_seed(1))


def test_published_padding_is_what_transformers_computes() -> None:
    encoder, waveform = make_model(), make_waveform()
    backbone = build_backbone(family_config("whisper"), "published").eval()
    backbone.model.load_state_dict(encoder.state_dict())
    expected, expected_gradient = states_and_gradient(
        lambda values: encoder(features_of(values, 480_000), output_hidden_states=True).hidden_states, waveform
    )
    states, gradient = states_and_gradient(lambda values: backbone(values, LENGTH)[0], waveform)
    assert backbone(waveform, LENGTH)[1].tolist() == [1500]
    assert len(states) == 3
    for state, reference in zip(states, expected, strict=True):
        torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)
    assert relative_difference(gradient, expected_gradient) < 1e-5


def test_a_clip_alone_is_what_transformers_computes_with_a_shorter_window() -> None:
    frames = SAMPLES // 320
    encoder, waveform = make_model(), make_waveform()
    backbone = build_backbone(family_config("whisper")).eval()
    backbone.model.load_state_dict(encoder.state_dict())
    cropped = make_model(max_source_positions=frames)
    state = {**encoder.state_dict(), "embed_positions.weight": encoder.embed_positions.weight[:frames]}
    cropped.load_state_dict(state)
    expected, expected_gradient = states_and_gradient(
        lambda values: cropped(features_of(values, SAMPLES), output_hidden_states=True).hidden_states, waveform
    )
    states, gradient = states_and_gradient(lambda values: backbone(values, LENGTH)[0], waveform)
    assert backbone(waveform, LENGTH)[1].tolist() == [frames]
    for state, reference in zip(states, expected, strict=True):
        torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)
    assert relative_difference(gradient, expected_gradient) < 1e-5


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("seed", range(3))
def test_padding_changes_nothing_for_random_lengths(seed: int, precision: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(400, 9000, (4,), generator=generator)
    waveforms = [torch.randn(size, generator=generator) for size in lengths.tolist()]
    backbone = build_backbone(family_config("whisper")).eval().requires_grad_(False)
    backbone.model.load_state_dict(make_model().state_dict())
    padded = pad_sequence(waveforms, batch_first=True).requires_grad_()
    tolerance = 1e-5 if precision == "32" else 0.02
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        (state,), frames = backbone(padded, lengths, [2])
        own = [state[row, :count].sum() for row, count in enumerate(frames.tolist())]
        gradient = torch.autograd.grad(torch.stack(own).square().sum(), padded)[0]
        for row, waveform in enumerate(waveforms):
            values = waveform[None].clone().requires_grad_()
            (alone,), count = backbone(values, lengths[row : row + 1], [2])
            (expected,) = torch.autograd.grad(alone.sum().square(), values)
            assert int(count) == int(frames[row]) == backbone.grid.num_frames(len(waveform))
            assert relative_difference(state[row, : int(count)], alone[0]) < tolerance
            assert relative_difference(gradient[row, : len(waveform)], expected[0]) < 5 * tolerance
            assert gradient[row, len(waveform) :].abs().sum() == 0


def test_what_follows_an_utterance_is_silence_in_the_published_use() -> None:
    backbone = build_backbone(family_config("whisper"), "published").eval()
    waveform = make_waveform()
    noisy = torch.cat([waveform, torch.full((1, 900), 5.0)], dim=1).requires_grad_()
    (state,), _ = backbone(noisy, LENGTH, [2])
    torch.testing.assert_close(state, backbone(waveform, LENGTH, [2])[0][0])
    assert torch.autograd.grad(state.square().sum(), noisy)[0][0, SAMPLES:].abs().sum() == 0


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_layers_show_the_frames_of_the_utterance(padding: Any) -> None:
    backbone = build_backbone(family_config("whisper"), padding).eval()
    shown: dict[str, Tensor] = {}
    for name, layer in backbone.layers.items():
        layer.register_forward_hook(
            lambda _, __, output, name=name: shown.update({name: output[0] if isinstance(output, tuple) else output})
        )
    backbone.normalize_last_state = False
    states, _ = backbone(make_waveform(), LENGTH)
    assert list(shown) == ["layer_1", "layer_2"]
    for state, output in zip(states[1:], shown.values(), strict=True):
        assert output.shape == (1, backbone.grid.num_frames(SAMPLES), 32)
        assert torch.equal(output, state[:, : output.shape[1]])


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_attention_weights_are_those_of_each_head_of_transformers(padding: Any) -> None:
    frames = SAMPLES // 320
    fields = {"max_source_positions": frames} if padding == "masked" else {}
    encoder = make_model(attn_implementation="eager", **fields)
    features = features_of(make_waveform(), encoder.config.max_source_positions * 320)
    expected = encoder(features, output_attentions=True).attentions
    backbone = build_backbone(family_config("whisper", **fields), padding).eval()
    backbone.model.load_state_dict(encoder.state_dict())
    weights = backbone.attention_weights(make_waveform(), LENGTH)
    for layer, reference in enumerate(expected, start=1):
        torch.testing.assert_close(weights[layer], reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "kind", [WhisperModel, WhisperForConditionalGeneration, WhisperEncoder, WhisperForAudioClassification]
)
def test_the_encoder_of_any_checkpoint_is_loaded_and_nothing_else(tmp_path: Path, kind: Any) -> None:
    model = make_model(kind)
    encoder = model if kind is WhisperEncoder else getattr(model, "encoder", None) or model.get_encoder()
    backbone = load_backbone(save(model.half(), tmp_path))
    assert backbone.model.state_dict().keys() == encoder.state_dict().keys()
    for name, weight in backbone.model.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, encoder.state_dict()[name].float())


def test_an_exported_configuration_builds_the_encoder_alone(tmp_path: Path) -> None:
    loaded = load_backbone(save(make_model(WhisperModel), tmp_path))
    rebuilt = build_backbone(json.loads(json.dumps(loaded.export_config())))
    rebuilt.load_state_dict(loaded.state_dict())
    waveform = make_waveform()
    assert torch.equal(rebuilt.eval()(waveform, LENGTH, [2])[0][0], loaded.eval()(waveform, LENGTH, [2])[0][0])


@pytest.mark.parametrize("is_weighted", [True, False])
def test_a_trained_head_hears_what_it_was_trained_on(tmp_path: Path, is_weighted: bool) -> None:
    model = make_model(WhisperForAudioClassification, num_labels=3, use_weighted_layer_sum=is_weighted)
    classifier, waveform = load_classifier(save(model, tmp_path)), make_waveform()[0]
    expected, expected_gradient = logits_and_gradient(
        lambda values: model(features_of(values, 480_000)).logits, waveform
    )
    logits, gradient = logits_and_gradient(lambda values: classifier(values, LENGTH), waveform)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert relative_difference(gradient, expected_gradient) < 1e-5


def test_a_given_head_hears_what_transformers_computes(tmp_path: Path) -> None:
    model, head, waveform = make_model(WhisperModel), nn.Linear(32, 3), make_waveform()
    expected = head(model.encoder(features_of(waveform, 480_000)).last_hidden_state.mean(1))
    for classifier in (from_transformers(model, classifier=head), load_classifier(save(model, tmp_path), head)):
        torch.testing.assert_close(classifier(waveform, LENGTH), expected, atol=1e-5, rtol=1e-5)


def test_loading_says_how_the_published_use_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="speechshap"):
        load_backbone(save(make_model(), tmp_path))
    assert "with silence after each utterance, up to 30 s" in caplog.text


def seconds_of(backbone: Backbone, num_samples: int) -> None:
    backbone(torch.zeros(1, num_samples), torch.tensor([num_samples]))


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_more_than_the_window_at_once_is_refused(padding: Any) -> None:
    backbone = build_backbone(family_config("whisper", max_source_positions=50), padding).eval()
    seconds_of(backbone, 16_000)
    with pytest.raises(UserError, match=r"a recording lasts 1\.5 s, and Whisper hears 1 s at once"):
        seconds_of(backbone, 24_000)
    backbone(torch.zeros(1, 24_000), torch.tensor([16_000]))  # padding is not heard


@pytest.mark.parametrize("num_samples", [16_001, 16_159, 30_879])  # the last one: two windows of 50 frames
def test_samples_after_the_last_frame_of_a_window_are_no_obstacle(num_samples: int) -> None:
    backbone = build_backbone(family_config("whisper", max_source_positions=50))
    classifier = EmotionClassifier(backbone, nn.Linear(32, 2), window_seconds=1.0)
    assert classifier(torch.zeros(1, num_samples), torch.tensor([num_samples])).isfinite().all()


@pytest.mark.parametrize("load", [load_backbone, load_classifier])
def test_another_number_of_mel_bins_than_the_feature_extractor_says(tmp_path: Path, load: Any) -> None:
    name = save(make_model(WhisperForAudioClassification), tmp_path, feature_size=80)
    with pytest.raises(UserError, match=r"a Whisper model of 20 mel bins whose feature extractor makes 80"):
        load(name)


def test_another_hop_than_that_of_whisper(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"windows of 400 samples every 200; expected those of Whisper, 400 every 160"):
        load_backbone(save(make_model(), tmp_path, hop_length=200))


def test_a_feature_extractor_of_another_kind(tmp_path: Path) -> None:
    name = save(make_model(), tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}))
    with pytest.raises(UserError, match=r"has a Wav2Vec2FeatureExtractor; expected a WhisperFeatureExtractor beside"):
        load_backbone(name)


@pytest.mark.parametrize("load", [load_backbone, lambda name: load_classifier(name, nn.Linear(32, 2))])
def test_a_decoder_alone_has_no_encoder(tmp_path: Path, load: Any) -> None:
    name = save(make_model(WhisperForCausalLM), tmp_path)
    with pytest.raises(UserError, match="has no weights of an encoder; expected a checkpoint with one"):
        load(name)
    with pytest.raises(UserError, match=r"a Whisper\w+ has no encoder; expected a Whisper model with one"):
        from_transformers(make_model(WhisperForCausalLM), classifier=nn.Linear(32, 2))


@pytest.mark.parametrize("load", [load_backbone, load_classifier])
@pytest.mark.parametrize("kind", [WhisperDecoder, WhisperForCausalLM])
def test_a_folder_of_a_decoder_is_not_taken_for_an_encoder(tmp_path: Path, kind: Any, load: Any) -> None:
    name = save(make_model(kind, decoder_ffn_dim=48), tmp_path)  # some of whose weights have the encoder's shapes
    with pytest.raises(UserError, match=r"(has no|lacks) weights of (an|its) encoder.*; expected a checkpoint with"):
        load(name)


def test_a_tokenizer_is_no_model(tmp_path: Path) -> None:
    WhisperTokenizer(vocab={"a": 0, "<|endoftext|>": 1}, merges=[]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"not a whole checkpoint .*expected config.json, preprocessor_config.json"):
        load_backbone(str(tmp_path))


def test_a_model_that_only_transcribes_does_not_classify(tmp_path: Path) -> None:
    model = make_model(WhisperForConditionalGeneration)
    with pytest.raises(UserError, match="a WhisperForConditionalGeneration does not classify utterances"):
        from_transformers(model)
    with pytest.raises(UserError, match="an encoder without a trained head"):
        load_classifier(save(model, tmp_path))


def test_a_changed_forward_pass_on_features_is_refused() -> None:
    class Louder(WhisperForAudioClassification):
        def forward(self, input_features: Tensor) -> object:
            return super().forward(2 * input_features)

    with pytest.raises(UserError, match=r"the forward pass of a Louder is its own and takes input_features"):
        from_transformers(make_model(Louder))


def test_the_stem_is_the_two_convolutions() -> None:
    backbone = build_backbone(family_config("whisper"))
    backbone.freeze_stem()
    frozen = {name for name, parameter in backbone.model.named_parameters() if not parameter.requires_grad}
    # The table of positions is never trained.
    assert {name.split(".")[0] for name in frozen} == {"conv1", "conv2", "embed_positions"}
