"""Trained audio classifiers of transformers."""

import copy
import logging
from typing import Any

import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone
from speechshap.models.backbones import BACKBONES, known_families, wrap_backbone
from speechshap.models.classifier import EmotionClassifier
from speechshap.models.exported import find_exported, read_exported
from speechshap.models.extractors import normalizes_waveforms
from speechshap.models.fetching import fetch
from speechshap.models.loading import load_weights, read_backbone, require_weights
from speechshap.models.modes import evaluation_mode
from speechshap.models.plain import PlainClassifier, outputs_of
from speechshap.models.protocols import SpeechClassifier

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 30.0
"""Longer recordings are split, where the backbone can; up to here the logits are those of transformers."""

HEAD = {"projector", "classifier", "layer_weights"}
"""Parts of transformers' classifiers that are not of the encoder."""

UNTRAINED = (
    "an encoder without a trained head, whose decisions would be chance; train one with speechshap train fit or, in "
    "Python, give a head of your own: GradientSHAP(..., classifier=head)"
)


def load_classifier(
    name: str,
    classifier: nn.Module | None = None,
    hidden_layer: int | None = None,
) -> SpeechClassifier:
    """Load a trained audio classifier of transformers, or one that ``speechshap export`` wrote, in eval mode.

    Args:
        name: Name on the Hugging Face hub, or a local folder that ``save_pretrained`` or ``speechshap export`` wrote. A
            name that was downloaded before is taken from the cache, without a request.
        classifier: As in :func:`from_transformers`; of an export, a head that is not imported because a folder names
            it, see :class:`speechshap.models.exported.ExportedConfig`.
        hidden_layer: As in :func:`from_transformers`.

    Returns:
        As :func:`from_transformers`.

    Raises:
        UserError: The checkpoint cannot be had, has no trained head, does not take waveforms at 16 kHz, or gives
            several labels at once.
    """
    if classifier is None:
        _check_no_layer(hidden_layer)

    def load(source: str, is_local: bool) -> SpeechClassifier:
        from transformers import AutoConfig, AutoFeatureExtractor

        if (exported := find_exported(source, is_local)) is not None:
            _check_no_layer(hidden_layer)
            return read_exported(source, exported, is_local, classifier)
        if classifier is not None:
            backbone, _ = read_backbone(source, is_local, None, "model")
            return _with_head(backbone.eval(), classifier, hidden_layer)
        config = AutoConfig.from_pretrained(source, local_files_only=is_local)
        if _classifier_class(config) is None:  # told before a feature extractor is missed
            _normalizes(None, config, None)
        extractor = AutoFeatureExtractor.from_pretrained(source, local_files_only=is_local)
        normalize = _normalizes(_classifier_class(config), config, extractor)
        outputs_of(config)  # what cannot be explained is refused before its weights are fetched
        return _explainable(_load_trained(name, source, config, is_local), normalize)

    return fetch(name, "model", load)


def from_transformers(
    model: nn.Module,
    feature_extractor: Any = None,
    classifier: nn.Module | None = None,
    hidden_layer: int | None = None,
) -> SpeechClassifier:
    """Make a model of transformers explainable; what comes back has a copy of it in single precision, in the same mode.

    WavLM, wav2vec2, HuBERT, UniSpeech-SAT and data2vec-audio get the fast backbone, whose results do not depend on
    padding; recordings longer than 30 s go through it in windows, see :class:`speechshap.models.EmotionClassifier`.
    Whisper hears each utterance with silence up to 30 s after it, and nothing longer, see
    :class:`speechshap.models.WhisperBackbone`. Other classifiers of raw waveforms run as they are, one at a time.

    Args:
        model: Audio classifier (``AutoModelForAudioClassification``), or a base model together with ``classifier``.
        feature_extractor: Says whether waveforms are normalised. None: they are not. Whisper's has to fit the model.
        classifier: Head for a model without a trained one, from the mean over time of a hidden state
            ``(batch, hidden size)`` to logits ``(batch, classes)``. It is not copied.
        hidden_layer: Hidden state that ``classifier`` takes (0 is the stem's output); None takes the last.

    Returns:
        :class:`speechshap.models.EmotionClassifier` or :class:`speechshap.models.PlainClassifier`.

    Raises:
        UserError: The model has no trained head or no encoder, takes neither waveforms at 16 kHz nor what a backbone
            makes of them, or gives several labels at once.

    Example:
        >>> from transformers import WavLMConfig, WavLMForSequenceClassification
        >>> model = WavLMForSequenceClassification(WavLMConfig(conv_dim=[8] * 7, num_hidden_layers=1, hidden_size=48,
        ...     id2label={0: "calm", 1: "angry"})).eval()
        >>> explainable, waveform = from_transformers(model), torch.randn(1, 1200)
        >>> torch.allclose(explainable(waveform, torch.tensor([1200])), model(waveform).logits, atol=1e-5)
        True
        >>> explainable.classes
        ('calm', 'angry')
    """
    config: Any = getattr(model, "config", None)
    if config is None:
        raise UserError(f"`model` is a {type(model).__name__}; expected a model of transformers")
    normalize = _normalizes(type(model), config, feature_extractor)
    own: Any = copy.deepcopy(model).float()
    if classifier is not None:
        backbone = wrap_backbone(own.base_model, normalize, None).train(model.training)
        return _with_head(backbone, classifier, hidden_layer)
    _check_no_layer(hidden_layer)
    return _explainable(own, normalize)


def _with_head(backbone: Backbone, classifier: nn.Module, hidden_layer: int | None) -> EmotionClassifier:
    layer = backbone.num_layers if hidden_layer is None else hidden_layer
    return EmotionClassifier(backbone, classifier, layer, WINDOW_SECONDS)


