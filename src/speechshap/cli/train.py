"""``speechshap train``: LightningCLI with the module, the data and the callbacks of this project."""

from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from speechshap.cli.arithmetic import add_matmul_precision, set_matmul_precision
from speechshap.cli.configs import config_paths
from speechshap.cli.flags import flags_of, parameters_as_flags, switched_on, switches_of, with_nearest_option
from speechshap.errors import UserError
from speechshap.training import AudioDataModule, ConfusionMatrixCallback, EmotionModule, read_checkpoint

# A run's files go to runs/<experiment>/version_N; --trainer.logger.init_args.name names the experiment.
_LOGGER = {
    "class_path": "pytorch_lightning.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "runs", "name": "emotion", "default_hp_metric": False},
}


def train(arguments: list[str], program: str = "speechshap train") -> None:
    """``speechshap train``: fit, validate or test.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    options: dict[str, list[type]] = {"data": [AudioDataModule], "model": [EmotionModule], "trainer": [pl.Trainer]}
    with parameters_as_flags(lambda: flags_of(**options)):
        try:
            TrainCLI(config_paths(switched_on(arguments, switches_of(**options))), program)
        except ArgumentError as error:
            raise with_nearest_option(error, flags_of(**options).values()) from None


class TrainCLI(LightningCLI):
    """``train.py``: LightningCLI with the module, the data and the callbacks of this project."""

    def __init__(self, arguments: list[str], program: str) -> None:
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
                "prog": program,
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
        add_matmul_precision(parser)
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer; the learning rate is monitored where there is a logger to keep it."""
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.logger is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.callbacks.append(LearningRateMonitor(logging_interval="step"))  # type: ignore[attr-defined]
        return trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Subcommands; ``explain.py`` takes the place of ``predict``."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse a checkpoint that cannot be read before anything else happens."""
        super().parse_arguments(parser, args)
        set_matmul_precision(self.config[self.config.subcommand].float32_matmul_precision)
        path = self.config[self.config.subcommand].get("ckpt_path")
        # Not the weights, which would stay in memory while training goes on.
        self._data_state = read_checkpoint(path).get(AudioDataModule.__qualname__, {}) if path else {}

    def before_fit(self) -> None:
        """Load the split of the checkpoint before the data are set up; Lightning restores it too late."""
        self.datamodule.load_state_dict(self._data_state)

    def before_validate(self) -> None:
        """Refuse to evaluate a network that nobody trained."""
        if not self.config[self.config.subcommand].get("ckpt_path"):
            raise UserError(
                "`ckpt_path` is missing: without it a network with random weights would be evaluated; give a "
                "checkpoint that fit has written"
            )
        self.before_fit()

    before_test = before_validate
