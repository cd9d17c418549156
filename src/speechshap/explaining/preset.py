"""How predictions are explained where nothing else is said."""

import logging
from collections.abc import Callable, Container, Sequence
from typing import Literal

from speechshap.attribution import WAVEFORM
from speechshap.errors import UserError

logger = logging.getLogger(__name__)

Preset = Literal["recommended", "textbook"]

PRESET_METHODS: dict[Preset, str] = {"recommended": "kernel_shap", "textbook": "gradient_shap"}
"""Method of each preset."""

NEUTRAL = "neutral"
"""Class that the emotions are told from, and that clips to compare with are of, where a model has it."""


def preset_targets(preset: Preset, classes: Sequence[str]) -> str:
    """What a preset explains of a model with these classes: why this emotion and not a neutral voice?

    Example:
        >>> preset_targets("recommended", ["neutral", "sad"]), preset_targets("recommended", ["happy", "sad"])
        ('predicted - neutral', 'predicted')
    """
    return f"predicted - {NEUTRAL}" if _is_contrast(preset, classes) else "predicted"


def preset_baselines(preset: Preset, classes: Sequence[str], find_clips: Callable[[str], object]) -> str:
    """What a preset compares sounds with: neutral voices, where the model and its training have them, else noise.

    Args:
        preset: Its name.
        classes: Of the model.
        find_clips: Raises a UserError where there are no training clips of a class.

    Example:
        >>> preset_baselines("recommended", ["neutral", "sad"], find_clips=lambda label: None)
        'dataset:neutral'
        >>> preset_baselines("textbook", ["neutral", "sad"], find_clips=lambda label: None)
        'noise'
    """
    if not _is_contrast(preset, classes):
        return "noise"
    try:
        find_clips(NEUTRAL)
    except UserError as error:
        logger.warning("sounds are compared with noise, and not with neutral voices of the training: %s", error)
        return "noise"
    return f"dataset:{NEUTRAL}"


def preset_space(preset: Preset, spaces: Container[str]) -> str:
    """Where a preset has paths run: between the features of the stem, where a model has these.

    Example:
        >>> preset_space("recommended", {"stem"}), preset_space("textbook", {"stem"})
        ('stem', 'waveform')
    """
    return "stem" if preset == "recommended" and "stem" in spaces else WAVEFORM


def as_single_reference(baselines: str, method: str | None, space: str) -> str:
    """The mean of what sounds are compared with, for a path between features from one reference; else the same.

    Example:
        >>> as_single_reference("dataset:neutral", "integrated_gradients", "stem")
        'mean:dataset:neutral'
        >>> as_single_reference("dataset:neutral", "gradient_shap", "stem")
        'dataset:neutral'
    """
    has_mean = method == "integrated_gradients" and space != WAVEFORM
    return f"mean:{baselines}" if has_mean else baselines


def _is_contrast(preset: Preset, classes: Sequence[str]) -> bool:
    return preset == "recommended" and NEUTRAL in classes and len(classes) > 1
