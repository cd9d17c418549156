"""Explanations in Lightning's prediction loop."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.attribution import MethodChoice, ReferenceSettings, find_method, parse_methods
from speechshap.data.batches import read_batch
from speechshap.errors import UserError
from speechshap.explaining.options import Arithmetic, Place, RunOptions
from speechshap.explaining.own_model import OwnModel
from speechshap.explaining.runner import Runner
from speechshap.explaining.termination import Termination
from speechshap.frames import FrameGrid
from speechshap.models import SpeechClassifier
from speechshap.models.precision import has_rounded_convolutions, rounded_matmul
from speechshap.report.log import common_folder
from speechshap.run_lock import new_run_id
from speechshap.training import AudioDataModule, ClassifierModule, EmotionModule
from speechshap.training.run_folder import results_folder

logger = logging.getLogger(__name__)


class GradientSHAPCallback(pl.Callback):
    """Explain every prediction of ``trainer.predict``, and write what was found.

    Takes :class:`speechshap.EmotionModule`, and any LightningModule whose ``forward`` classifies waveforms. Works with
    and without ``inference_mode`` and on any device; forward passes use the trainer's precision. Parquet rows go to
    ``explanations/`` of the output folder, neuron attributions to ``explanations/layers/``, figures and sounds to a
    TensorBoard event file beside it, and to the trainer's other loggers as far as these take them
    (:class:`speechshap.report.loggers.LoggerLog`). Explanations that the folder already holds, of the same sound with
    the same settings and weights, are skipped.

    Args:
        method: ``gradient_shap``, or another method (:func:`speechshap.attribution.method_names`).
        methods: In its place several methods, each with settings of its own, as
            :func:`speechshap.attribution.parse_methods` reads them; those that cannot explain the model are left out.
        output_dir: Folder of the results; that of the trainer's logger, or its ``default_root_dir``, unless given.
        inputs: From a batch of your DataLoader to what :func:`speechshap.data.batches.read_batch` reads;
            needed for batches that it cannot read.
        logits: From what your model returns to its logits ``(batch, classes)``; needed where it returns neither these
            nor an object with them as ``.logits``.
        classes: Names of the classes, if your model lacks the attribute ``classes``.
        is_regression: Whether the outputs of your model are values (arousal, valence) and no classes.
        grid: Where the frames of your model lie; left out, stretches of 20 ms.
        parameters: Fields of the method's settings (for ``gradient_shap``
            :class:`speechshap.attribution.GradientSHAPSettings`) and of
            :class:`speechshap.explaining.options.RunOptions`. With ``methods``, those of
            :class:`speechshap.attribution.ReferenceSettings`, which the methods have in common.

    Raises:
        UserError: A parameter does not exist or is not legal; when prediction starts, a setting does not fit the model
            or the data.

    Example:
        >>> callback = GradientSHAPCallback(n_samples=20, targets="all", layers="all", max_drawn=10)
        >>> trainer = pl.Trainer(callbacks=[callback], logger=False)
        >>> callback = GradientSHAPCallback(methods="gradient_shap(n_samples=64), occlusion, energy", seed=3)
        >>> [str(method) for method in callback.methods]
        ['gradient_shap(n_samples=64)', 'occlusion', 'energy']
    """

    def __init__(
        self,
        method: str = "gradient_shap",
        *,
        methods: str | None = None,
        output_dir: str | None = None,
        inputs: Callable[[Any], Any] | None = None,
        logits: Callable[[Any], Tensor] | None = None,
        classes: Sequence[str] | None = None,
        is_regression: bool = False,
        grid: FrameGrid | None = None,
        **parameters: Any,
    ) -> None:
        self.output_dir = output_dir
        self.inputs = inputs
        self.logits = logits
        self.classes = classes
        self.is_regression = is_regression
        self.grid = grid
        if methods is None:
            settings = find_method(method).settings
            own, self.options = _settings_and_options(set(_names(settings)), parameters)
            self.methods = [MethodChoice(method, settings(**own), settings())]
        elif method == "gradient_shap":
            self.methods, self.options = _common_settings_and_options(methods, parameters)
        else:
            raise UserError("give either `method`, one method with all its options, or `methods`, several; not both")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the results folder, and let the method learn from some utterances if it was asked to."""
        folder = results_folder(trainer, self.output_dir)
        launcher = trainer.strategy.launcher
        self.termination = Termination(folder, None if launcher is None else launcher.kill)
        self.termination.start()
        self.model = self._model(pl_module)
        data: Any = getattr(trainer, "datamodule", None)

        @cache
        def clips(count: int, label: str | None) -> Tensor:
            parameter = "dataset" if label is None else f"dataset:{label}"
            return _data_module(data, f'baselines="{parameter}"').reference_set(count, label)

        # The trainer's own step is 0 when it only predicts.
        step = max(trainer.global_step, getattr(pl_module, "trained_steps", 0))
        self.runner = Runner(
            self.model,
            self.methods,
            folder,
            self.options,
            references=lambda settings: clips(settings.n_references, settings.reference_label),
            calibration=lambda count: _data_module(data, "calibration").calibration_waveforms(count),
            arithmetic=arithmetic_of(trainer),
            place=Place(
                trainer.global_rank,
                trainer.world_size,
                step,
                share=trainer.strategy.broadcast,
                run=trainer.strategy.broadcast(new_run_id()),
            ),
            num_utterances=_num_utterances(trainer),
            portion=data.portion if isinstance(data, AudioDataModule) else None,
            common_folder=common_folder(data.catalogue.all_ids()) if isinstance(data, AudioDataModule) else "",
            # The runner writes TensorBoard's files itself, and each part once for all runs.
            loggers=[each for each in trainer.loggers if not isinstance(each, TensorBoardLogger)],
        )

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End the run where the process was asked to stop; Lightning itself looks at that while training only."""
        if trainer.received_sigterm:
            raise SIGTERMException

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the utterances of a batch that are not explained yet."""
        own = self.model if isinstance(self.model, OwnModel) else None
        utterances = read_batch(
            batch if self.inputs is None else self.inputs(batch),
            takes_lengths=own is None or own.takes_lengths,
            prefix=f"{trainer.global_rank}-{dataloader_idx}-{batch_idx}-",
        )
        # A prediction step of the user's own may return anything.
        self.runner.explain(utterances, outputs if own is None else None)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what is known of all utterances, close the files and say where they are.

        Raises:
            UserError: Not a single utterance is explained.
        """
        # What is chosen and summed up is of all ranks.
        trainer.strategy.barrier("explained")
        own = torch.tensor(
            float(self.runner.num_explained + self.runner.num_found), device=trainer.strategy.root_device
        )
        if not trainer.strategy.reduce(own, reduce_op="sum"):
            raise UserError("nothing was explained; the warnings above tell why for each utterance")
        self.runner.finish()
        self.runner.close()
        self.termination.stop()
        if trainer.is_global_zero:
            self.runner.report()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files, so that what was written so far can be seen."""
        try:
            if hasattr(self, "runner"):
                # Do not wait for pictures after Ctrl-C; the next run draws them.
                self.runner.close(wait=isinstance(exception, Exception))
        except Exception as error:
            # The original error is the one to report.
            logger.warning("what was explained may not be in TensorBoard: %s", error)
        finally:
            if hasattr(self, "termination"):
                self.termination.stop()

    def _model(self, module: pl.LightningModule) -> SpeechClassifier:
        return classifier_of(module) or OwnModel(module, self.logits, self.classes, self.is_regression, self.grid)


