"""``speechshap train``: LightningCLI with the module, the data and the callbacks of this project."""

import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins import CheckpointIO

from speechshap.cli.arithmetic import add_matmul_precision, set_matmul_precision
from speechshap.cli.checkpoint_data import take_fold
from speechshap.cli.configs import config_paths
from speechshap.cli.corpus import take_planted_corpus
from speechshap.cli.flags import add_nearest_option, flags_of, parameters_as_flags, switched_on, switches_of
from speechshap.cli.program import is_interruption
from speechshap.cli.run_files import SaveConfig, logger_of_run
from speechshap.errors import UserError
from speechshap.training import (
    AudioDataModule,
    ConfusionMatrixCallback,
    EmotionModule,
    EpochSeed,
    Hyperparameters,
    RunCheckpoint,
    SaveModelCard,
    SavePredictions,
    WholeCheckpointIO,
    find_checkpoint,
    read_checkpoint,
)
from speechshap.training.checkpoints import CHECKPOINTS, run_of
from speechshap.training.metrics import RECALL
from speechshap.training.monitors import refuse_unknown_monitors, without_validation
from speechshap.training.run_folder import guarded_run, run_folder
from speechshap.training.trainer_options import trainer_mistakes

logger = logging.getLogger(__name__)

# A run's files go to runs/<experiment>/version_N; --trainer.logger.init_args.name names the experiment.
_LOGGER = {
    "class_path": "pytorch_lightning.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "runs", "name": "emotion", "default_hp_metric": False},
}

_OPTIONS: dict[str, list[type]] = {"data": [AudioDataModule], "model": [EmotionModule], "trainer": [pl.Trainer]}

_LARGEST_SEED = 2**32 - 1


