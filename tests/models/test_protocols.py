"""What tells models with the same weights apart, and what does not."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import make_config, save
from helpers import tiny_config
from torch import nn
from transformers import AutoModelForAudioClassification, SEWConfig, SEWForSequenceClassification

from speechshap.models import EmotionClassifier, PlainClassifier, build_backbone, from_transformers, load_classifier


def make_classifier(config: dict[str, Any] | None = None, padding: Any = "masked", **options: Any) -> EmotionClassifier:
    backbone = build_backbone(tiny_config(**(config or {})), padding)
    given = {"head": nn.Sequential(nn.Linear(32, 2), nn.Tanh()), "hidden_layer": 2, "classes": ["a", "b"], **options}
    return EmotionClassifier(backbone, **given)


def make_plain(normalize: bool = True, **fields: Any) -> PlainClassifier:
    config = SEWConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=[8] * 13, **fields
    )
    return PlainClassifier(SEWForSequenceClassification(config), normalize)


def with_state_before_the_norm() -> EmotionClassifier:
    classifier = make_classifier()
    classifier.backbone.normalize_last_state = False
    return classifier


OTHERS: dict[str, Callable[[], EmotionClassifier]] = {
    "heads of attention": lambda: make_classifier({"num_attention_heads": 4}),
    "normalisation": lambda: make_classifier({"do_normalize": True}),
    "stride": lambda: make_classifier({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}),
    "padding": lambda: make_classifier(padding="published"),
    "last state": with_state_before_the_norm,
    "activation of the head": lambda: make_classifier(head=nn.Sequential(nn.Linear(32, 2), nn.ReLU())),
    "hidden layer": lambda: make_classifier(hidden_layer=1),
    "window": lambda: make_classifier(window_seconds=10.0),
    "classes": lambda: make_classifier(classes=["b", "a"]),
    "regression": lambda: make_classifier(is_regression=True),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_decides_the_outputs_of_a_classifier_is_in_its_identity(other: str) -> None:
    assert make_classifier().identity == make_classifier().identity
    assert OTHERS[other]().identity != make_classifier().identity


def test_what_decides_the_outputs_of_a_plain_classifier_is_in_its_identity() -> None:
    identity = make_plain().identity
    assert make_plain().identity == identity
    assert make_plain(normalize=False).identity != identity
    assert make_plain(squeeze_factor=1).identity != identity
    assert make_plain(id2label={0: "calm", 1: "angry"}).identity != identity
    assert make_plain(problem_type="regression").identity != identity


def test_how_a_model_runs_is_not_in_its_identity() -> None:
    classifier = make_classifier()
    identity = copy.deepcopy(classifier.identity)
    classifier.gradient_checkpointing = True
    classifier.train().requires_grad_(False).to(torch.float64)
    assert classifier.identity == identity


@pytest.mark.parametrize("family", ["wavlm", "unispeech"])  # one with a backbone, and one that runs as it is
def test_an_identity_is_plain_and_that_of_the_checkpoint(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(make_config(family, num_labels=3))
    names = [save(copy.deepcopy(model), tmp_path / folder, do_normalize=False) for folder in ("one", "two")]
    identity = load_classifier(names[0]).identity
    assert load_classifier(names[1]).identity == identity
    assert from_transformers(model).identity == identity
    assert json.loads(json.dumps(identity))["classes"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_gradient_checkpointing_is_set_where_there_is_some() -> None:
    classifier = make_classifier()
    assert classifier.gradient_checkpointing is False
    classifier.gradient_checkpointing = True
    assert classifier.backbone.gradient_checkpointing is True
    assert make_plain().gradient_checkpointing is None