def _settings_and_options(settings: set[str], parameters: dict[str, Any]) -> tuple[dict[str, Any], RunOptions]:
    """Parameters that are settings of these names, and the options of the run."""
    options = set(_names(RunOptions))
    if unknown := [name for name in parameters if name not in settings | options]:
        raise UserError(
            f"there is no parameter `{unknown[0]}`; expected some of {', '.join(sorted(settings | options))}"
        )
    of_method, of_run = (
        {name: value for name, value in parameters.items() if name in part} for part in (settings, options)
    )
    return of_method, RunOptions(**of_run)


def _common_settings_and_options(methods: str, parameters: dict[str, Any]) -> tuple[list[MethodChoice], RunOptions]:
    """Methods with what their settings have in common, and the options of the run."""
    asked = {name for choice in parse_methods(methods) for name in _names(type(choice.settings))}
    common = asked & set(_names(ReferenceSettings))
    if own := [name for name in parameters if name in asked - common]:
        raise UserError(
            f"`{own[0]}` is no parameter of all `methods`; give it in the parentheses of its method, as in "
            "gradient_shap(n_samples=64)"
        )
    settings, options = _settings_and_options(common, parameters)
    return parse_methods(methods, **settings), options


def _names(settings: type) -> list[str]:
    return [field.name for field in fields(settings)]


def classifier_of(module: pl.LightningModule) -> SpeechClassifier | None:
    """The classifier of a module of this package; None for a module of the user's own."""
    if isinstance(module, EmotionModule):
        return module
    return cast(SpeechClassifier, module.classifier) if isinstance(module, ClassifierModule) else None


def arithmetic_of(trainer: pl.Trainer) -> Arithmetic:
    """Precision of the trainer's forward passes."""
    precision = trainer.precision_plugin
    return Arithmetic(_name_of_arithmetic(trainer), precision.forward_context, precision.convert_input)


def _name_of_arithmetic(trainer: pl.Trainer) -> str:
    """Precision of the trainer and, where it is a lower one, that of products of single-precision matrices."""
    products = rounded_matmul()
    parts = [str(trainer.precision), *([] if products is None else [f"float32 matrix products {products}"])]
    if trainer.strategy.root_device.type == "cuda" and has_rounded_convolutions():
        parts.append("convolutions in TF32")
    return ", ".join(parts)


def _data_module(data: Any, parameter: str) -> AudioDataModule:
    if not isinstance(data, AudioDataModule):
        raise UserError(
            f"`{parameter}` needs recordings beside those that are explained; predict with an AudioDataModule"
        )
    return data


def _num_utterances(trainer: pl.Trainer) -> int | None:
    """Approximate number of utterances of this rank; None where the DataLoader does not tell."""
    loader = trainer.predict_dataloaders
    if not isinstance(loader, DataLoader):
        return None
    try:
        count: int = len(loader.dataset)  # type: ignore[arg-type]
        return math.ceil(count * sum(trainer.num_predict_batches) / len(loader) / trainer.world_size)
    except TypeError:
        return None
