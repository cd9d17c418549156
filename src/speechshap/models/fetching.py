"""Checkpoints from a folder, from the local cache, or from the Hugging Face hub."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

from speechshap.errors import UserError

logger = logging.getLogger(__name__)

# Transformers would otherwise send a background request to have old checkpoints converted on the hub.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

T = TypeVar("T")

LOADING_ERRORS = (OSError, ValueError, RuntimeError, UnpicklingError)
"""What transformers raises for files that are missing or do not fit."""


def fetch(name: str, parameter: str, load: Callable[[str, bool], T]) -> T:
    """Load a checkpoint from where it is nearest.

    A folder is read; a name that was downloaded before is taken from the cache, without a request; the hub is asked
    otherwise.

    Args:
        name: Local folder, or name on the hub.
        parameter: Whose value the name is, for error messages.
        load: Loads a folder or name; its second argument says whether to keep to local files.

    Raises:
        UserError: The folder lacks something, or the hub does not answer or does not know the name; and whatever
            ``load`` finds wrong.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _load_whole(name, parameter, lambda: load(str(folder), True))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"`{parameter}`: no folder {name}; give one with config.json and model.safetensors in it")
    try:
        return load(name, True)
    except UserError:
        raise
    except LOADING_ERRORS:
        logger.info("%s is not in the local cache; asking the Hugging Face hub", name)
    _check_hub(name, parameter)
    return _load_whole(name, parameter, lambda: load(name, False))


def _load_whole(name: str, parameter: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise UserError(
            f"`{parameter}`: {name} is not a whole checkpoint ({str(error).split('. ')[0]}); expected config.json, "
            "preprocessor_config.json and model.safetensors, as save_pretrained of the model and of its feature "
            "extractor write them"
        ) from error


def _check_hub(name: str, parameter: str) -> None:
    """Ask the hub once: its own downloads try again for minutes before they say that there is no connection."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=5)
    except Exception as error:  # which one depends on the HTTP client below
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"`{parameter}`: {name} cannot be had from the Hugging Face hub ({reason}); correct the name, or "
            "download it where there is a connection ('hf download NAME --local-dir FOLDER') and give the folder"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own reports on missing weights back where the caller reads them itself."""
    from transformers.utils import logging as transformers_logging

    kept = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(kept)
