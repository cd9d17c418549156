"""Writing checkpoints whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from speechshap.errors import find_cause
from speechshap.files import whole_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Plugin of a Trainer: a checkpoint appears under its name only when it is whole.

    A full disk or a killed process leaves the former checkpoint of that name as it was. Lightning itself writes
    elsewhere and copies the file if that is on another disk. Checkpoints are read without unpickling code.

    Example:
        >>> import pytorch_lightning as pl
        >>> trainer = pl.Trainer(plugins=[WholeCheckpointIO()], logger=False, accelerator="cpu")
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: It cannot be written; the error names the path.
        """
        try:
            with whole_file(Path(path)) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # PyTorch answers an error of the system, which names no path, with one of its own.
            cause = find_cause(error, OSError)
            if cause is None:
                raise
            raise OSError(cause.errno, cause.strerror, str(path)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; objects other than tensors and plain data only if ``weights_only`` is False."""
        return super().load_checkpoint(path, map_location, weights_only=weights_only is not False)
