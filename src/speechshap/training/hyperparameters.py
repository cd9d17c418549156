"""Hyperparameters of a training for TensorBoard, where its runs are compared by them."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from speechshap.data.augmentation import Augmentation
from speechshap.training.datamodule import AudioDataModule
from speechshap.training.metrics import RECALL

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

BEST = f"{RECALL}_best"
"""The best validation recall so far; TensorBoard's table of runs shows the latest value of a curve."""

METRICS = (BEST, "test/uar")
"""What TensorBoard's table of runs has of each; the second when the run has been tested."""

OF_DATA = ("batch_size", "max_utterances", "augment")
OF_TRAINER = ("max_epochs", "precision", "accumulate_grad_batches", "gradient_clip_val")
"""Options beside those of the module, and those that a checkpoint keeps of the data."""

_FIRST = ("backbone", "freeze", "head", "learning_rate", "pooling")
"""Options that TensorBoard shows first; the table has five until others are ticked."""

_LEFT_OUT = ("backbone_config", "_instantiator", "classes")


class Hyperparameters(pl.Callback):
    """Log the hyperparameters of a fit with its best validation recall to loggers of TensorBoard.

    TensorBoard shows them as HPARAMS, where the test recall of runs that were tested is beside it.
    """

    def __init__(self) -> None:
        self._best = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The best score, for a training that is resumed."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._best = state_dict["best"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the hyperparameters."""
        found = hyperparameters(trainer, pl_module)
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TensorBoardLogger):
                write_hyperparameters(logger.experiment, found)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the best score so far."""
        score = trainer.callback_metrics.get(RECALL)
        if trainer.sanity_checking or score is None or trainer.state.fn != "fit":
            return
        self._best = max(self._best, float(score))
        for logger in trainer.loggers:
            logger.log_metrics({BEST: self._best}, max(0, trainer.global_step - 1))  # that of the epoch's metrics


def write_hyperparameters(writer: Any, parameters: Mapping[str, bool | int | float | str]) -> None:
    """Write hyperparameters to the events of TensorBoard, with the names of the metrics that belong to them.

    Lightning's ``log_hyperparams`` would begin the curves of the metrics with made-up values.

    Args:
        writer: ``torch.utils.tensorboard.SummaryWriter``.
        parameters: By name.
    """
    for summary in hyperparameter_summaries(parameters):
        writer._get_file_writer().add_summary(summary)


def hyperparameter_summaries(parameters: Mapping[str, bool | int | float | str]) -> "Iterator[Summary]":
    """Hyperparameters as TensorBoard's events have them, with the names of the metrics that belong to them."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(parameters), dict.fromkeys(METRICS, 0.0)):
        plugin = summary.value[0].metadata.plugin_data
        data = HParamsPluginData.FromString(plugin.content)
        for info in data.experiment.hparam_infos:
            # TensorBoard takes this from a sweep, whose options come first in its table.
            info.differs = info.name in _FIRST
        plugin.content = data.SerializeToString()
        yield summary


def hyperparameters(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, bool | int | float | str]:
    """What a training was asked for, without what has no influence on its scores."""
    data: Any = getattr(trainer, "datamodule", None)
    of_data: dict[str, Any] = {}
    if isinstance(data, AudioDataModule):
        of_data = {**data.hparams, **{name: getattr(data, name) for name in OF_DATA}}
    others = {**{name: getattr(trainer, name, None) for name in OF_TRAINER}, "seed": os.environ.get("PL_GLOBAL_SEED")}
    return comparable(module.hparams, of_data, others)


def comparable(
    model: Mapping[str, Any], data: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, bool | int | float | str]:
    """Hyperparameters as runs are compared by them: of a backbone its kind and size, not all of its configuration.

    Args:
        model: Hyperparameters of the module.
        data: Those of the data.
        others: Those of the training.

    Example:
        >>> config = {"model_type": "wavlm", "num_hidden_layers": 12, "hidden_size": 768, "do_normalize": True}
        >>> comparable({"learning_rate": 0.01, "backbone_config": config}, {"split_by": "speaker"}, {"seed": 0})
        {'learning_rate': 0.01, 'architecture': 'wavlm 12 x 768', 'split_by': 'speaker', 'seed': 0}
    """
    options = {name: value for name, value in model.items() if name not in _LEFT_OUT}
    if config := model.get("backbone_config"):
        # The latter of each pair are Whisper's names.
        layers, size = (
            config.get(name, config.get(of_whisper))
            for name, of_whisper in (("num_hidden_layers", "encoder_layers"), ("hidden_size", "d_model"))
        )
        options["architecture"] = f"{config.get('model_type')} {layers} x {size}"
    return flattened({**options, **data, **others})


def flattened(options: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Options as TensorBoard shows them: those of options by ``name.name``, lists as text, None as ``none``.

    Example:
        >>> flattened({"dropout": 0.1, "head": {"class_path": "torch.nn.Linear", "init_args": {"bias": True}},
        ...     "speakers": ["01", "02"], "hidden_layer": None})
        {'dropout': 0.1, 'head.class_path': 'torch.nn.Linear', 'head.init_args.bias': True, 'speakers': '01, 02',
         'hidden_layer': 'none'}
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, Augmentation):
            flat |= flattened(value.asked, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            flat[f"{prefix}{name}"] = ", ".join(map(str, value))
        elif isinstance(value, bool | int | float | str):
            flat[f"{prefix}{name}"] = value
        else:
            flat[f"{prefix}{name}"] = "none" if value is None else str(value)
    return flat
