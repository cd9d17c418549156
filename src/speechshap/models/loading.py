"""Backbones from a configuration, from the Hugging Face hub, or from a folder."""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone, Padding
from speechshap.models.backbones import BACKBONES, known_families, require_family, wrap_backbone
from speechshap.models.fetching import fetch, quiet_transformers

logger = logging.getLogger(__name__)


def build_backbone(config: dict[str, Any], padding: Padding = "masked") -> Backbone:
    """Make a backbone with random weights.

    Args:
        config: Fields of the Hugging Face configuration, ``model_type`` among them, and ``do_normalize``.
        padding: As in :class:`speechshap.models.Backbone`.

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
    from transformers import AutoConfig

    fields = dict(config)
    family = fields.pop("model_type", None)
    normalize = bool(fields.pop("do_normalize", False))
    if family not in BACKBONES:
        raise UserError(f"`backbone_config`: model_type is {family!r}; expected one of {known_families()}")
    known = vars(AutoConfig.for_model(family))
    if unknown := [name for name in fields if name not in known and not name.startswith("_")]:
        raise UserError(f"`backbone_config`: a {family} configuration has no field {unknown[0]}")
    try:
        made = AutoConfig.for_model(family, **fields)
        model = BACKBONES[family].model_class(made)(made)
    except (TypeError, ValueError) as error:
        raise UserError(f"`backbone_config`: {error}") from error
    return wrap_backbone(model, normalize, padding)


def load_backbone(name: str, padding: Padding = "masked") -> Backbone:
    """Load pretrained weights in single precision, and log a notice where their authors ran them without a mask.

    Args:
        name: Name on the Hugging Face hub, or a local folder that ``save_pretrained`` wrote. A name that was
            downloaded before is taken from the cache, without a request.
        padding: As in :class:`speechshap.models.Backbone`.

    Raises:
        UserError: The folder lacks something or its parts do not fit each other, the hub does not answer or does not
            know the name, or the model is of another family.
    """
    backbone, extractor = fetch(name, "backbone", lambda source, is_local: read_backbone(source, is_local, padding))
    if padding == "masked" and not extractor.return_attention_mask:
        logger.info(
            '%s is published for use %s; here padding is masked. `padding="published"` keeps to the published use',
            name,
            backbone.published_use,
        )
    return backbone


def read_backbone(
    source: str, local_files_only: bool, padding: Padding | None = "masked", parameter: str = "backbone"
) -> tuple[Backbone, Any]:
    """Backbone of a folder or a name in single precision, and the feature extractor of transformers beside it.

    Args:
        source: Folder or name.
        local_files_only: Whether to keep to local files.
        padding: As in :func:`speechshap.models.wrap_backbone`.
        parameter: Whose value the source is, for error messages.

    Raises:
        UserError: The model is of another family, lacks weights, or does not fit its feature extractor.
    """
    from transformers import AutoConfig, AutoFeatureExtractor

    config = AutoConfig.from_pretrained(source, local_files_only=local_files_only)
    # Told before anything is missed that such a model has no need of.
    require_family(config.model_type)
    extractor = AutoFeatureExtractor.from_pretrained(source, local_files_only=local_files_only)
    family = BACKBONES[config.model_type]
    normalize = family.normalizes(config, extractor, parameter)
    model, report = load_weights(family.model_class(config), source, local_files_only, family.key_mapping)
    require_weights(report["missing_keys"], model, parameter, source)
    return wrap_backbone(model, normalize, padding), extractor


def load_weights(
    model_class: Any, source: str, local_files_only: bool, key_mapping: dict[str, str] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Model of transformers in single precision, and the report on missing and unexpected weights.

    Args:
        model_class: Class of transformers.
        source: Folder or name.
        local_files_only: Whether to keep to local files.
        key_mapping: As in :class:`speechshap.models.Backbone`.
    """
    with quiet_transformers():
        return model_class.from_pretrained(
            source,
            local_files_only=local_files_only,
            key_mapping=key_mapping,
            output_loading_info=True,
            dtype=torch.float32,
        )


def require_weights(missing: Iterable[str], model: nn.Module, parameter: str, name: str) -> None:
    """Raise a UserError where a checkpoint lacks weights of an encoder.

    Args:
        missing: Names of weights that the checkpoint lacks.
        model: What they are of.
        parameter: Whose value the checkpoint is.
        name: Of the checkpoint.
    """
    lacking = sorted(key for key in missing if not key.endswith("masked_spec_embed"))  # which only training needs
    if len(lacking) == len(model.state_dict()):
        raise UserError(f"`{parameter}`: {name} has no weights of an encoder; expected a checkpoint with one")
    if lacking:
        raise UserError(
            f"`{parameter}`: {name} lacks weights of its encoder ({lacking[0]} and {len(lacking) - 1} more)"
        )
