"""One trial of a sweep: ``speechshap train fit`` within a process."""

import gc
import logging
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, Namespace

from speechshap.cli.inner_run import epoch_bar, fit, quiet
from speechshap.cli.many_runs import options_of_run
from speechshap.errors import UserError
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.divergence import DivergedError
from speechshap.training.metrics import RECALL
from speechshap.training.report_trial import ReportTrial
from speechshap.training.sweep import Sweep

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

_MOST_FAILED = 3
"""Trials that fail, without one that does not, after which it is no use to try others."""


def run_trial(sweep: Sweep, trial: "optuna.Trial", options: Namespace, program: str, command: Sequence[str]) -> None:
    """Train a trial, from its last epoch that was saved on.

    Args:
        sweep: Its folder.
        trial: Of Optuna.
        options: Of ``speechshap train fit``.
        program: What was called.
        command: That asked for the sweep.

    Raises:
        UserError: The first trials have all failed; the last one is named.
    """
    folder, tried = sweep.described(trial).folder, sweep.described(trial).options
    own = with_values(options_of_run(options, folder, options.seed_everything), tried)
    report = ReportTrial(trial, RECALL)
    try:
        with epoch_bar(options, folder.name) as bar, quiet():
            fit(folder, own, program, bar, command, [report])
    except (UserError, ArgumentError) as error:
        reason = "the training diverged" if isinstance(error, DivergedError) else str(error)
        sweep.fail(trial, reason)
        text = f"{folder.name} ({in_words(tried)}): {reason}"
        if len(sweep.failed()) >= _MOST_FAILED and not sweep.ended():
            raise UserError(text) from error
        logger.warning("%s", text)
    else:
        if report.best is None:
            raise UserError(f"{folder.name}: no epoch was validated, so that nothing can be compared")
        sweep.end(trial, report.best, report.is_pruned)
        (folder / CHECKPOINTS / "last.ckpt").unlink(missing_ok=True)  # nothing goes on from it, and it is large
    gc.collect()  # a trainer and its module know each other


def with_values(options: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Options with other values of some of them.

    Args:
        options: By name, those of a group within it.
        values: By the whole name.

    Raises:
        UserError: There is no such option.

    Example:
        >>> with_values({"model": {"dropout": 0.1}}, {"model.dropout": 0.3})
        {'model': {'dropout': 0.3}}
    """
    for name, value in values.items():
        group, (*parts, last) = options, name.split(".")
        is_open = False  # below an option that is left out, nobody knows what there is
        for part in parts:
            is_open = part in group and group[part] is None
            if is_open:
                group[part] = {}
            group = group[part] if isinstance(group.get(part), dict) else {}
        if last not in group and not is_open:
            near = get_close_matches(last, group, 1)
            hint = f"; did you mean {'.'.join([*parts, near[0]])}?" if near else ""
            raise UserError(f"`search`: there is no option {name}{hint}")
        group[last] = value
    return options


def in_words(values: Mapping[str, Any]) -> str:
    """Values as they are given on the command line.

    Example:
        >>> in_words({"model.learning_rate": 0.00123456, "model.pooling": "mean"})
        '--model.learning_rate 0.00123456 --model.pooling mean'
    """
    return " ".join(
        f"--{name} {'null' if value is None else shlex.quote(str(value))}" for name, value in values.items()
    )
