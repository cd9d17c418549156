"""One fold of a cross-validation: ``speechshap train fit`` and ``speechshap train test`` within a process."""

import gc
import shutil
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from tqdm.auto import tqdm

from speechshap.cli.inner_run import InnerCLI, quiet
from speechshap.cli.many_runs import options_of_run
from speechshap.errors import UserError
from speechshap.training import read_checkpoint
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.cross_validation import CrossValidation, FoldRun, has_ended, last_checkpoint


def run_fold(
    validation: CrossValidation,
    run: FoldRun,
    options: Namespace,
    program: str,
    command: Sequence[str],
    shows_bar: bool = True,
) -> None:
    """Train a fold, from its last epoch that was saved on, and test its best checkpoint.

    Args:
        validation: Its folder.
        run: Which fold and seed.
        options: Of ``speechshap train fit``.
        program: What was called.
        command: That asked for the cross-validation, word by word.
        shows_bar: Whether epochs are shown.

    Raises:
        UserError: An option cannot be met, or the training diverged; the fold is named.
    """
    try:
        _run(validation, run, options, program, command, shows_bar)
    except UserError as error:
        raise UserError(f"{validation.title(run)}: {error}") from error


def _run(
    validation: CrossValidation,
    run: FoldRun,
    options: Namespace,
    program: str,
    command: Sequence[str],
    shows_bar: bool,
) -> None:
    folder = validation.folder_of(run)
    last = last_checkpoint(folder)
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)  # no epoch was whole
    own = _options_of(options, validation, run)
    epochs = options.trainer.max_epochs
    total = epochs if epochs and epochs > 0 else None
    bar = tqdm(total=total, desc=validation.title(run), unit="epoch", leave=False, disable=not shows_bar)
    with bar, quiet():
        if last is None or not has_ended(read_checkpoint(last), epochs, options.trainer.min_epochs):
            InnerCLI({"subcommand": "fit", "fit": {**own, "ckpt_path": last and str(last)}}, program, bar, command)
        InnerCLI(
            {"subcommand": "test", "test": {**own, "ckpt_path": str(folder), "verbose": False}}, program, bar, command
        )
    (folder / CHECKPOINTS / "last.ckpt").unlink(missing_ok=True)  # nothing goes on from it, and it is large
    gc.collect()  # a trainer and its module know each other


def _options_of(options: Namespace, validation: CrossValidation, run: FoldRun) -> dict[str, Any]:
    own = options_of_run(options, validation.folder_of(run), run.seed)
    own["data"]["fold"] = run.fold
    return own
