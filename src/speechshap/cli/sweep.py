"""``speechshap sweep``: look for the options of a training that validate best."""

import copy
import logging
import shlex
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser
from tqdm.auto import tqdm

from speechshap.cli.many_runs import ManyRunsCLI, options_of_run
from speechshap.cli.mistakes import in_plain_words
from speechshap.cli.train import arguments_of_training, training_flags
from speechshap.cli.trial_run import in_words, run_trial, with_values
from speechshap.errors import UserError, require_at_least
from speechshap.report.sweep import SUMMARY, write_summary
from speechshap.training.metrics import RECALL
from speechshap.training.options_folder import choose_folder
from speechshap.training.search_space import OF_HEAD, SearchSpace, check_space
from speechshap.training.sweep import Sweep

logger = logging.getLogger(__name__)

_OWN = ("trials", "search")

_HIDDEN = {"trials": 1}
"""Options that decide nothing of a trial."""


def sweep(arguments: list[str], program: str = "speechshap sweep") -> None:
    """``speechshap sweep``: look for the options of a training that validate best.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    with arguments_of_training(arguments, _flags) as given:
        _sweep(OptionsCLI(given, program), arguments, program)


def _flags() -> dict[str, str]:
    flags = {**training_flags(), **{name: f"--{name}" for name in _OWN}}
    del flags["ckpt_path"]  # each trial starts from its beginning
    return flags


class OptionsCLI(ManyRunsCLI):
    """Options of ``speechshap train fit``, and of a sweep."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make the parser."""
        about = (
            "Train with other options again and again, and say which validate best: Optuna chooses what to try next, "
            "and ends early what falls behind. Takes every option of speechshap train fit. On a frozen backbone, "
            "features are kept, so that a trial takes seconds. Labels of the test split are not used. Files go to "
            "runs/<experiment>/sweep_N: a run for each trial (checkpoints of the best alone), sweep.md, sweep.csv, "
            "and Optuna's study.journal. The same command goes on where it was interrupted, or with more --trials; "
            "several may run at once, and share the work."
        )
        usage = f"{kwargs['prog']} --config ravdess --data.root ~/RAVDESS --trials 50"
        return super().init_parser(**{**kwargs, "description": about, "usage": usage})

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is asked of a sweep before all else."""
        parser.add_argument("--trials", type=int, default=30, help="How many trainings there are in all.")
        parser.add_argument(
            "--search",
            type=SearchSpace,
            default=OF_HEAD,
            help="What is tried: by the name of an option a list of values, or a range with low, high and log, such as "
            '{"model.learning_rate": {"low": 1e-5, "high": 1e-3, "log": true}, "model.hidden_units": [0, 256]}; also '
            "in a file of --config.",
        )
        super().add_default_arguments_to_parser(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what cannot be searched."""
        super().parse_arguments(parser, args)
        require_at_least(1, trials=self.config.trials)
        if not self.config.data.val_fraction:
            raise UserError("`val_fraction` is 0, but trials are compared by validation; give a share above 0")
        check_space(self.config.search)
        options = options_of_run(self.fit_options(_OWN), self.experiment, 0)
        for name, values in self.config.search.items():
            for value in values if isinstance(values, list) else (values["low"], values["high"]):
                self._refuse_value(parser, with_values(copy.deepcopy(options), {name: value}), name, value)

    def _refuse_value(self, parser: LightningArgumentParser, options: dict[str, Any], name: str, value: Any) -> None:
        """Raise a UserError for a value that an option does not take."""
        group = name.partition(".")[0]
        try:
            parser.parse_object({group: options[group]}, self.config)
        except ArgumentError as error:
            raise UserError(f"`search`: {name} cannot be {value!r}: {in_plain_words(str(error))}") from error


def _sweep(asked: OptionsCLI, arguments: Sequence[str], program: str) -> None:
    options = asked.config
    trials = Sweep(
        choose_folder(asked.experiment, "sweep", asked.text(_HIDDEN)), options.search, options.seed_everything
    )
    fit, command = asked.fit_options(_OWN), [*program.split(), *arguments]
    with tqdm(total=options.trials, desc="sweep", unit="trial", leave=False) as bar:
        is_over = False
        while not is_over:
            with trials.next_trial(options.trials) as trial:
                if trial is not None:
                    run_trial(trials, trial, fit, program, command)
            is_over = trial is None
            bar.n = len(trials.ended()) + len(trials.failed())
            best = trials.best()
            bar.set_postfix_str("" if best is None else f"best {RECALL} {best.value:.3f}")
    with trials.alone():
        write_summary(trials, shlex.join(command))
    best = trials.best()
    if best is None:
        reasons = ", ".join(dict.fromkeys(trials.failed().values()))
        raise UserError(f"no training came to its end ({reasons}); search other values")
    chosen = trials.described(best)
    logger.info(
        "best of %d trainings: %s %.3f, %s, with %s\nsweep: %s",
        len(trials.ended()) + len(trials.failed()), RECALL, best.value, chosen.folder, in_words(chosen.options),
        trials.folder / SUMMARY,
    )  # fmt: skip
