"""``speechshap explain``: predict with a trained model and explain every prediction."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace

from speechshap.attribution import WAVEFORM, PathSettings, ReferenceSettings, Settings, SpectralGrid, parse_methods
from speechshap.cli.arithmetic import set_matmul_precision
from speechshap.cli.checkpoint_data import read_checkpoint_and_options, refuse_missing_corpus
from speechshap.cli.configs import config_paths
from speechshap.cli.explain_options import flags, parse, switches, warn_of_options_without_effect
from speechshap.cli.flags import parameters_as_flags, rewritten_messages, switched_on
from speechshap.cli.report import write_report_and_figures
from speechshap.data.shards import EmptyShardError
from speechshap.errors import UserError
from speechshap.explaining.callback import GradientSHAPCallback
from speechshap.explaining.preset import as_single_reference, preset_baselines, preset_space, preset_targets
from speechshap.explaining.targets import TargetChoice, choose_layers, choose_space
from speechshap.models import load_classifier
from speechshap.training import AudioDataModule, ClassifierModule, EmotionModule
from speechshap.training.checkpoints import load_checkpoint
from speechshap.training.run_folder import first_process_tells, no_empty_folder, results_folder
from speechshap.training.trainer_options import trainer_mistakes

logger = logging.getLogger(__name__)


def explain(arguments: list[str], program: str = "speechshap explain") -> None:
    """``speechshap explain``: predict with a trained model and explain every prediction.

    Model, corpus and split are the checkpoint's; what is said on the command line wins.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    with parameters_as_flags(flags):
        _explain(config_paths(switched_on(arguments, switches())), program)


def _explain(arguments: list[str], program: str) -> None:
    parser, options = parse(arguments, program)
    if (options.ckpt_path is None) == (options.model is None):
        raise UserError(
            "give either `ckpt_path`, a checkpoint or the folder of its run, or --model, a classifier of transformers"
        )
    if options.model is not None and options.data.root is None and not options.data.files:
        raise UserError("give recordings for --model: files and folders of them (`files`), or a corpus (`root`)")
    if options.trainer.limit_predict_batches == 0:
        raise UserError("nothing is explained: `limit_predict_batches` is 0; expected 1 at least, or a share above 0")
    set_matmul_precision(options.float32_matmul_precision)
    module: EmotionModule | ClassifierModule
    classifier: Any
    if options.ckpt_path is not None:
        # Explanations go beside the checkpoints.
        path, checkpoint, folder, options, state = read_checkpoint_and_options(
            parser, arguments, options, options.ckpt_path
        )
        classifier = module = load_checkpoint(path, checkpoint)
    else:
        # Nothing was trained here, so that no part of a corpus is set apart.
        parser.set_defaults({"data.predict_split": "all"})
        options = parser.parse_args(arguments)
        state = {}
        classifier = load_classifier(options.model)
        module = ClassifierModule(classifier)
        folder = Path("runs", re.sub(r"[^\w.-]+", "--", options.model.strip("/")))
        refuse_missing_corpus(options)
    data = AudioDataModule(**options.data.as_dict(), classes=list(classifier.classes or []))
    data.load_state_dict(state)
    with _tried(options) if options.trainer.fast_dev_run else nullcontext():
        fill_in_preset(options, classifier, partial(data.catalogue.training_utterances, 1))
        callback = make_callback(options)
        warn_of_options_without_effect(callback.methods, callback.options)
        for choice in callback.methods:
            _refuse_what_the_model_lacks(choice.settings, classifier)
        # Some options are objects: a logger, a strategy.
        trainer = _trainer(callback, parser.instantiate(options).trainer.as_dict(), folder)
        results_here = results_folder(trainer, callback.output_dir)
        with first_process_tells(trainer), _made(results_here) if trainer.is_global_zero else nullcontext():
            try:
                trainer.predict(module, data, return_predictions=False)
            except EmptyShardError as error:
                if trainer.is_global_zero:
                    logger.info("%s", error)
                return
            results, coverage = callback.runner.results, callback.runner.coverage
            is_last = coverage is None or not coverage.missing
            if options.report and is_last and trainer.is_global_zero and results.parts:
                write_report_and_figures(results)
    if options.trainer.fast_dev_run and trainer.is_global_zero:
        logger.info("fast_dev_run: all of this was tried, and nothing of it is kept")


