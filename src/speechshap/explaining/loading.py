"""Models to explain, from a checkpoint, the hub, a folder, or an object of transformers."""

from pathlib import Path
from typing import Any

from torch import nn

from speechshap.errors import UserError
from speechshap.models import Backbone, EmotionClassifier, SpeechClassifier, from_transformers, load_classifier
from speechshap.models.pretrained import WINDOW_SECONDS
from speechshap.training.checkpoints import CHECKPOINTS, find_checkpoint, load_checkpoint


def load_model(name: str, classifier: nn.Module | None = None, feature_layer: int | None = None) -> SpeechClassifier:
    """Load a trained classifier, or a bare speech transformer for a given head.

    Args:
        name: Checkpoint of ``speechshap train`` (``….ckpt``) or folder of its run, or an audio classifier of
            transformers or of ``speechshap export`` by its name on the Hugging Face hub or its folder; with a
            ``classifier`` any WavLM, wav2vec2, HuBERT or Whisper.
        classifier: Head from the mean over time ``(batch, hidden size)`` to logits, in place of the model's own; or the
            head of an export that is of a class of your own.
        feature_layer: Hidden state that the ``classifier`` takes (0 is the stem's output); None takes the last.

    Raises:
        UserError: The model cannot be loaded, or its head is not trained.
    """
    if name.endswith(".ckpt") or (Path(name) / CHECKPOINTS).is_dir():
        _require_own_head(name, classifier, feature_layer)
        return load_checkpoint(find_checkpoint(name, prefer="best"))
    return load_classifier(name, classifier, feature_layer)


def adopt_model(
    model: nn.Module,
    classifier: nn.Module | None = None,
    feature_layer: int | None = None,
    feature_extractor: Any = None,
) -> SpeechClassifier:
    """Take a model that the caller has made; one of transformers is copied, others are used as they are.

    Args:
        model: :class:`speechshap.EmotionModule`, a classifier of :mod:`speechshap.models`, an audio classifier of
            transformers, or a bare speech transformer for the ``classifier``.
        classifier: As for :func:`load_model`.
        feature_layer: As for :func:`load_model`.
        feature_extractor: Of a transformers model; says whether waveforms are normalised. None: they are not.

    Raises:
        UserError: The arguments do not fit each other, or the model is none of these.
    """
    if isinstance(model, SpeechClassifier):
        _require_own_head(f"a {type(model).__name__}", classifier, feature_layer, feature_extractor)
        return model
    if isinstance(model, Backbone) and classifier is not None:
        layer = model.num_layers if feature_layer is None else feature_layer
        return EmotionClassifier(model, classifier, layer, WINDOW_SECONDS)
    if not hasattr(model, "config"):
        raise UserError(
            f"`model` is a {type(model).__name__}; expected an EmotionModule, an audio classifier of transformers, or "
            "a bare speech transformer with a `classifier`. speechshap.attribution.gradient_shap explains any "
            "function, and GradientSHAPCallback any LightningModule"
        )
    return from_transformers(model, feature_extractor, classifier, feature_layer)


def _require_own_head(name: str, *given: Any) -> None:
    if any(value is not None for value in given):
        raise UserError(
            f"{name} has a classifier, a layer and a normalisation of its own; `classifier`, `feature_layer` and "
            "`feature_extractor` are for a bare speech transformer"
        )