def _check_no_layer(hidden_layer: int | None) -> None:
    if hidden_layer is not None:
        raise UserError(
            "`hidden_layer` is for a head of your own on a bare encoder, and a trained one has its layer; leave it out"
        )


def _explainable(model: Any, normalize: bool) -> SpeechClassifier:
    """A classifier made of the model itself, which is changed."""
    head = _trained_head(model) if model.config.model_type in BACKBONES else None
    if head is None:
        _check_classifies(model)
        logger.info("a %s does not mask padding here: it runs as it is, one utterance at a time", type(model).__name__)
        return PlainClassifier(model, normalize).train(model.training)
    backbone = wrap_backbone(model.base_model, normalize, None)
    weights = getattr(model, "layer_weights", None) if model.config.use_weighted_layer_sum else None
    backbone.normalize_last_state = weights is None or _last_state_is_normalized(backbone)
    hidden_layer = backbone.num_layers if weights is None else None
    classes, is_regression = outputs_of(model.config)
    classifier = EmotionClassifier(backbone, head, hidden_layer, WINDOW_SECONDS, classes, is_regression)
    if weights is not None:
        classifier.layer_weights = weights
    return classifier.train(model.training)


def _trained_head(model: Any) -> nn.Module | None:
    """Head from the mean over time of the hidden states to the outputs; None where the model has another one.

    A linear projection before the mean, as in transformers, is the same after it.
    """
    if _has_tanh_head(model):
        pooling = getattr(model.config, "pooling_mode", "mean")
        if pooling != "mean":
            raise UserError(f"`model` pools its frames by their {pooling}; expected the mean")
        return nn.Sequential(model.classifier.dense, nn.Tanh(), model.classifier.out_proj)
    known = _classifier_class(model.config)
    if isinstance(model, known) and type(model).forward is known.forward:
        return nn.Sequential(model.projector, model.classifier)
    return None


def _has_tanh_head(model: Any) -> bool:
    """Whether the head is dense, tanh, projection (that of Wagner et al. 2023), which its parameters tell."""
    own = {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    return own == {f"classifier.{layer}.{kind}" for layer in ("dense", "out_proj") for kind in ("weight", "bias")}


def _check_classifies(model: Any) -> None:
    name = type(model).__name__
    known = _classifier_class(model.config)
    is_known = known is not None and isinstance(model, known)
    if is_known and model.main_input_name != "input_values":
        raise UserError(
            f"`model`: the forward pass of a {name} is its own and takes {model.main_input_name}; expected waveforms "
            "(input_values), or the forward pass of transformers"
        )
    if model.base_model is model:
        raise UserError(f"`model`: a {name} is {UNTRAINED}")
    is_foreign = not type(model).__module__.startswith("transformers.")  # whose outputs are looked at when it runs
    if not (is_foreign or is_known):
        raise UserError(f"`model`: a {name} does not classify utterances; expected one for sequence classification")


def _last_state_is_normalized(backbone: Backbone) -> bool:
    """Whether the last hidden state in transformers' list is taken after the final layer norm.

    Versions of transformers differ, and the weighted sum of a classifier is made of what is in the list.
    """
    with evaluation_mode(backbone), torch.no_grad():
        output = backbone.model(backbone.probe().to(next(backbone.parameters())), output_hidden_states=True)
    return torch.equal(output.hidden_states[-1], output.last_hidden_state)


def _classifier_class(config: Any) -> Any:
    """Class of transformers that classifies audio with this configuration; None if there is none."""
    from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING

    return MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING.get(type(config), None)


def _normalizes(model_class: Any, config: Any, extractor: Any) -> bool:
    """Whether waveforms are normalised for a model.

    Raises:
        UserError: It takes something other than waveforms at 16 kHz, or what its backbone makes of them.
    """
    if config.model_type in BACKBONES:
        return BACKBONES[config.model_type].normalizes(config, extractor, "model")
    takes_waveforms = getattr(model_class, "main_input_name", None) == "input_values"
    if not takes_waveforms or (extractor is None and not hasattr(config, "conv_kernel")):
        raise UserError(
            f"`model`: a {config.model_type} model, which does not classify raw waveforms (`input_values` of a "
            f"Wav2Vec2FeatureExtractor); expected {known_families()} or another classifier of waveforms, such as sew "
            "or wav2vec2-conformer"
        )
    return normalizes_waveforms(extractor, "model")


def _load_trained(name: str, source: str, config: Any, local_files_only: bool) -> Any:
    """Model with all of its trained weights.

    Raises:
        UserError: Weights are missing.
    """
    plain = _classifier_class(config)
    model, report = load_weights(plain, source, local_files_only)
    if config.model_type in BACKBONES and "classifier.dense.weight" in report["unexpected_keys"]:
        model, report = load_weights(_with_tanh_head(plain), source, local_files_only)
    of_head = {key for key in report["missing_keys"] if key.split(".")[0] in HEAD}
    require_weights(report["missing_keys"] - of_head, model, "model", name)
    if of_head:
        raise UserError(f"`model`: {name} is {UNTRAINED}")
    return model


def _with_tanh_head(plain: Any) -> Any:
    """Class like a classifier of transformers, whose head has the parameters of dense, tanh, projection."""

    class WithTanhHead(plain):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            del self.projector
            self.classifier = nn.ModuleDict(
                {
                    "dense": nn.Linear(config.hidden_size, config.hidden_size),
                    "out_proj": nn.Linear(config.hidden_size, config.num_labels),
                }
            )

    return WithTanhHead