def fill_in_preset(options: Namespace, classifier: Any, find_clips: Callable[[str], object]) -> None:
    """Set targets, space and references as the preset has them, where they are left out and a method has them.

    Args:
        options: Of the command line, which are changed.
        classifier: The model.
        find_clips: Raises a UserError where there are no training clips of a class.
    """
    explained = options.explain
    classes = [] if classifier.is_regression else list(classifier.classes or [])
    filled = []
    if explained.targets is None:
        explained.targets = preset_targets(explained.preset, classes)
        filled.append(f"`targets` {explained.targets}")
    if explained.get("space", "") is None:
        asks_for_frequencies = explained.spectrum is not None
        explained.space = WAVEFORM if asks_for_frequencies else preset_space(explained.preset, classifier.spaces)
        filled.append(f"`space` {explained.space}")
    if explained.get("baselines", "") is None and (explained.methods is None or _takes_baselines(explained.methods)):
        baselines = preset_baselines(explained.preset, classes, find_clips)
        explained.baselines = as_single_reference(baselines, explained.get("method"), explained.get("space", WAVEFORM))
        filled.append(f"`baselines` {explained.baselines}")
    if filled:
        logger.info("asked as in the preset %s: %s", explained.preset, ", ".join(filled))


def make_callback(options: Namespace) -> GradientSHAPCallback:
    """The callback that explains as asked for."""
    parameters = options.explain.as_dict()
    del parameters["preset"]
    if parameters.get("spectrum") is not None:
        parameters["spectrum"] = _spectral_grid(parameters["spectrum"])
        options.explain.spectrum = None
    if parameters["methods"] is not None:
        # What is as it is by default need not be a setting of any of them.
        usual = {field.name: (field.default, None) for field in fields(ReferenceSettings)}
        parameters = {name: value for name, value in parameters.items() if value not in usual.get(name, ())}
    return GradientSHAPCallback(**parameters)


def _takes_baselines(methods: str) -> bool:
    """Whether any of them has references, and is not told which."""
    usual = "dataset"
    return any(
        getattr(choice.settings, "baselines", None) == usual for choice in parse_methods(methods, baselines=usual)
    )


def _spectral_grid(options: dict[str, Any]) -> SpectralGrid:
    try:
        return SpectralGrid(**options)
    except ValueError as error:
        raise UserError(f"`spectrum`: {error}") from error


def _trainer(callback: GradientSHAPCallback, options: dict[str, Any], folder: Path) -> pl.Trainer:
    """The trainer that predicts; its results go to the folder of the run unless options name another one."""
    given = options["callbacks"] or []
    options["callbacks"] = [*(given if isinstance(given, list) else [given]), callback]
    options["default_root_dir"] = callback.output_dir or options["default_root_dir"] or str(folder)
    with trainer_mistakes(options):
        return pl.Trainer(**options, enable_progress_bar=False)  # the runner has one, which counts utterances


@contextmanager
def _tried(options: Namespace) -> Iterator[None]:
    """Have the results written to a folder that is gone afterwards, and not told as if it were there."""
    with (
        TemporaryDirectory() as folder,
        rewritten_messages(lambda message: message.replace(folder, "<temporary folder>")),
    ):
        options.explain.output_dir, options.trainer.logger = folder, False
        yield


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and see whether it can be written to; it is taken away again if nothing comes into it."""
    with no_empty_folder(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except FileExistsError as error:
            raise UserError(f"`output_dir` is {folder}, a file; give a folder, which is made if missing") from error
        except OSError as error:
            raise UserError(f"`output_dir` is {folder}, where nothing can be written ({error.strerror})") from error
        yield


def _refuse_what_the_model_lacks(settings: Settings, classifier: Any) -> None:
    """Tell mistakes in targets and layers before the files of a corpus are looked at."""
    if classifier.classes is not None:
        TargetChoice(settings.targets, classifier.classes, classifier.is_regression)
    if isinstance(settings, PathSettings):
        spaces = choose_space(settings.space, classifier.spaces, classifier.layers, classifier)
        choose_layers(settings.layers, classifier.layers, classifier, spaces)
