"""Reading the checkpoints that training writes."""

from pathlib import Path
from typing import Any

import torch

from speechshap.errors import UserError
from speechshap.training.emotion_module import EmotionModule


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that ``train.py`` wrote; only plain data and tensors are unpickled.

    Raises:
        UserError: The file is missing, cut short, or not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"`ckpt_path`: no file {path}; train.py fit writes checkpoints/best.ckpt into its run folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of other files the unpickler raises whatever it stumbles over
        raise UserError(
            f"`ckpt_path`: {path} cannot be read as a checkpoint; it is cut short or something else, copy it again"
        ) from error
    if not isinstance(checkpoint, dict) or "classes" not in checkpoint.get("hyper_parameters", {}):
        raise UserError(f"`ckpt_path`: {path} is not a checkpoint of this project; train one with train.py fit")
    return checkpoint


def load_checkpoint(path: str | Path) -> EmotionModule:
    """Make the module that a checkpoint holds, on the CPU.

    Raises:
        UserError: The checkpoint cannot be read, or its weights do not fit the model that it describes.
    """
    try:
        return EmotionModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except Exception as error:
        read_checkpoint(path)  # says what is wrong with the file, if that is it
        if not isinstance(error, RuntimeError):
            raise
        raise UserError(
            f"`ckpt_path`: the weights of {path} do not fit the model that it describes; if its head was given in "
            "Python, explain it there, with GradientSHAPCallback"
        ) from error
