import pytest
import torch
from torch import Tensor, nn
from transformers import (
    SEWConfig,
    SEWDConfig,
    SEWDForSequenceClassification,
    SEWForSequenceClassification,
    UniSpeechConfig,
    UniSpeechForSequenceClassification,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForSequenceClassification,
    Wav2Vec2FeatureExtractor,
)

from speechshap.errors import UserError
from speechshap.models import PlainClassifier, SpeechClassifier, from_transformers, load_classifier

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_labels": 3, "classifier_proj_size": 8,
}  # fmt: skip

MODELS = {
    "sew": (SEWForSequenceClassification, SEWConfig, 13),
    "sew-d": (SEWDForSequenceClassification, SEWDConfig, 13),
    "unispeech": (UniSpeechForSequenceClassification, UniSpeechConfig, 7),
    "wav2vec2-conformer": (Wav2Vec2ConformerForSequenceClassification, Wav2Vec2ConformerConfig, 7),
}


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    model_class, config_class, convolutions = MODELS[name]
    return model_class(config_class(conv_dim=[8] * convolutions, **SIZES)).eval()


def make_waveform(samples: int = 4000) -> Tensor:
    return 0.3 * torch.randn(1, samples, generator=torch.Generator().manual_seed(1)) + 0.1


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_model(name: str, do_normalize: bool, tmp_path: object) -> None:
    model, waveform = make_model(name), make_waveform()
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    values = extractor(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt").input_values
    for classifier in (from_transformers(model, extractor), load_classifier(str(tmp_path))):
        assert isinstance(classifier, PlainClassifier)
        assert isinstance(classifier, SpeechClassifier)
        logits = classifier(waveform, torch.tensor([4000]))
        torch.testing.assert_close(logits, model(values).logits, atol=1e-5, rtol=1e-5)


def test_the_gradient_passes_the_normalisation() -> None:
    classifier = from_transformers(make_model("sew"), Wav2Vec2FeatureExtractor(do_normalize=True)).double()
    waveform, direction = make_waveform().double(), torch.randn(1, 4000, dtype=torch.float64)
    values = waveform.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(values, torch.tensor([4000]))[0, 0], values)
    step = 1e-6
    ends = [
        float(classifier(waveform + sign * direction, torch.tensor([4000]))[0, 0].detach()) for sign in (step, -step)
    ]
    assert float((gradient * direction).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_rows_of_unequal_length_are_run_one_by_one() -> None:
    classifier, lengths = from_transformers(make_model("unispeech")), torch.tensor([4000, 2500])
    waveforms = make_waveform().repeat(2, 1) * (torch.arange(4000) < lengths[:, None])
    assert classifier.one_by_one
    logits = classifier(waveforms, lengths)
    alone = classifier(waveforms[1:, :2500], lengths[1:])
    torch.testing.assert_close(logits[1], alone[0])


@pytest.mark.parametrize("name", ["unispeech", "wav2vec2-conformer"])
def test_layers_have_the_frames_of_the_grid(name: str) -> None:
    classifier, shapes = from_transformers(make_model(name)), {}
    for layer, module in classifier.layers.items():
        module.register_forward_hook(
            lambda _, __, output, layer=layer: shapes.update(
                {layer: (output[0] if isinstance(output, tuple) else output).shape[1]}
            )
        )
    classifier(make_waveform(), torch.tensor([4000]))
    assert shapes == {"layer_1": 12, "layer_2": 12}
    assert classifier.grid.num_frames(4000) == 12


def test_layers_that_bring_frames_together_are_not_offered() -> None:
    assert from_transformers(make_model("sew")).layers == {}


@pytest.mark.parametrize("name", MODELS)
def test_the_shortest_utterance_is_the_shortest_that_runs(name: str) -> None:
    classifier = from_transformers(make_model(name))
    shortest = classifier.shortest
    assert classifier(make_waveform(shortest), torch.tensor([shortest])).shape == (1, 3)
    with pytest.raises(RuntimeError):
        classifier(make_waveform(shortest - 1), torch.tensor([shortest - 1]))


def test_that_nothing_masks_padding_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="speechshap"):
        from_transformers(make_model("sew"))
    assert "SEWForSequenceClassification does not mask padding" in caplog.text
    assert "one utterance at a time" in caplog.text


class Config:
    """Of a model that says little of itself."""

    num_labels = 2
    id2label = {0: "calm", 1: "angry"}  # noqa: RUF012 - as in a configuration
    problem_type = None


class Framewise(nn.Module):
    """A model whose logits are those of frames."""

    config = Config()

    def forward(self, waveforms: Tensor) -> object:
        return type("Output", (), {"logits": waveforms.unfold(1, 320, 320)})()


def test_without_a_stem_frames_are_stretches_of_20_ms() -> None:
    classifier = PlainClassifier(Framewise(), normalize=False)
    assert classifier.grid.edges(960).tolist() == [0, 320, 640, 960]
    assert classifier.shortest == 320


def test_outputs_that_are_not_logits_of_utterances_are_refused() -> None:
    with pytest.raises(UserError, match=r"a Framewise gives logits of shape \(1, 12, 320\); expected logits \(batch"):
        PlainClassifier(Framewise(), normalize=False)(make_waveform(), torch.tensor([4000]))
    missing = nn.Linear(4000, 2)
    missing.config = Config()
    with pytest.raises(UserError, match="a Linear gives no `logits`"):
        PlainClassifier(missing, normalize=False)(make_waveform(), torch.tensor([4000]))
