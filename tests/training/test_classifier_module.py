from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from families import make_config
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification

from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.models import PlainClassifier, from_transformers
from speechshap.training import ClassifierModule


def make_module(family: str) -> ClassifierModule:
    torch.manual_seed(0)
    return ClassifierModule(
        from_transformers(AutoModelForAudioClassification.from_config(make_config(family, num_labels=3))).eval()
    )


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(2, 1600, generator=generator)
    return Batch(
        waveforms, torch.tensor([1600, 1600]), torch.tensor([-1, -1]), ["a", "b"], ["a.wav", "b.wav"], ["", ""]
    )


@pytest.mark.parametrize("precision", ["16-mixed", "16-true"])
@pytest.mark.parametrize(("family", "is_refused"), [("wavlm", True), ("hubert", False), ("unispeech", False)])
def test_half_precision_is_refused_where_activations_overflow(family: str, is_refused: bool, precision: str) -> None:
    module = make_module(family)
    module.trainer = SimpleNamespace(precision=precision)  # type: ignore[assignment]
    with pytest.raises(UserError, match=f"`precision` is {precision}") if is_refused else nullcontext():
        module.setup("predict")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_other_precisions_are_taken(precision: str) -> None:
    module = make_module("wavlm")
    module.trainer = SimpleNamespace(precision=precision)  # type: ignore[assignment]
    module.setup("predict")


def test_predictions_are_those_of_the_classifier() -> None:
    module, batch = make_module("wavlm"), make_batch()
    logits = module.predict_step(batch, 0)
    assert isinstance(logits, Tensor)
    assert torch.equal(logits, module.classifier(batch.waveforms, batch.lengths))


def test_a_model_whose_utterances_share_no_batch_predicts_none_ahead() -> None:
    module = make_module("unispeech")
    assert isinstance(module.classifier, nn.Module)
    assert isinstance(module.classifier, PlainClassifier)
    assert module.predict_step(make_batch(), 0) is None


def test_a_batch_with_an_utterance_that_is_too_long_is_not_predicted() -> None:
    module, batch = make_module("whisper"), make_batch()
    assert isinstance(module.predict_step(batch, 0), Tensor)
    assert module.predict_step(batch._replace(lengths=batch.lengths + 480_000), 0) is None
