"""One fold of a cross-validation: ``speechshap train fit`` and ``speechshap train test`` within a process."""

import gc
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from speechshap.cli.inner_run import InnerCLI, epoch_bar, fit, quiet
from speechshap.cli.many_runs import options_of_run
from speechshap.errors import UserError
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.cross_validation import CrossValidation, FoldRun


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
    own = _options_of(options, validation, run)
    with epoch_bar(options, validation.title(run), shows_bar) as bar, quiet():
        fit(folder, own, program, bar, command)
        test = {**own, "ckpt_path": str(folder), "verbose": False}
        InnerCLI({"subcommand": "test", "test": test}, program, bar, command)
    (folder / CHECKPOINTS / "last.ckpt").unlink(missing_ok=True)  # nothing goes on from it, and it is large
    gc.collect()  # a trainer and its module know each other


def _options_of(options: Namespace, validation: CrossValidation, run: FoldRun) -> dict[str, Any]:
    own = options_of_run(options, validation.folder_of(run), run.seed)
    own["data"]["fold"] = run.fold
    return own
