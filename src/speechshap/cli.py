"""What ``train.py`` and ``explain.py`` share: the command line, and how mistakes are told."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from speechshap.callbacks import ConfusionMatrixCallback
from speechshap.data import AudioDataModule
from speechshap.errors import UserError
from speechshap.models import EmotionModule

RUNS_FOLDER = "runs"

# Told by the libraries to their developers; a user can do nothing about them.
_IRRELEVANT_WARNINGS = (
    ".*does not have many workers.*",
    ".*The number of training batches.*",
    ".*treespec, LeafSpec.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*was not part of the given config.*",
    ".*mismatched key_padding_mask and attn_mask.*",
    ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",
)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a command: a mistake of the user in one line, anything else too unless ``--debug`` asks for the traceback.

    Args:
        main: The command; takes the arguments without ``--debug``.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _quieten(debug)
    try:
        main(arguments)
    except KeyboardInterrupt:
        sys.exit("interrupted; what was written so far is whole, and the same command goes on from there")
    except Exception as error:
        if debug:
            raise
        mistake = _user_error(error)
        if mistake is not None:
            sys.exit(f"error: {mistake}")
        sys.exit(f"error: {type(error).__name__}: {_one_line(error)} (the same command with --debug tells where)")


def _user_error(error: BaseException | None) -> str | None:
    """Message of the UserError that an exception is or wraps."""
    while error is not None:
        if isinstance(error, UserError):
            return _one_line(error)
        error = error.__cause__ or error.__context__
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _quieten(debug: bool) -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("speechshap").setLevel(logging.INFO)
    if debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    for pattern in _IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", pattern)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def run_logger(save_dir: str = RUNS_FOLDER, name: str = "emotion", version: str | None = None) -> dict[str, Any]:
    """Configuration of the TensorBoard logger: a run's files go to ``save_dir/name/version_N``."""
    init_args = {"save_dir": save_dir, "name": name, "version": version, "default_hp_metric": False}
    return {"class_path": "pytorch_lightning.loggers.TensorBoardLogger", "init_args": init_args}


class TrainCLI(LightningCLI):
    """``train.py``: LightningCLI with the module, the data and the callbacks of this project."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(
            EmotionModule,
            AudioDataModule,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"logger": run_logger(), "max_epochs": 30, "gradient_clip_val": 1.0},
            args=arguments,
            auto_configure_optimizers=False,
            parser_kwargs={"prog": "train.py", "description": "Train, validate or test a speech emotion classifier."},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add checkpoints, early stopping and the confusion matrix; take the classes from the data."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/uar",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.save_last": True,
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults(
            {"early_stopping.monitor": "val/uar", "early_stopping.mode": "max", "early_stopping.patience": 10}
        )
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer, with what every run has."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(ConfusionMatrixCallback())
        if trainer.logger is not None:
            trainer.callbacks.append(LearningRateMonitor(logging_interval="step"))
        return trainer
