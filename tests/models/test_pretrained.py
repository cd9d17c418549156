import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from families import FAMILIES, SHAPES, as_after_training, logits_and_gradient, make_config, relative_difference, save
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    Wav2Vec2PreTrainedModel,
)

from speechshap.errors import UserError
from speechshap.models import EmotionClassifier, PlainClassifier, SpeechClassifier, from_transformers, load_classifier

LENGTHS = torch.tensor([4000, 2500, 3210])


def make_model(family: str = "wavlm", norm: str = "layer", is_stable: bool = False, **fields: object) -> nn.Module:
    """A tiny classifier of transformers of four classes."""
    torch.manual_seed(0)
    config = make_config(family, norm, is_stable, **{"num_labels": 4, **fields})
    return as_after_training(AutoModelForAudioClassification.from_config(config))


def random_waveforms() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [0.3 * torch.randn(int(length), generator=generator) + 0.1 for length in LENGTHS]


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
@pytest.mark.parametrize(("family", "norm", "is_stable"), SHAPES)
def test_logits_and_gradients_are_those_of_transformers(
    tmp_path: Path, family: str, norm: str, is_stable: bool, is_weighted: bool, do_normalize: bool
) -> None:
    model = make_model(family, norm, is_stable, use_weighted_layer_sum=is_weighted)
    classifier = load_classifier(save(model, tmp_path, do_normalize=do_normalize))
    waveform = random_waveforms()[0]
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    values = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_values

    def reference(waveforms: Tensor) -> Tensor:
        if do_normalize:
            variance = waveforms.var(1, correction=0, keepdim=True)
            waveforms = (waveforms - waveforms.mean(1, keepdim=True)) / torch.sqrt(variance + 1e-7)
        return model(waveforms).logits

    expected, expected_gradient = logits_and_gradient(reference, waveform)
    logits, gradient = logits_and_gradient(lambda values: classifier(values, LENGTHS[:1]), waveform)
    torch.testing.assert_close(logits, model(values).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert relative_difference(gradient, expected_gradient) < 1e-5


@pytest.mark.parametrize("family", FAMILIES[:-1])
def test_a_weighted_sum_is_that_of_transformers_where_all_biases_are_zero(family: str) -> None:
    """Silence then makes states of zeros, before a norm and after it."""
    torch.manual_seed(0)
    config = make_config(family, is_stable=True, use_weighted_layer_sum=True)
    model = AutoModelForAudioClassification.from_config(config).eval()
    waveform = random_waveforms()[0][None]
    logits = from_transformers(model)(waveform, LENGTHS[:1])
    torch.testing.assert_close(logits, model(waveform).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_logits(family: str) -> None:
    classifier = from_transformers(make_model(family, "group", use_weighted_layer_sum=True))
    waveforms = random_waveforms()
    logits = classifier(pad_sequence(waveforms, batch_first=True), LENGTHS)
    for row, waveform in enumerate(waveforms):
        alone = classifier(waveform[None], LENGTHS[row : row + 1])
        torch.testing.assert_close(logits[row], alone[0], atol=1e-5, rtol=1e-5)


def test_what_is_known_of_the_classifier() -> None:
    model = make_model(id2label={0: "calm", 1: "angry - cold", 2: "sad, tired"}, num_labels=3)
    classifier = from_transformers(model)
    assert isinstance(classifier, SpeechClassifier)
    assert classifier.classes == ("calm", "angry - cold", "sad, tired")
    assert not classifier.is_regression
    assert not classifier.one_by_one
    assert (classifier.grid.hop, classifier.shortest, classifier.window) == (320, 400, 30 * 16000)
    assert list(classifier.layers) == ["layer_1", "layer_2"]
    assert classifier.embed(torch.randn(1, 4000), LENGTHS[:1]).shape == (1, 32)


@pytest.mark.parametrize("fields", [{"problem_type": "regression"}, {"num_labels": 1}])
def test_a_regression_is_told_by_the_configuration(fields: dict) -> None:
    assert from_transformers(make_model(**fields)).is_regression


def test_the_model_that_is_given_is_left_as_it_is() -> None:
    model = make_model().train()
    model.wavlm.encoder.layers[0].eval()
    modes = [part.training for part in model.modules()]
    types = [type(part) for part in model.modules()]
    state = copy.deepcopy(model.state_dict())
    classifier = from_transformers(model)
    assert [part.training for part in model.modules()] == modes
    assert [type(part) for part in model.modules()] == types
    assert model.state_dict().keys() == state.keys()
    classifier.requires_grad_(False)
    for parameter in classifier.parameters():
        parameter.zero_()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("is_training", [True, False])
def test_the_classifier_is_in_the_mode_of_the_model(is_training: bool) -> None:
    classifier = from_transformers(make_model().train(is_training))
    assert all(part.training is is_training for part in classifier.modules())


def test_a_loaded_classifier_is_in_eval_mode(tmp_path: Path) -> None:
    assert not any(part.training for part in load_classifier(save(make_model(), tmp_path)).modules())


def test_the_feature_extractor_decides_on_normalisation() -> None:
    model, waveform = make_model(), random_waveforms()[0]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    for given in (extractor, SimpleNamespace(feature_extractor=extractor)):  # a processor has one
        logits = from_transformers(model, given)(waveform[None], LENGTHS[:1])
        torch.testing.assert_close(logits, model(values).logits, atol=1e-5, rtol=1e-5)
    plain = from_transformers(model)(waveform[None], LENGTHS[:1])
    torch.testing.assert_close(plain, model(waveform[None]).logits, atol=1e-5, rtol=1e-5)


def test_half_precision_checkpoints_are_computed_in_single_precision(tmp_path: Path) -> None:
    classifier = load_classifier(save(make_model().half(), tmp_path))
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}


def test_half_precision_models_are_computed_in_single_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, waveform = as_after_training(AutoModel.from_config(make_config("wavlm"))).half(), random_waveforms()[0]
    head, name = nn.Linear(32, 3), save(encoder, tmp_path, do_normalize=False)
    classifiers = (from_transformers(encoder, classifier=head), load_classifier(name, head))
    one, two = (classifier(waveform[None], LENGTHS[:1]) for classifier in classifiers)
    assert torch.equal(one, two)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float16}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_without_a_trained_head_is_refused(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    encoder = AutoModel.from_config(make_config(family))
    with pytest.raises(UserError, match=r"an encoder without a trained head.* in Python, give a head of your own"):
        load_classifier(save(encoder, tmp_path))
    with pytest.raises(UserError, match=r"Model is an encoder without a trained head"):
        from_transformers(encoder)


@pytest.mark.parametrize("key", ["projector.weight", "classifier.bias", "layer_weights"])
def test_a_head_that_lacks_a_weight_is_not_trained(tmp_path: Path, key: str) -> None:
    name = save(make_model(use_weighted_layer_sum=True), tmp_path)
    drop(tmp_path, key)
    with pytest.raises(UserError, match="without a trained head"):
        load_classifier(name)


def test_an_encoder_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    name = save(make_model(), tmp_path)
    drop(tmp_path, "wavlm.encoder.layers.1.layer_norm.weight")
    with pytest.raises(UserError, match=r"lacks weights of its encoder \(wavlm.encoder.layers.1.layer_norm.weight"):
        load_classifier(name)


def drop(folder: Path, key: str) -> None:
    """Take a tensor out of a checkpoint."""
    state = load_file(folder / "model.safetensors")
    del state[key]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("hidden_layer", [None, 0, 1])
def test_a_given_head_takes_the_layer_that_is_asked_for(tmp_path: Path, hidden_layer: int | None) -> None:
    torch.manual_seed(0)
    encoder = as_after_training(AutoModel.from_config(make_config("hubert")))
    head, waveform = nn.Linear(32, 3), random_waveforms()[0][None]
    states = encoder(waveform, output_hidden_states=True).hidden_states
    expected = head(states[2 if hidden_layer is None else hidden_layer].mean(1))
    name = save(encoder, tmp_path, do_normalize=False)
    for classifier in (from_transformers(encoder, None, head, hidden_layer), load_classifier(name, head, hidden_layer)):
        assert isinstance(classifier, EmotionClassifier)
        torch.testing.assert_close(classifier(waveform, LENGTHS[:1]), expected, atol=1e-5, rtol=1e-5)
        assert classifier.head is head
        assert classifier.classes is None


def test_a_given_head_takes_the_place_of_a_trained_one() -> None:
    head, model = nn.Linear(32, 3), make_model()
    assert from_transformers(model, classifier=head)(torch.randn(1, 4000), LENGTHS[:1]).shape == (1, 3)


def test_a_layer_without_a_head_is_refused() -> None:
    with pytest.raises(UserError, match="`hidden_layer` is for a head of your own"):
        from_transformers(make_model(), hidden_layer=1)


def test_weights_that_are_code_are_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "ran").touch, ())

    name = save(make_model(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"classifier.weight": Code()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="Weights only load failed"):
        load_classifier(name)
    assert not (tmp_path / "ran").exists()


def test_another_sampling_rate_is_refused(tmp_path: Path) -> None:
    name = save(make_model(), tmp_path, sampling_rate=8000)
    with pytest.raises(UserError, match="`model` expects waveforms at 8000 Hz; expected one for 16000 Hz"):
        load_classifier(name)


def test_models_of_spectrograms_are_refused() -> None:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = ASTForAudioClassification(ASTConfig(hidden_size=16, **sizes))
    with pytest.raises(UserError, match=r"does not classify raw waveforms .*; expected wavlm, .* wav2vec2-conformer"):
        from_transformers(model)


def test_several_labels_at_once_are_refused_before_weights_are_fetched(tmp_path: Path) -> None:
    model = make_model(problem_type="multi_label_classification")
    name = save(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for make in (lambda: load_classifier(name), lambda: from_transformers(model)):
        with pytest.raises(UserError, match=r"`model` gives several labels at once .* expected a classifier of one"):
            make()
    assert from_transformers(model, classifier=nn.Linear(32, 3)).classes is None


@pytest.mark.parametrize("head", [None, nn.Linear(32, 4)])
def test_no_padding_is_spoken_of_that_cannot_be_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, head: nn.Module | None
) -> None:
    name = save(make_model(), tmp_path, return_attention_mask=False)
    with caplog.at_level("INFO", logger="speechshap"):
        load_classifier(name, head)
    assert "attention mask" not in caplog.text


def test_a_model_that_does_not_classify_utterances_is_refused() -> None:
    with pytest.raises(UserError, match="a WavLMForCTC does not classify utterances"):
        from_transformers(AutoModelForCTC.from_config(make_config("wavlm", vocab_size=5)))
    with pytest.raises(UserError, match="`model` is a Linear; expected a model of transformers"):
        from_transformers(nn.Linear(1, 1))


def test_a_changed_forward_pass_runs_as_it_is() -> None:
    class Louder(Wav2Vec2ForSequenceClassification):
        def forward(self, input_values: Tensor) -> object:
            output = super().forward(input_values)
            output.logits = 2 * output.logits
            return output

    torch.manual_seed(0)
    model, waveform = Louder(make_config("wav2vec2")).eval(), random_waveforms()[0][None]
    classifier = from_transformers(model)
    assert isinstance(classifier, PlainClassifier)
    assert torch.equal(classifier(waveform, LENGTHS[:1]), model(waveform).logits)


class RegressionHead(nn.Module):
    """As on the model card of audeering's models."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.final_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.dropout(torch.tanh(self.dense(self.dropout(features))))
        return self.out_proj(hidden)


class EmotionModel(Wav2Vec2PreTrainedModel):
    """As on the model card of audeering's models."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = RegressionHead(config)
        self.post_init()

    def forward(self, input_values: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.wav2vec2(input_values)[0].mean(1)
        return hidden, self.classifier(hidden)


def regression_model(**fields: object) -> EmotionModel:
    torch.manual_seed(0)
    names = {0: "arousal", 1: "dominance", 2: "valence"}
    config = make_config("wav2vec2", "layer", True, id2label=names, problem_type="regression", **fields)
    return as_after_training(EmotionModel(config))


def make_waveform() -> Tensor:
    return 0.3 * torch.randn(4000, generator=torch.Generator().manual_seed(1)) + 0.1


@pytest.mark.parametrize("is_safe", [True, False])
def test_a_regression_of_audeering_is_read(tmp_path: Path, is_safe: bool) -> None:
    model, waveform = regression_model(), make_waveform()
    name = save(model, tmp_path, do_normalize=False)
    if not is_safe:
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    length = torch.tensor([4000])
    expected, expected_gradient = logits_and_gradient(lambda values: model(values)[1], waveform)
    for classifier in (load_classifier(name), from_transformers(model)):
        outputs, gradient = logits_and_gradient(lambda values, run=classifier: run(values, length), waveform)
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)
        assert relative_difference(gradient, expected_gradient) < 1e-5
        assert classifier.is_regression
        assert classifier.classes == ("arousal", "dominance", "valence")


def test_another_pooling_than_the_mean_is_refused(tmp_path: Path) -> None:
    name = save(regression_model(pooling_mode="max"), tmp_path)
    with pytest.raises(UserError, match="pools its frames by their max; expected the mean"):
        load_classifier(name)
