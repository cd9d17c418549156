"""The folder of a run: where its files go, and what becomes of it when the run fails."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytorch_lightning as pl

from speechshap.errors import UserError, full_disk
from speechshap.files import locked, remove_partial
from speechshap.training.checkpoints import CHECKPOINTS

_SECONDS_OF_OTHERS = 5
"""How long a process that failed waits for the first one to fail, too."""

_MADE_AT_START = ("events.out.tfevents.*", "hparams.yaml", "config.yaml", "config-*.yaml", "metrics.csv")


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


def results_folder(trainer: pl.Trainer, given: str | Path | None = None) -> Path:
    """Folder of results that are written in any case; with several processes, each of them has to ask.

    Args:
        trainer: Whose run it is.
        given: Folder that is asked for; left out, that of the run's files, else ``default_root_dir``, which is the
            working folder unless it was given.

    Example:
        >>> results_folder(pl.Trainer(logger=False, accelerator="cpu"), "out").name
        'out'
        >>> results_folder(pl.Trainer(logger=False, accelerator="cpu")) == Path.cwd()
        True
    """
    return Path(given or run_folder(trainer) or trainer.default_root_dir)


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
def guarded_run(trainer: pl.Trainer, trains: bool) -> Iterator[None]:
    """Have a run that fails say so once; if it fails before the first step, what it made in its folder goes.

    Args:
        trainer: Whose run it is.
        trains: Whether checkpoints are written.

    Raises:
        UserError: The disk is full, or another training writes to the same folder.
    """
    former = threading.excepthook
    threading.excepthook = _without_event_writer(former)
    place = _folder_of_rank(trainer)
    try:
        with first_process_tells(trainer), ExitStack() as stack:
            if place is not None and trainer.is_global_zero:
                stack.enter_context(unstarted_run_removed(Path(place), lambda: trainer.global_step > 0))
                if trains and _is_known(trainer):
                    stack.enter_context(_only_training(Path(place)))
            yield
    except BaseException as error:
        full = full_disk(error)
        if full is None:
            raise
        can_go_on = trains and place is not None and Path(place, CHECKPOINTS, "last.ckpt").is_file()
        way_on = "go on with the run's folder as `ckpt_path`" if can_go_on else "give the same command again"
        raise UserError(
            f"{full.filename or place} cannot be written: {os.strerror(full.errno or 0)}. Make room, and {way_on}; "
            "the checkpoints that are there are whole"
        ) from error
    finally:
        threading.excepthook = former


@contextmanager
def _only_training(folder: Path) -> Iterator[None]:
    """Have a folder to oneself, and remove what a killed training has left of its checkpoints."""
    with ExitStack() as stack:
        try:
            # Beside the folder, which loggers want to be empty.
            path = folder.absolute().parent / f".{folder.absolute().name}.lock"
            is_alone = stack.enter_context(locked(path, 0, or_raise=BlockingIOError))
        except PermissionError:
            is_alone = False
        except BlockingIOError:
            raise UserError(
                f"another training writes to {folder}; wait for its end, or give the run a folder of its own"
            ) from None
        if is_alone:
            remove_partial(folder / CHECKPOINTS, ".*")
        yield


def _is_known(trainer: pl.Trainer) -> bool:
    """Whether the folder of a run is known before it begins; W&B gives it a name then."""
    loggers = trainer.loggers[:1]
    return all(getattr(logger, "log_dir", None) is not None or logger.version is not None for logger in loggers)


@contextmanager
def first_process_tells(trainer: pl.Trainer) -> Iterator[None]:
    """Of several processes that fail for the same reason, have the first one tell it and end the others.

    One that fails alone tells it, too, after some seconds.
    """
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        if not trainer.is_global_zero:
            time.sleep(_SECONDS_OF_OTHERS)
        elif launcher is not None:
            launcher.kill(signal.SIGTERM)
        raise


@contextmanager
def unstarted_run_removed(folder: Path, has_started: Callable[[], bool]) -> Iterator[None]:
    """If the block fails before a run has started, remove the files that it made; what was there before stays.

    Args:
        folder: Of the run.
        has_started: Whether the run has come so far that its files are worth keeping.
    """
    with no_empty_folder(folder / CHECKPOINTS):
        before = _files_of_start(folder)
        try:
            yield
        except BaseException:
            made = _files_of_start(folder) - before
            others = [path for path in made if path.name.startswith("events.") and f".{os.getpid()}." not in path.name]
            # New events of another process: it has begun a run in the same folder meanwhile.
            if not others and not has_started():
                for path in made:
                    path.unlink()
            raise


def _files_of_start(folder: Path) -> set[Path]:
    """Files that a run writes before its first step; others, like ``skipped.csv``, tell what is wrong."""
    return {path for pattern in _MADE_AT_START for path in folder.glob(pattern)}


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Take away what the block has made of a folder and those above it, where nothing has come into them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # not empty
                path.rmdir()


def _without_event_writer(
    former: "threading._ExceptHook",  # type: ignore[name-defined]
) -> "threading._ExceptHook":  # type: ignore[name-defined]
    """A hook that is silent about TensorBoard's writer thread, whose error is raised again where events are added."""

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            former(arguments)

    return hook
