"""What ``speechshap train`` writes beside Lightning, and where a training that goes on, or a test, writes."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger

from speechshap.files import whole_file
from speechshap.training.checkpoints import run_of
from speechshap.training.run_folder import run_folder

logger = logging.getLogger(__name__)


class SaveConfig(SaveConfigCallback):
    """Save the options of a run in its folder, if it has one; the file appears when it is whole.

    What lies there under that name stays, and may be the user's own: other options go to ``config-2.yaml``, and so on.
    Those of a test go to ``config-test.yaml``, since its run has the options of its training.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Save them once."""
        folder = run_folder(trainer)  # asked for by all processes
        if folder is not None and trainer.is_global_zero and not self.already_saved:
            path = folder / self.config_filename
            path = path.with_stem(f"{path.stem}-test") if stage == "test" else path
            write_beside(path, self.parser.dump(self.config, skip_none=False))
            self.already_saved = True


def write_beside(path: Path, text: str) -> Path:
    """Write a text to a file, or beside it with a number if another text is there; returns where the text is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "config.yaml"
        >>> [write_beside(path, text).name for text in ("a: 1", "a: 2", "a: 1")]
        ['config.yaml', 'config-2.yaml', 'config.yaml']
    """
    content, place, number = text.encode(), path, 1
    while place.exists() and not (place.is_file() and place.read_bytes() == content):
        number += 1
        place = path.with_stem(f"{path.stem}-{number}")
    if not place.exists():
        with whole_file(place) as partial:
            partial.write_bytes(content)
    return place


def logger_of_run(
    given: Any, options: Namespace, default: dict[str, Any], checkpoint: Path, step: int | None = None
) -> Any:
    """Logger of the run that a checkpoint belongs to, unless another experiment is named.

    Args:
        given: Logger made from the options.
        options: Its options.
        default: Options of the logger where the user gives none.
        checkpoint: To be tested, or to go on from; a training goes on in the run of ``checkpoints/last.ckpt`` alone.
        step: Optimiser steps of the checkpoint where a training goes on; later events of the run, which are to come
            again, are hidden. None for a test.

    Returns:
        The given logger, or one like it in the run's folder.
    """
    run = run_of(checkpoint)
    if not isinstance(given, TensorBoardLogger) or run is None or (step is not None and checkpoint.name != "last.ckpt"):
        return given
    settings = {**options.init_args.as_dict(), **options.get("dict_kwargs", {})}
    is_default = all(settings.get(name) == value for name, value in default.items())
    is_own = settings.get("version") is None and (is_default or _same(given.root_dir, run.resolve().parent))
    if not (is_own or _same(given.log_dir, run)):
        return given
    place = {"save_dir": str(run.parent.parent), "name": run.parent.name, "version": run.name}
    return TensorBoardLogger(**{**settings, **place, "purge_step": step})


def _same(one: str | Path, other: str | Path) -> bool:
    return Path(one).resolve() == Path(other).resolve()
