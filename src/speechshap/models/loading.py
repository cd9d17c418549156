"""Backbones from a configuration, from the Hugging Face hub, or from a folder."""

import logging
from typing import Any

import torch

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone, Padding
from speechshap.models.backbones import BACKBONES, known_families, require_family, wrap_backbone
from speechshap.models.fetching import fetch

logger = logging.getLogger(__name__)


def build_backbone(config: dict[str, Any], padding: Padding = "masked") -> Backbone:
    """Make a backbone with random weights.

    Args:
        config: Fields of the Hugging Face configuration, ``model_type`` among them, and ``do_normalize``.
        padding: As in :class:`speechshap.models.Wav2Vec2Backbone`.

    Raises:
        UserError: The configuration is not that of a known family, or contradicts itself.

    Example:
        >>> import torch
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 1,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> states, frames = backbone.encode(torch.zeros(1, 1200), torch.tensor([1200]))
        >>> len(states), states[0].shape, frames
        (2, torch.Size([1, 3, 32]), tensor([3]))
    """
    from transformers import AutoConfig, AutoModel

    fields = dict(config)
    family = fields.pop("model_type", None)
    normalize = bool(fields.pop("do_normalize", False))
    if family not in BACKBONES:
        raise UserError(f"`backbone_config`: model_type is {family!r}; expected one of {known_families()}")
    known = vars(AutoConfig.for_model(family))
    if unknown := [name for name in fields if name not in known and not name.startswith("_")]:
        raise UserError(f"`backbone_config`: a {family} configuration has no field {unknown[0]}")
    try:
        model = AutoModel.from_config(AutoConfig.for_model(family, **fields), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"`backbone_config`: {error}") from error
    return wrap_backbone(model, normalize, padding)


def load_backbone(name: str, padding: Padding = "masked") -> Backbone:
    """Load pretrained weights in single precision, and log a notice where their authors ran them without a mask.

    Args:
        name: Name on the Hugging Face hub, or a local folder that ``save_pretrained`` wrote. A name that was
            downloaded before is taken from the cache, without a request.
        padding: As in :class:`speechshap.models.Wav2Vec2Backbone`.

    Raises:
        UserError: The folder lacks something, the hub does not answer or does not know the name, or the model is of
            another family.
    """
    backbone, extractor = fetch(name, "backbone", lambda source, is_local: read_backbone(source, is_local, padding))
    if padding == "masked" and not extractor.return_attention_mask:
        logger.info(
            "%s is published for use without an attention mask, where results depend on the padding of the batch; "
            'here padding is masked. `padding="published"` keeps to the published use',
            name,
        )
    return backbone


def read_backbone(source: str, local_files_only: bool, padding: Padding = "masked") -> tuple[Backbone, Any]:
    """Backbone of a folder or a name in single precision, and the feature extractor of transformers beside it."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

    # Told before anything is missed that such a model has no need of.
    require_family(AutoConfig.from_pretrained(source, local_files_only=local_files_only).model_type)
    extractor = AutoFeatureExtractor.from_pretrained(source, local_files_only=local_files_only)
    model = AutoModel.from_pretrained(source, local_files_only=local_files_only, dtype=torch.float32)
    return wrap_backbone(model, bool(extractor.do_normalize), padding), extractor
