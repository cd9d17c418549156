"""What all commands share: how they start and end, and how errors are reported."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentError

from speechshap.cli.allocator import keep_freed_memory
from speechshap.errors import UserError, find_cause, full_disk

# Told by the libraries to their developers; a user can do nothing about them.
_IRRELEVANT_WARNINGS = (
    ".*does not have many workers.*",
    ".*Be aware that when using `ckpt_path`, callbacks.*",
    ".*Total length of `list` across ranks is zero.*",
    ".*module\\(s\\) in eval mode at the start of training.*",
    ".*The number of training batches.*",
    ".*treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LightningCLI's args parameter is intended.*",
    ".*The dirpath has changed from.*",
    ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",
)


def run(
    main: Callable[[list[str]], None], interrupted: str = "interrupted", arguments: Sequence[str] | None = None
) -> None:
    """Run a command: a mistake of the user in one line, anything else too unless ``--debug`` asks for the traceback.

    Args:
        main: The command; takes the arguments without ``--debug``.
        interrupted: What to say after Ctrl-C or SIGTERM.
        arguments: Of the command; those of the process unless given.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    arguments = [argument for argument in given if argument != "--debug"]
    debug = len(arguments) < len(given)
    _quieten(debug)
    keep_freed_memory()
    try:
        main(arguments)
    except (KeyboardInterrupt, SystemExit) as exit_:
        if is_interruption(exit_):
            sys.exit(interrupted)
        raise
    except ArgumentError as error:
        sys.exit(f"error: {_one_line(error)} (--help lists the options)")
    except Exception as error:
        if debug:
            raise
        mistake = find_cause(error, UserError)
        full = full_disk(error)
        if mistake is None and full is not None and full.filename is not None:
            reason = os.strerror(full.errno or 0)
            sys.exit(f"error: {full.filename} cannot be written: {reason}; make room, and give the same command again")
        if mistake is None:
            told = f"{type(error).__name__}: {_one_line(error)}"
            sys.exit(f"error: {told} (the same command with --debug tells where)")
        sys.exit(f"error: {_one_line(mistake)}")


def is_interruption(error: BaseException) -> bool:
    """Whether Ctrl-C or SIGTERM ended a command that has not said so yet.

    Example:
        >>> is_interruption(KeyboardInterrupt()), is_interruption(SystemExit("interrupted; all is kept"))
        (True, False)
    """
    if not isinstance(error, SystemExit) or isinstance(error.code, str):
        return isinstance(error, KeyboardInterrupt)
    # Lightning turns them into exits of its own. It is not imported here: not every command needs it.
    return isinstance(error.__context__, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException"


def _quieten(debug: bool) -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("speechshap").setLevel(logging.INFO)
    if debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(lambda record: "Tip:" not in str(record.msg))
    for pattern in _IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", pattern)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
