from pathlib import Path

import pytest
import torch
from families import as_after_training, logits_and_gradient, make_config, relative_difference, save
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2PreTrainedModel

from speechshap.errors import UserError
from speechshap.models import from_transformers, load_classifier


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
