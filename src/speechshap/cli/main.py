"""What ``train.py`` and ``explain.py`` share: the command line, and how mistakes are told."""

import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import SIGTERMException

from speechshap.attribution import SpectralGrid
from speechshap.cli.allocator import keep_freed_memory
from speechshap.errors import UserError
from speechshap.explaining import GradientSHAPCallback
from speechshap.results.folder import ResultsFolder
from speechshap.training import AudioDataModule, ConfusionMatrixCallback, EmotionModule
from speechshap.training.datamodule import CORPUS_OPTIONS, SPLIT_OPTIONS

logger = logging.getLogger(__name__)

# A run's files go to runs/<experiment>/version_N; --trainer.logger.init_args.name names the experiment.
_LOGGER = {
    "class_path": "pytorch_lightning.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "runs", "name": "emotion", "default_hp_metric": False},
}

# Told by the libraries to their developers; a user can do nothing about them.
_IRRELEVANT_WARNINGS = (
    ".*does not have many workers.*",
    ".*The number of training batches.*",
    ".*treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LightningCLI's args parameter is intended.*",
    ".*The dirpath has changed from.*",
    ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",
)


def run(main: Callable[[list[str]], None], interrupted: str = "interrupted") -> None:
    """Run a command: a mistake of the user in one line, anything else too unless ``--debug`` asks for the traceback.

    Args:
        main: The command; takes the arguments without ``--debug``.
        interrupted: What to say after Ctrl-C or SIGTERM.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _quieten(debug)
    keep_freed_memory()
    try:
        main(arguments)
    except (KeyboardInterrupt, SIGTERMException):
        sys.exit(interrupted)
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into an exit of its own.
        if isinstance(exit_.__context__, KeyboardInterrupt):
            sys.exit(interrupted)
        raise
    except ArgumentError as error:
        sys.exit(f"error: {_one_line(error)} (--help lists the options)")
    except Exception as error:
        if debug:
            raise
        mistake = _user_error(error)
        if mistake is not None:
            sys.exit(f"error: {mistake}")
        sys.exit(f"error: {type(error).__name__}: {_one_line(error)} (the same command with --debug tells where)")


def _quieten(debug: bool) -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("speechshap").setLevel(logging.INFO)
    if debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(lambda record: "Tip:" not in str(record.msg))
    for pattern in _IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", pattern)


def _user_error(error: BaseException | None) -> str | None:
    """Message of the UserError that an exception is or wraps."""
    while error is not None:
        if isinstance(error, UserError):
            return _one_line(error)
        error = error.__cause__ or error.__context__
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class TrainCLI(LightningCLI):
    """``train.py``: LightningCLI with the module, the data and the callbacks of this project."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(
            EmotionModule,
            AudioDataModule,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "logger": _LOGGER,
                "max_epochs": 30,
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 5,
            },
            args=arguments,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": "train.py",
                "description": "Train, validate or test a speech emotion classifier.",
                "exit_on_error": False,
                **{name: {"exit_on_error": False} for name in self.subcommands()},
            },
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that every run has, and take the classes from the data."""
        whole_epochs = {"enable_version_counter": False, "save_on_train_epoch_end": True}
        best = {"filename": "best", "monitor": "val/uar", "mode": "max"}
        # The option save_last of the one above keeps the latest of the best; to resume takes the latest of all.
        last = {"filename": "last"}
        for group, defaults in (("checkpoint", best), ("last_checkpoint", last)):
            parser.add_lightning_class_args(ModelCheckpoint, group)
            options = {**whole_epochs, **defaults}
            parser.set_defaults({f"{group}.{name}": value for name, value in options.items()})
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults(
            {"early_stopping.monitor": "val/uar", "early_stopping.mode": "max", "early_stopping.patience": 10}
        )
        parser.add_lightning_class_args(ConfusionMatrixCallback, "confusion_matrix")
        _add_matmul_precision(parser)
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer; the learning rate is monitored where there is a logger to keep it."""
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.logger is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.callbacks.append(LearningRateMonitor(logging_interval="step"))  # type: ignore[attr-defined]
        return trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """What can be done; explaining has a script of its own."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse a checkpoint that cannot be read before anything else happens."""
        super().parse_arguments(parser, args)
        _set_matmul_precision(self.config[self.config.subcommand].float32_matmul_precision)
        if path := self.config[self.config.subcommand].get("ckpt_path"):
            read_checkpoint(Path(path))


def _add_matmul_precision(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--float32_matmul_precision",
        type=Literal["highest", "high"],
        default="highest",
        help="Arithmetic of single-precision products and convolutions on a GPU: high rounds their factors to TF32, "
        "which is faster.",
    )


def _set_matmul_precision(precision: Literal["highest", "high"]) -> None:
    torch.set_float32_matmul_precision(precision)
    # PyTorch has convolutions in TF32 unless told otherwise, whose factors keep three decimal digits.
    torch.backends.cudnn.allow_tf32 = precision == "high"


