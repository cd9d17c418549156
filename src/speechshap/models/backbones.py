"""The families of backbones, found by the ``model_type`` of transformers."""

from typing import Any

from torch import nn

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone, Padding
from speechshap.models.wav2vec2 import Wav2Vec2Backbone
from speechshap.models.whisper import WhisperBackbone

BACKBONES: dict[str, type[Backbone]] = {
    "wavlm": Wav2Vec2Backbone,
    "wav2vec2": Wav2Vec2Backbone,
    "hubert": Wav2Vec2Backbone,
    "unispeech-sat": Wav2Vec2Backbone,
    "data2vec-audio": Wav2Vec2Backbone,
    "whisper": WhisperBackbone,
}
"""Implementation by ``model_type``, the one list of families: loading, building and error messages follow from it."""


def known_families() -> str:
    """Names of all families, for messages.

    Example:
        >>> known_families()
        'wavlm, wav2vec2, hubert, unispeech-sat, data2vec-audio, whisper'
    """
    return ", ".join(BACKBONES)


def require_family(family: str) -> None:
    """Raise a UserError for a ``model_type`` that is none of a known family."""
    if family not in BACKBONES:
        raise UserError(f"`backbone`: a {family} model; expected one of {known_families()}")


def wrap_backbone(model: nn.Module, normalize: bool, padding: Padding | None = "masked") -> Backbone:
    """Make a backbone of a base model of transformers, which is changed in place.

    Args:
        model: Base model of a known family.
        normalize: Whether the checkpoint expects each waveform at mean 0 and variance 1.
        padding: As in :class:`Wav2Vec2Backbone` and :class:`WhisperBackbone`; None: that with which an utterance alone
            comes out as it does in transformers.

    Raises:
        UserError: The model is of another family, has no encoder, or has adapter layers after it.
    """
    config: Any = getattr(model, "config", None)
    family = getattr(config, "model_type", type(model).__name__)
    require_family(family)
    backbone_class = BACKBONES[family]
    return backbone_class(model, normalize, padding or backbone_class.padding_of_transformers)
