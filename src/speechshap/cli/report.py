"""``speechshap report``: show what ``speechshap explain`` has written."""

import logging
from pathlib import Path

from jsonargparse import ArgumentParser

from speechshap.cli.flags import parameters_as_flags
from speechshap.data.wording import counted
from speechshap.errors import UserError, require_at_least
from speechshap.files import EXPLANATIONS
from speechshap.report.page.choice import MOST_SHOWN
from speechshap.results.folder import ResultsFolder
from speechshap.results.shards import told_of_shards

logger = logging.getLogger(__name__)


def report(arguments: list[str], program: str = "speechshap report") -> None:
    """``speechshap report``: show what ``speechshap explain`` has written.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    parser = ArgumentParser(
        prog=program,
        usage=f"{program} runs/<experiment>/version_N [--compare CLASS,CLASS]",
        description="Write report.html (every explanation of a run, to see and to hear, in one file that needs no "
        "server) and corpus/ (means over time, frequency bands, layers and pairs of classes by emotion, as figures "
        "and as table.csv, and where emotions differ, as figures and as comparison.csv). speechshap explain does so "
        "at its end; this does it for a run that was stopped or moved, or of which some shards (speechshap explain "
        "--data.shard) are still missing.",
        exit_on_error=False,
    )
    parser.add_argument("folder", type=str, help="Folder of the run, or that of its explanations.")
    parser.add_argument(
        "--compare",
        type=str,
        metavar="CLASS,CLASS",
        help="Only draw where the evidence for these two predicted classes differs, to corpus/, with a test over "
        "speakers.",
    )
    parser.add_argument(
        "--utterances",
        type=int,
        default=MOST_SHOWN,
        help="Show so many utterances at most in report.html: of more, a random draw with as many of each class, right "
        "and wrong, as there are. Figures and tables are of all of them.",
    )
    options = parser.parse_args(arguments)
    folder = Path(options.folder)
    if not folder.is_dir():
        raise UserError(f"folder: no folder {folder}; give the folder of a run (runs/<experiment>/version_N)")
    inside = folder / EXPLANATIONS
    results = ResultsFolder(inside if inside.is_dir() else folder)
    with parameters_as_flags(lambda: {name: f"--{name}" for name in ("compare", "utterances")}):
        if options.compare is None:
            require_at_least(1, utterances=options.utterances)
            write_report_and_figures(results, options.utterances)
        else:
            _write_comparison(results, options.compare)


def _write_comparison(results: ResultsFolder, classes: str) -> None:
    """Write the figure and the table of two classes, and say where they are."""
    from speechshap.report.summary import write_pair

    names = [name.strip() for name in classes.split(",")]
    if len(names) != 2 or not all(names):
        raise UserError(f"`compare` takes two classes with a comma between them, such as angry,sad; got {classes!r}")
    path = write_pair(results, names[0], names[1], results.folder / "corpus")
    logger.info("comparison: %s and %s", path, path.with_suffix(".csv").name)


def write_report_and_figures(results: ResultsFolder, most: int = MOST_SHOWN) -> None:
    """Write the report and the figures of the corpus, and say where they are, and what is missing."""
    from speechshap.report import page
    from speechshap.report.summary import Summary

    if (told := told_of_shards(results)) is not None:
        logger.warning("%s", told)
    summary = Summary.read(results)
    pictures = summary.write(results.folder / "corpus")
    first, *more = page.write_report(results.folder, pictures, most=most, interactive=summary.interactive())
    others = f" and {counted(len(more), 'more file')} that it leads to" if more else ""
    logger.info("report: %s%s", first, others)
