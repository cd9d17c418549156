"""SpecAugment of backbones that are trained: the masks of transformers, with settings of one's own."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import nn

from speechshap.errors import UserError, is_integer
from speechshap.models.backbone import Backbone


class SpecAugment(TypedDict, total=False):
    """What of the features of an utterance is masked in a step of training (Park et al. 2019).

    Attributes:
        time: Share of the frames, about; masks may overlap.
        time_length: Frames of a mask (10).
        features: Share of the channels, about; of Whisper's mel bands.
        feature_length: Channels of a mask (10).
    """

    time: float
    time_length: int
    features: float
    feature_length: int


_FIELDS = {
    "time": "mask_time_prob",
    "time_length": "mask_time_length",
    "features": "mask_feature_prob",
    "feature_length": "mask_feature_length",
}
"""Of the configuration of transformers."""


def set_spec_augment(backbone: Backbone, options: SpecAugment) -> None:
    """Have a backbone mask its features in training: WavLM and its kin those of the stem, Whisper its mel features.

    Shares that are left out are 0, so that without any nothing is masked. Padding is not masked, but for that of
    ``padding="published"``, which the model takes for sound.

    Args:
        backbone: Changed in place; its configuration says so from then on.
        options: Of the masks.

    Raises:
        UserError: An option is unknown or out of range.

    Example:
        >>> from speechshap.models import build_backbone
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 1,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> set_spec_augment(backbone, {"time": 0.1})
        >>> backbone.model.config.mask_time_prob, backbone.model.config.mask_feature_prob
        (0.1, 0.0)
    """
    given: dict[str, Any] = {**options}
    _check(given)
    config: Any = backbone.model.config
    shares = {name: float(given.get(name, 0.0)) for name in ("time", "features")}
    # The probabilities of a model that masks nothing stay: with them it would lose its embedding of what is masked.
    config.apply_spec_augment = any(shares.values())
    if not config.apply_spec_augment:
        return
    for name, value in {"time_length": 10, "feature_length": 10, **given, **shares}.items():
        setattr(config, _FIELDS[name], value)
    # Transformers' 2 would mask more than that share of a short utterance, and a WavLM's has no number for features.
    config.mask_time_min_masks = config.mask_feature_min_masks = 0
    channels = getattr(config, "num_mel_bins", backbone.hidden_size)
    if config.mask_feature_length >= channels:
        raise UserError(
            f"`spec_augment`: feature_length is {config.mask_feature_length}; expected less than the {channels} "
            "channels of this backbone"
        )
    if hasattr(backbone.model, "_mask_hidden_states") and not hasattr(backbone.model, "masked_spec_embed"):
        embedding = torch.empty(backbone.hidden_size).uniform_()
        backbone.model.masked_spec_embed = nn.Parameter(embedding)  # as transformers makes it


def _check(given: Mapping[str, Any]) -> None:
    if unknown := [name for name in given if name not in _FIELDS]:
        raise UserError(f"`spec_augment` has no {unknown[0]}; expected {', '.join(_FIELDS)}")
    for name in ("time", "features"):
        share = given.get(name, 0.0)
        if not 0 <= share < 1:
            raise UserError(f"`spec_augment`: {name} is {share}; expected a share from 0 to less than 1")
    for name in ("time_length", "feature_length"):
        length = given.get(name, 10)
        if not is_integer(length) or length < 1:
            raise UserError(f"`spec_augment`: {name} is {length}; expected a whole number, 1 at least")
