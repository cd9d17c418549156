"""Backbones from a configuration, from the Hugging Face hub, or from a folder."""

import logging
import os
from pathlib import Path
from typing import Any

from speechshap.errors import UserError
from speechshap.models.accelerate import FAMILIES
from speechshap.models.backbone import Backbone, Padding

logger = logging.getLogger(__name__)

# Transformers would otherwise send a background request to have old checkpoints converted on the hub.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def build_backbone(config: dict[str, Any], padding: Padding = "masked") -> Backbone:
    """Make a backbone with random weights.

    Args:
        config: Fields of the Hugging Face configuration, ``model_type`` among them, and ``do_normalize``.
        padding: As in :class:`Backbone`.

    Raises:
        UserError: The configuration is not that of a known family, or contradicts itself.

    Example:
        >>> import torch
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 1,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> states, frames = backbone(torch.zeros(1, 1200), torch.tensor([1200]))
        >>> len(states), states[0].shape, frames
        (2, torch.Size([1, 3, 32]), tensor([3]))
    """
    from transformers import AutoConfig, AutoModel

    fields = dict(config)
    family = fields.pop("model_type", None)
    normalize = bool(fields.pop("do_normalize", False))
    if family not in FAMILIES:
        raise UserError(f"--model.backbone_config: model_type is {family!r}; expected one of {', '.join(FAMILIES)}")
    known = vars(AutoConfig.for_model(family))
    if unknown := [name for name in fields if name not in known and not name.startswith("_")]:
        raise UserError(f"--model.backbone_config: a {family} configuration has no field {unknown[0]}")
    try:
        model = AutoModel.from_config(AutoConfig.for_model(family, **fields))
    except (TypeError, ValueError) as error:
        raise UserError(f"--model.backbone_config: {error}") from error
    return Backbone(model, normalize, padding)


def load_backbone(name: str, padding: Padding = "masked") -> Backbone:
    """Load pretrained weights, and say where the published use of them is another one.

    Args:
        name: Name on the Hugging Face hub, or a local folder that ``save_pretrained`` wrote. A name that was
            downloaded before is taken from the cache, without a request.
        padding: As in :class:`Backbone`.

    Raises:
        UserError: The folder lacks something, or the hub does not answer or does not know the name.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        try:
            return _from_pretrained(str(folder), padding, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--model.backbone: {name} is not a whole checkpoint ({str(error).split('. ')[0]}); expected "
                "config.json, preprocessor_config.json and model.safetensors, as save_pretrained writes them"
            ) from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"--model.backbone: no folder {name}; give one with config.json and model.safetensors in it")
    try:
        return _from_pretrained(name, padding, local_files_only=True)
    except (OSError, ValueError):
        logger.info("%s is not in the local cache; asking the Hugging Face hub", name)
    _check_hub(name)
    return _from_pretrained(name, padding, local_files_only=False)


def _from_pretrained(name: str, padding: Padding, local_files_only: bool) -> Backbone:
    from transformers import AutoFeatureExtractor, AutoModel

    extractor = AutoFeatureExtractor.from_pretrained(name, local_files_only=local_files_only)
    model = AutoModel.from_pretrained(name, local_files_only=local_files_only)
    if padding == "masked" and not extractor.return_attention_mask:
        logger.info(
            "%s is published for use without an attention mask, where what an utterance comes out as depends on the "
            "padding of its batch; here padding is masked. --model.padding published keeps to the published use",
            name,
        )
    return Backbone(model, bool(extractor.do_normalize), padding)


def _check_hub(name: str) -> None:
    """Ask the hub once: its own downloads try again for minutes before they say that there is no connection."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=5)
    except Exception as error:  # which one depends on the HTTP client below
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--model.backbone: {name} cannot be had from the Hugging Face hub ({reason}); correct the name, or "
            "download it where there is a connection ('hf download NAME --local-dir FOLDER') and give the folder"
        ) from error