def train(arguments: list[str]) -> None:
    """``train.py``: fit, validate or test."""
    TrainCLI(arguments)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that ``train.py`` wrote; only plain data and tensors are unpickled.

    Raises:
        UserError: The file is missing, cut short, or not such a checkpoint.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path: no file {path}; train.py fit writes checkpoints/best.ckpt into its run folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            f"--ckpt_path: {path} cannot be read as a checkpoint; it is cut short or something else, copy it again"
        ) from error
    if not isinstance(checkpoint, dict) or "classes" not in checkpoint.get("hyper_parameters", {}):
        raise UserError(f"--ckpt_path: {path} is not a checkpoint of this project; train one with train.py fit")
    return checkpoint


_TRAINER_OPTIONS = {"accelerator", "devices", "num_nodes", "strategy", "precision", "inference_mode", "deterministic"}


def explain(arguments: list[str]) -> None:
    """``explain.py``: predict with a checkpoint and explain every prediction.

    Model, corpus and split are the checkpoint's; what is said on the command line wins.
    """
    parser = ArgumentParser(
        prog="explain.py",
        usage="explain.py --ckpt_path runs/<experiment>/version_N/checkpoints/best.ckpt [options]",
        description="Explain the predictions of a trained classifier with GradientSHAP: the test split of the corpus "
        "that it was trained on, another corpus (--data.root), or single files (--data.files).",
        exit_on_error=False,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="YAML file with any of these options.")
    parser.add_argument("--ckpt_path", type=str, required=True, help="Checkpoint that train.py wrote.")
    parser.add_class_arguments(AudioDataModule, "data", skip={"files", "classes", "transform"})
    parser.add_argument(
        "--data.files", type=str, nargs="+", help="Sound files to explain, without labels, instead of a corpus."
    )
    parser.add_class_arguments(GradientSHAPCallback, "explain")
    for_training = set(signature(pl.Trainer).parameters) - _TRAINER_OPTIONS
    parser.add_class_arguments(pl.Trainer, "trainer", skip=for_training)
    parser.add_argument(
        "--report",
        type=bool,
        default=True,
        help="Write report.html and the figures of the corpus when all is explained.",
    )
    _add_matmul_precision(parser)
    # Parts are written after each batch: a small one loses little when the run is stopped.
    parser.set_defaults({"data.batch_size": 4})
    given = parser.parse_args(arguments)
    path = Path(given.ckpt_path)
    checkpoint = read_checkpoint(path)
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    names = SPLIT_OPTIONS if given.data.root is not None else (*SPLIT_OPTIONS, *CORPUS_OPTIONS)
    parser.set_defaults({f"data.{name}": saved[name] for name in names if name in saved})
    options = parser.parse_args(arguments)
    options.explain.output_dir = options.explain.output_dir or _run_folder(path)
    _set_matmul_precision(options.float32_matmul_precision)

    module = _load_module(path)
    data = AudioDataModule(**options.data.as_dict(), classes=module.classes)
    data.load_state_dict(checkpoint.get(AudioDataModule.__qualname__, {}))
    explaining = options.explain.as_dict()
    if explaining["spectrum"] is not None:
        explaining["spectrum"] = _spectral_grid(explaining["spectrum"])
    callback = GradientSHAPCallback(**explaining)
    trainer = pl.Trainer(
        **options.trainer.as_dict(),
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,  # the callback has one, which counts utterances
        default_root_dir=options.explain.output_dir,
    )
    trainer.predict(module, data, return_predictions=False)
    if options.report and trainer.is_global_zero and callback.results.parts:
        _write_report(callback.results)


def report(arguments: list[str]) -> None:
    """``report.py``: show what ``explain.py`` has written."""
    parser = ArgumentParser(
        prog="report.py",
        usage="report.py runs/<experiment>/version_N",
        description="Write report.html (every explanation of a run, to see and to hear, in one file that needs no "
        "server) and corpus/ (means over time, frequency bands, layers and pairs of classes by emotion, as figures "
        "and as table.csv). explain.py does so at its end; this does it for a run that was stopped or moved.",
        exit_on_error=False,
    )
    parser.add_argument("folder", type=str, help="Folder of the run, or its explanations.")
    folder = Path(parser.parse_args(arguments).folder)
    if not folder.is_dir():
        raise UserError(f"folder: no folder {folder}; give the folder of a run (runs/<experiment>/version_N)")
    inside = folder / "explanations"
    results = ResultsFolder(inside if inside.is_dir() else folder)
    _write_report(results)


def _write_report(results: ResultsFolder) -> None:
    from speechshap.report.page import write_report
    from speechshap.report.summary import Summary

    pictures = Summary.read(results).write(results.folder / "corpus")
    first, *more = write_report(results.folder, pictures)
    logger.info("report: %s%s", first, f" and {len(more)} more files that it leads to" if more else "")


def _spectral_grid(options: dict[str, Any]) -> SpectralGrid:
    try:
        return SpectralGrid(**options)
    except ValueError as error:
        raise UserError(f"--explain.spectrum: {error}") from error


def _load_module(path: Path) -> EmotionModule:
    try:
        return EmotionModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise UserError(
            f"--ckpt_path: the weights of {path} do not fit the model that it describes; if its head was given in "
            "Python, explain it there, with GradientSHAPCallback"
        ) from error


def _run_folder(checkpoint: Path) -> str:
    """Folder of the run that a checkpoint belongs to: explanations go beside ``checkpoints/``."""
    folder = checkpoint.absolute().parent
    return str(folder.parent if folder.name == "checkpoints" else folder)