def train(arguments: list[str], program: str = "speechshap train") -> None:
    """``speechshap train``: fit, validate or test.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    if arguments[:1] == ["predict"]:
        explain = program.replace("train", "explain")
        raise UserError(
            f"{program} has no predict: {explain} predicts, and explains each prediction; for instance {explain} "
            "--ckpt_path runs/emotion/version_0 --data.files recordings"
        )
    with arguments_of_training(arguments, training_flags) as given:
        TrainCLI(given, program, command=[*program.split(), *arguments])


def training_flags() -> dict[str, str]:
    """Flags of the options of a training, by the names of the parameters."""
    return flags_of(**_OPTIONS)


@contextmanager
def arguments_of_training(arguments: Sequence[str], flags: Callable[[], Mapping[str, str]]) -> Iterator[list[str]]:
    """Arguments with the paths of configurations and the values of switches; within, errors speak of flags.

    Args:
        arguments: As they were typed.
        flags: By the names of the parameters, asked for once there is an error.
    """
    with parameters_as_flags(flags):
        given = config_paths(switched_on(arguments, switches_of(**_OPTIONS)))
        try:
            yield given
        except ArgumentError as error:
            add_nearest_option(error, flags().values(), given)
            raise


def check_options(options: Namespace) -> None:
    """Refuse options that are for another command, and set the arithmetic.

    Raises:
        UserError: There are files to explain, or the seed is out of range.
    """
    set_matmul_precision(options.float32_matmul_precision)
    if options.data.files:
        raise UserError("`files` are for explaining; training and testing take a corpus as `root`")
    if not 0 <= options.seed_everything <= _LARGEST_SEED:
        raise UserError(f"--seed_everything is {options.seed_everything}; expected 0 to {_LARGEST_SEED}")


def _without_checkpoint(command: Sequence[str]) -> list[str]:
    """A command without the checkpoint that it goes on from: the training is that of the command which began it."""
    return [
        word
        for before, word in pairwise(["", *command])
        if before != "--ckpt_path" and word.partition("=")[0] != "--ckpt_path"
    ]


class TrainCLI(LightningCLI):
    """``speechshap train``: LightningCLI with the module, the data and the callbacks of this project.

    Args:
        arguments: Of the command line, or options by name.
        program: What was called.
        run: Whether there are subcommands, one of which is run.
        command: As it was given, for the model card.
    """

    def __init__(
        self, arguments: list[str] | dict[str, Any], program: str, run: bool = True, command: Sequence[str] = ()
    ) -> None:
        self._command = _without_checkpoint(command)
        super().__init__(
            EmotionModule,
            AudioDataModule,
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            trainer_defaults={
                "logger": _LOGGER,
                "max_epochs": 30,
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 5,
            },
            args=arguments,
            run=run,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": program,
                "description": "Train, validate or test a speech emotion classifier.",
                "exit_on_error": False,
                "allow_abbrev": False,
                **{name: {"exit_on_error": False, "allow_abbrev": False} for name in self.subcommands()},
            },
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that every run has, and take the classes from the data."""
        whole_epochs = {"enable_version_counter": False, "save_on_train_epoch_end": True}
        best = {"filename": "best", "monitor": RECALL, "mode": "max"}
        # The option save_last of the one above keeps the latest of the best; to resume takes the latest of all.
        last = {"filename": "last"}
        for group, defaults in (("checkpoint", best), ("last_checkpoint", last)):
            parser.add_lightning_class_args(RunCheckpoint, group)
            options = {**whole_epochs, **defaults}
            parser.set_defaults({f"{group}.{name}": value for name, value in options.items()})
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults(
            {"early_stopping.monitor": RECALL, "early_stopping.mode": "max", "early_stopping.patience": 10}
        )
        parser.add_lightning_class_args(ConfusionMatrixCallback, "confusion_matrix")
        add_matmul_precision(parser)
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer, with the callbacks and the files that the run is to have."""
        options = self._get(self.config_init, "trainer")
        plugins = options.plugins if isinstance(options.plugins, list) else [options.plugins] if options.plugins else []
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins = [*plugins, WholeCheckpointIO()]
        # Lightning refuses to be told false with callbacks that save checkpoints; they are removed below.
        own = {"plugins": plugins, "logger": self._logger(), "enable_checkpointing": None}
        with trainer_mistakes(options):
            trainer = super().instantiate_trainer(**own, **kwargs)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks += [EpochSeed(), Hyperparameters(), SavePredictions(), SaveModelCard(self._command)]
        if not self._get(self.config, "data").val_fraction:
            without_validation(callbacks)
            if self.subcommand == "fit":
                logger.info("no validation: the last epoch counts as the best")
        if trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        has_no_folder = run_folder(trainer) is None
        if self.subcommand == "fit" and (options.enable_checkpointing is False or has_no_folder):
            callbacks[:] = [
                callback for callback in callbacks if not isinstance(callback, RunCheckpoint) or callback.dirpath
            ]
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                logger.warning("no checkpoint is kept; `logger` and `default_root_dir` name folders for them")
        return trainer

    def _logger(self) -> Any:
        """The logger that the options describe, or one in the folder of the run that goes on or is tested."""
        given = self._get(self.config_init, "trainer").logger
        if self.subcommand == "validate" or self._checkpoint is None:
            return given
        goes_on = self.subcommand == "fit"
        options = self._get(self.config, "trainer").logger
        default = {name: _LOGGER["init_args"][name] for name in ("save_dir", "name")}  # type: ignore[index]
        of_run = logger_of_run(given, options, default, self._checkpoint, self._steps if goes_on else None)
        if goes_on and of_run is given:
            logger.info("the training goes on in a new folder, with a copy of the best checkpoint so far")
        elif goes_on:
            self.config[self.subcommand].ckpt_path = None  # config.yaml of the run starts it from its beginning
        return of_run

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Subcommands; ``speechshap explain`` takes the place of ``predict``."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse a checkpoint that cannot be read before anything else happens."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand]
        check_options(options)
        self._checkpoint: Path | None = None
        self._data_state: dict[str, Any] = {}
        self._model_options: dict[str, Any] = {}
        self._steps = 0
        if options.get("ckpt_path"):
            self._checkpoint = find_checkpoint(options.ckpt_path, "last" if self.config.subcommand == "fit" else "best")
            options.ckpt_path = str(self._checkpoint)
            # Not the weights, which would stay in memory while training goes on.
            checkpoint = read_checkpoint(self._checkpoint)
            self._data_state = checkpoint.get(AudioDataModule.__qualname__, {})
            self._steps = checkpoint["global_step"]
            self._model_options = checkpoint["hyper_parameters"]
            self._take_corpus(options.data, checkpoint.get("datamodule_hyper_parameters", {}), self._checkpoint)

    def _take_corpus(self, data: Namespace, saved: Mapping[str, Any], checkpoint: Path) -> None:
        """Take the corpus of the checkpoint where the options name none."""
        if data.root is not None:
            return
        if data.corpus == "auto":
            for name in ("root", "corpus", "audio_root", "label_column", "speaker_column"):
                data[name] = saved.get(name, data[name])
            take_fold(data, saved, self._parser(self.config.subcommand))
        take_planted_corpus(data, checkpoint)

    def _parse_ckpt_path(self) -> None:
        """Take the options of the model from the checkpoint, which Lightning would read once more for them."""
        options = {name: value for name, value in self._model_options.items() if name != "_instantiator"}
        if options:
            self.config = self.parser.parse_object({self.config.subcommand: {"model": options}}, self.config)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; a run that fails leaves no empty folder behind, and one that is interrupted tells how to go on."""
        try:
            with guarded_run(self.trainer, trains=subcommand == "fit"):
                super()._run_subcommand(subcommand)
                self._tell_run()
        except BaseException as error:
            if is_interruption(error):
                self.end_interrupted()
            raise

    def end_interrupted(self) -> NoReturn:
        """End a run that was interrupted."""
        sys.exit(f"interrupted; {self._way_on()}")

    def _tell_run(self) -> None:
        """Say where the run is, and what comes next."""
        folder = run_folder(self.trainer)  # asked for by all processes
        if folder is None or not self.trainer.is_global_zero:
            return
        explain = self.parser.prog.replace("train", "explain")
        has_best = self.subcommand == "fit" and (folder / CHECKPOINTS / "best.ckpt").is_file()
        logger.info(
            "run: %s%s",
            folder,
            f"; {explain} --ckpt_path {shlex.quote(str(folder))} explains its predictions" if has_best else "",
        )

    def _way_on(self) -> str:
        """What to do after an interruption."""
        if self.subcommand != "fit":
            return f"nothing is kept of a {self.subcommand} that has not ended: give the same command again"
        saved = [Path(callback.best_model_path) for callback in self.trainer.checkpoint_callbacks
                 if isinstance(callback, ModelCheckpoint) and callback.best_model_path]  # fmt: skip
        last = next((path for path in saved if path.name == "last.ckpt" and path.is_file()), None)
        if last is None:
            return "no epoch was whole: the same command starts again"
        return f"the same command with --ckpt_path {run_of(last) or last} goes on after the last epoch that was saved"

    def before_fit(self) -> None:
        """Load the split of the checkpoint before the data are set up; Lightning restores it too late."""
        options = self._parser(self.subcommand).callback_keys
        names = {self._get(self.config_init, option): f"--{option}.monitor" for option in options}
        refuse_unknown_monitors(self.trainer, self.model.logged, names)
        self.datamodule.load_state_dict(self._data_state)

    def before_validate(self) -> None:
        """Refuse to evaluate a network that nobody trained."""
        if self._checkpoint is None:
            raise UserError(
                "`ckpt_path` is missing: without it a network with random weights would be evaluated; give a "
                "checkpoint that fit has written"
            )
        self.datamodule.load_state_dict(self._data_state)

    before_test = before_validate
