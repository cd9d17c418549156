"""``speechshap cross-validate``: train and test every fold of a corpus."""

import logging
import shlex
from collections.abc import Sequence
from typing import Any, Literal

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from speechshap.cli.fold_jobs import run_in_turn, run_jobs
from speechshap.cli.many_runs import ManyRunsCLI, without_hidden
from speechshap.cli.train import arguments_of_training, training_flags
from speechshap.data.augmentation import Augmentation
from speechshap.errors import UserError, require_at_least
from speechshap.fingerprint import fingerprint
from speechshap.report.cross_validation import SUMMARY, short_text, write_summary
from speechshap.training import AudioDataModule, read_checkpoint
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.cross_validation import CrossValidation, Results
from speechshap.training.hyperparameters import OF_DATA, OF_TRAINER, comparable
from speechshap.training.options_folder import choose_folder

logger = logging.getLogger(__name__)

_OWN = ("folds", "seeds", "jobs", "only")
_OF_TRAINING = ("augment", "transform")
"""Options of the data that do not decide which recordings there are."""

_HIDDEN = {"jobs": 1, "only": None}
"""Options that decide nothing of the results."""


def cross_validate(arguments: list[str], program: str = "speechshap cross-validate", is_job: bool = False) -> None:
    """``speechshap cross-validate``: train and test every fold of a corpus.

    Args:
        arguments: Of the command line.
        program: What was called.
        is_job: Whether another process called it, which shows what is done.
    """
    with arguments_of_training(arguments, _flags) as given:
        _cross_validate(OptionsCLI(given, program), arguments, program, is_job)


def _flags() -> dict[str, str]:
    own = {name: f"--{name}" for name in _OWN}
    flags = {**training_flags(), **own, "fold": own["only"]}
    del flags["ckpt_path"]  # each fold starts from its beginning
    return flags


class OptionsCLI(ManyRunsCLI):
    """Options of ``speechshap train fit``, and of cross-validation."""

    at_once = "`jobs` trains several folds at once"

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make the parser."""
        about = (
            "Train and test a classifier on every fold of a corpus, so that each utterance is tested once, by a "
            "network that did not hear it (nor its speaker, with folds by speaker), and say what all tests say "
            "together. Takes every option of speechshap train fit. Files go to runs/<experiment>/cross_validation_N: "
            "a run for each fold and seed, cross_validation.md and .csv, confusion_matrix.png, and TensorBoard's "
            "entries. The same command goes on where it was interrupted; other options make the next folder."
        )
        usage = f"{kwargs['prog']} --config ravdess --data.root ~/RAVDESS --folds 5 --seeds 3 --jobs 2"
        return super().init_parser(**{**kwargs, "description": about, "usage": usage})

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is asked of a cross-validation before all else."""
        parser.add_argument(
            "--folds",
            type=int | Literal["speaker", "session", "emobox"],
            default=5,
            help="A number of folds by speaker, with as many utterances of each class as possible (by utterance with "
            "--data.split_by utterance); speaker: each speaker is a fold; session: each session of the corpus is; "
            "emobox: the folders fold_1, fold_2, ... of EmoBox in --data.root.",
        )
        parser.add_argument(
            "--seeds",
            type=int,
            default=1,
            help="Train each fold so often, with the seeds seed_everything, seed_everything + 1, ...; the folds are "
            "the same for all of them (data.split_seed changes the folds).",
        )
        parser.add_argument("--jobs", type=int, default=1, help="Train so many folds at once, each in a process.")
        parser.add_argument(
            "--only",
            type=int | None,
            default=None,
            help="Train this fold alone, counted from 1 (for job arrays: several machines may work in a folder); the "
            "summary is of what is there.",
        )
        super().add_default_arguments_to_parser(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what would have the folds disturb each other."""
        super().parse_arguments(parser, args)
        if self.config.data.folds is not None or self.config.data.fold is not None:
            raise UserError(
                "--data.folds and --data.fold are for speechshap train; here --folds makes the folds, and --only names "
                "one of them"
            )
        require_at_least(1, seeds=self.config.seeds, jobs=self.config.jobs, only=self.config.only)


def _cross_validate(asked: OptionsCLI, arguments: Sequence[str], program: str, is_job: bool) -> None:
    options = asked.config
    only: int | None = options.only
    data = {name: value for name, value in options.data.as_dict().items() if name not in _OF_TRAINING}
    corpus = AudioDataModule(**{**data, "folds": options.folds, "fold": 1})
    num_folds = corpus.num_folds
    if only is not None and only > num_folds:
        raise UserError(f"`only` is {only}; expected a fold from 1 to {num_folds}")
    folder = choose_folder(
        asked.experiment, "cross_validation", f"{asked.text(_HIDDEN)}{_contents(corpus, options.folds)}"
    )
    seeds = range(options.seed_everything, options.seed_everything + options.seeds)
    validation = CrossValidation(folder, num_folds, seeds)
    runs = [run for run in validation.runs(only) if not validation.is_finished(run)]
    command = [*program.split(), *without_hidden(arguments, _HIDDEN)]
    try:
        if len(runs) > 1 and options.jobs > 1 and only is None:
            run_jobs(validation, runs, options.jobs, arguments, program)
        else:
            fit = asked.fit_options(_OWN)
            fit.data.folds = options.folds
            run_in_turn(validation, runs, fit, program, command, is_job)
    except BaseException:
        validation.remove_unstarted()
        raise
    if is_job:
        return
    with validation.summarizing():  # who summarizes last has seen the tests of all
        results = validation.results()
        write_summary(validation, results, shlex.join(command), _parameters(validation, results, options))
    logger.info("\n%s\n\ncross-validation: %s", short_text(results), folder / SUMMARY)


def _contents(corpus: AudioDataModule, folds: int | str) -> str:
    """A line for what is divided into folds: another corpus, or a larger one, is another cross-validation."""
    if folds == "emobox":
        return ""  # its files say who is in which fold
    listed = [(each.id, each.label, each.speaker, each.session) for each in corpus.catalogue.listing.utterances]
    return f"# corpus: {fingerprint(sorted(map(str, listed)))}\n"


def _parameters(validation: CrossValidation, results: Results, options: Namespace) -> dict[str, Any]:
    """Hyperparameters of the summary: what all folds have in common, as their checkpoints have it."""
    best = validation.folder_of(next(iter(results.tests))) / CHECKPOINTS / "best.ckpt"
    if not best.is_file():
        return {}
    checkpoint = read_checkpoint(best)
    asked = {**options.data.as_dict(), "augment": Augmentation(**options.data.augment.as_dict())}
    data = {**checkpoint["datamodule_hyper_parameters"], **{name: asked[name] for name in OF_DATA}}
    others = {name: options.trainer[name] for name in OF_TRAINER}
    return comparable(checkpoint["hyper_parameters"], {**data, "fold": "all"}, {**others, "seed": "all"})
