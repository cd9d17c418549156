"""The folder of a run: where its files go, and what becomes of it when the run fails."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytorch_lightning as pl

from speechshap.errors import UserError

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_SECONDS_OF_OTHERS = 5
"""How long a process that failed waits for the first one to fail, too."""

_MADE_AT_START = ("events.out.tfevents.*", "hparams.yaml", "config.yaml", "metrics.csv")


def run_folder(trainer: pl.Trainer) -> Path | None:
    """Folder of the files of a run; with several processes, each of them has to ask.

    Returns:
        The folder of the first logger, else ``default_root_dir`` if one was given. None for a run that is to leave no
        files: it has neither, or it is a ``fast_dev_run``.

    Example:
        >>> run_folder(pl.Trainer(logger=False, accelerator="cpu", default_root_dir="out")).name
        'out'
        >>> run_folder(pl.Trainer(logger=False, accelerator="cpu"))
    """
    folder = trainer.strategy.broadcast(_folder_of_rank(trainer))
    return None if folder is None else Path(folder)


def _folder_of_rank(trainer: pl.Trainer) -> str | None:
    """The folder as this process has it; a logger may count its versions differently in another one."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    if not trainer.loggers:
        # Lightning takes the working folder where none was given.
        return None if trainer.default_root_dir == os.getcwd() else trainer.default_root_dir  # noqa: PTH109
    logger = trainer.loggers[0]
    folder: str | None = getattr(logger, "log_dir", None)
    if folder is None:  # W&B and others, whose checkpoints Lightning puts there
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = str(Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version))
    return folder


@contextmanager
def guarded_run(trainer: pl.Trainer) -> Iterator[None]:
    """Have a run that fails say so once, and remove its folder if it failed before the first step.

    Raises:
        UserError: The disk is full; names what could not be written.
    """
    former = threading.excepthook
    threading.excepthook = _without_event_writer(former)
    try:
        yield
    except BaseException as error:
        # Processes often fail for the same reason: the first one tells it, and ends the others.
        if trainer.is_global_zero:
            _end_others(trainer)
        else:
            time.sleep(_SECONDS_OF_OTHERS)
        place = _folder_of_rank(trainer)
        if trainer.is_global_zero and trainer.global_step == 0 and place is not None:
            remove_unstarted(Path(place))
        full = _full_disk(error)
        if full is None:
            raise
        raise UserError(
            f"{full.filename or place} cannot be written: {os.strerror(full.errno or 0)}. The checkpoints that are "
            "there are whole; make room, and go on with the run's folder as `ckpt_path`"
        ) from error
    finally:
        threading.excepthook = former


def _end_others(trainer: pl.Trainer) -> None:
    """End the processes that this one has started."""
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGTERM)


def remove_unstarted(folder: Path) -> None:
    """Remove what a run of this process has left in its folder before the first step; its other files stay."""
    if not folder.is_dir() or any(folder.glob("checkpoints/*")):
        return
    made = {path for pattern in _MADE_AT_START for path in folder.glob(pattern)}
    events = [path for path in made if path.name.startswith("events.")]
    if any(f".{os.getpid()}." not in path.name for path in events):
        return  # an earlier run was here
    for path in made:
        path.unlink()
    with suppress(OSError):  # not empty: skipped.csv tells what is wrong
        for path in (folder / "checkpoints", folder, *folder.parents[:2]):
            if path.is_dir():
                path.rmdir()


def _full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk that an exception is, or was raised from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _without_event_writer(
    former: "threading._ExceptHook",  # type: ignore[name-defined]
) -> "threading._ExceptHook":  # type: ignore[name-defined]
    """A hook that is silent about TensorBoard's writer thread, whose error is raised again where events are added."""

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            former(arguments)

    return hook
