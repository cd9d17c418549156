"""Reading the checkpoints that training writes."""

from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch

from speechshap.errors import UserError
from speechshap.training.emotion_module import EmotionModule

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in the folder of a run."""


def run_of(checkpoint: Path) -> Path | None:
    """Folder of the run that a checkpoint belongs to, or None if it does not lie in one.

    Example:
        >>> run_of(Path("runs/demo/version_0/checkpoints/best.ckpt")).name
        'version_0'
        >>> run_of(Path("downloads/best.ckpt"))
    """
    folder = checkpoint.parent
    return folder.parent if folder.name == CHECKPOINTS else None


def find_checkpoint(path: str | Path, prefer: Literal["best", "last"]) -> Path:
    """Find the checkpoint that a path means.

    Args:
        path: A checkpoint, the folder of a run, or its folder ``checkpoints``.
        prefer: Which one to take of a folder: ``best`` to evaluate and explain, ``last`` to go on with the training.

    Raises:
        UserError: There is no such file or folder, or no such checkpoint in the folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "checkpoints").mkdir()
        >>> (folder / "checkpoints" / "best.ckpt").touch()
        >>> find_checkpoint(folder, "best").name
        'best.ckpt'
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise _missing(path)
    folder = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    if (folder / f"{prefer}.ckpt").is_file():
        return folder / f"{prefer}.ckpt"
    names = sorted(str(file.relative_to(path)) for file in folder.glob("*.ckpt"))
    runs = sorted(folder.name for folder in path.glob("version_*"))
    raise UserError(
        f"`ckpt_path`: the folder {path} has no {CHECKPOINTS}/{prefer}.ckpt; "
        + (
            f"name one of {', '.join(names)}"
            if names
            else f"give one of its runs: {', '.join(runs)}"
            if runs
            else "give the folder of a run of speechshap train fit, or a checkpoint"
        )
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a training that was interrupted, if it has come that far."""
    path = folder / CHECKPOINTS / "last.ckpt"
    return path if path.is_file() else None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that ``speechshap train`` wrote; only plain data and tensors are unpickled.

    Tensors are mapped: their bytes are read when they are used, so that asking for anything else costs nothing.

    Raises:
        UserError: The file is missing, cut short, or not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of other files the unpickler raises whatever it stumbles over
        raise UserError(
            f"`ckpt_path`: {path} cannot be read as a checkpoint; it is cut short or something else, copy it again"
        ) from error
    if not isinstance(checkpoint, dict) or "classes" not in checkpoint.get("hyper_parameters", {}):
        raise UserError(f"`ckpt_path`: {path} is not a checkpoint of this project; train one with speechshap train fit")
    return checkpoint


def _missing(path: Path) -> UserError:
    return UserError(
        f"`ckpt_path`: no file {path}; speechshap train fit writes {CHECKPOINTS}/best.ckpt into its run folder"
    )


def has_ended(checkpoint: dict[str, Any], max_epochs: int | None, min_epochs: int | None) -> bool:
    """Whether a training was at its end when it wrote its last checkpoint, so that it is not gone on with.

    Args:
        checkpoint: What it holds.
        max_epochs: Of the training; None or -1 for no such end.
        min_epochs: Before which early stopping does not end it.

    Example:
        >>> has_ended({"epoch": 2, "callbacks": {"EarlyStopping{...}": {"stopped_epoch": 2}}}, 30, None)
        True
        >>> has_ended({"epoch": 2, "callbacks": {"EarlyStopping{...}": {"stopped_epoch": 0}}}, 30, None)
        False
    """
    epoch = int(checkpoint["epoch"])
    if max_epochs is not None and 0 < max_epochs <= epoch + 1:
        return True
    stopped = any(
        0 < state.get("stopped_epoch", 0) == epoch
        for state in checkpoint.get("callbacks", {}).values()
        if isinstance(state, dict)
    )
    return stopped and epoch + 1 >= (min_epochs or 1)


def load_checkpoint(path: str | Path, checkpoint: dict[str, Any] | None = None) -> EmotionModule:
    """Make the module that a checkpoint holds, on the CPU, to be explained.

    Low-rank adapters are a part of its weights; ``EmotionModule.load_from_checkpoint`` keeps them apart.

    Args:
        path: The checkpoint.
        checkpoint: What :func:`read_checkpoint` read there, so that it is not read again.

    Raises:
        UserError: The checkpoint cannot be read, or its weights do not fit the model that it describes.
    """
    checkpoint = read_checkpoint(path) if checkpoint is None else checkpoint
    saved = checkpoint["hyper_parameters"]
    options = {name: saved[name] for name in signature(EmotionModule).parameters if name in saved}
    if "_instantiator" in saved:  # the command line made the module, and maybe a head, from a configuration
        from pytorch_lightning.cli import instantiate_module

        module = instantiate_module(EmotionModule, options)
    else:
        module = EmotionModule(**options)
    module.on_load_checkpoint(checkpoint)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(
            f"`ckpt_path`: the weights of {path} do not fit the model that it describes; if its head was given in "
            "Python, explain it there, with GradientSHAPCallback"
        ) from error
    module.merge_adapters()
    return module
