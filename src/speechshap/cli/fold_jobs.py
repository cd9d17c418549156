"""The folds of a cross-validation, one after the other or several at once."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

import torch
from jsonargparse import Namespace
from tqdm.auto import tqdm

from speechshap.cli.fold_run import run_fold
from speechshap.errors import UserError
from speechshap.files import locked
from speechshap.training.cross_validation import CrossValidation, FoldRun
from speechshap.training.predictions import read_predictions
from speechshap.training.save_predictions import PREDICTIONS
from speechshap.training.scores_text import short_text

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often the runs of other processes are looked at."""


def run_in_turn(
    validation: CrossValidation,
    runs: Sequence[FoldRun],
    options: Namespace,
    program: str,
    command: Sequence[str],
    is_job: bool,
) -> None:
    """Do runs one after the other, those last that another process is at.

    Args:
        validation: Its folder.
        runs: To be done.
        options: Of ``speechshap train fit``.
        program: What was called.
        command: That was given, word by word.
        is_job: Whether another process shows what is done.

    Raises:
        UserError: One of them failed.
    """
    of_others = [run for run in runs if not _run(validation, run, options, program, command, is_job, patience=0)]
    for run in of_others:
        _run(validation, run, options, program, command, is_job, patience=float("inf"))


def _run(
    validation: CrossValidation,
    run: FoldRun,
    options: Namespace,
    program: str,
    command: Sequence[str],
    is_job: bool,
    patience: float,
) -> bool:
    """Do a run, unless it has been done meanwhile; whether another process left it alone."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(validation.lock_of(run), patience, or_raise=BlockingIOError, stays=True))
        except BlockingIOError:
            return False
        if not validation.is_finished(run):
            if not is_job:
                logger.info("%s", validation.title(run))
            run_fold(validation, run, options, program, command, shows_bar=not is_job)
        if not is_job:
            _tell(validation, run)
    return True


def _tell(validation: CrossValidation, run: FoldRun) -> None:
    predictions = read_predictions(validation.folder_of(run) / PREDICTIONS)
    logger.info("%s: %s", validation.title(run), short_text(predictions.counts, predictions.about))


def run_jobs(
    validation: CrossValidation, runs: Sequence[FoldRun], jobs: int, arguments: Sequence[str], program: str
) -> None:
    """Do the runs of each fold in a process of its own.

    Args:
        validation: Its folder.
        runs: To be done.
        jobs: How many processes there are at a time.
        arguments: Of the command line.
        program: What was called.

    Raises:
        UserError: One of them failed.
    """
    context = multiprocessing.get_context("spawn")
    folds, untold = sorted({run.fold for run in runs}), list(runs)
    running: dict[int, SpawnProcess] = {}
    failed: list[int] = []
    with tqdm(total=len(runs), desc="cross-validation", unit="run", leave=False) as bar:
        try:
            while running or (folds and not failed):
                while folds and len(running) < jobs and not failed:
                    fold = folds.pop(0)
                    given = [*arguments, "--only", str(fold), "--jobs", "1"]
                    process = context.Process(target=_job, args=(given, program, jobs))
                    process.start()
                    running[fold] = process
                wait([process.sentinel for process in running.values()], _LOOK_SECONDS)
                for fold, process in list(running.items()):
                    if not process.is_alive():
                        failed += [fold] if process.exitcode else []
                        del running[fold]
                for run in [run for run in untold if validation.is_finished(run)]:
                    untold.remove(run)
                    bar.clear()
                    _tell(validation, run)
                    bar.update(1)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.join()
    if failed:
        raise UserError(
            f"fold {', '.join(map(str, failed))} ended before it was tested, as told above; what is finished stays, "
            "and the same command goes on from there"
        )


def _job(arguments: list[str], program: str, jobs: int) -> None:
    """The command in a process that ends with the one that started it, and says no more than what is wrong."""
    from speechshap.cli.cross_validate import cross_validate
    from speechshap.cli.program import run

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    try:
        run(lambda given: cross_validate(given, program, is_job=True), interrupted="", arguments=arguments)
    except SystemExit as exit_:
        sys.exit(exit_.code or 1)  # without the line of one that was interrupted


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
