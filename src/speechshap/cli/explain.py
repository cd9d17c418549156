"""``explain.py``: predict with a trained model and explain every prediction."""

import argparse
import re
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from speechshap.attribution import Method, SpectralGrid, find_method, method_names
from speechshap.cli.arithmetic import add_matmul_precision, set_matmul_precision
from speechshap.cli.flags import flags_of, parameters_as_flags
from speechshap.cli.report import write_report_and_figures
from speechshap.errors import UserError
from speechshap.explaining.callback import GradientSHAPCallback
from speechshap.explaining.options import RunOptions
from speechshap.models import load_classifier
from speechshap.training import AudioDataModule, ClassifierModule, EmotionModule, load_checkpoint, read_checkpoint
from speechshap.training.datamodule import CORPUS_OPTIONS, SPLIT_OPTIONS

DEFAULT_METHOD = "gradient_shap"

_TRAINER_OPTIONS = {"accelerator", "devices", "num_nodes", "strategy", "precision", "inference_mode", "deterministic"}


def explain(arguments: list[str]) -> None:
    """``explain.py``: predict with a trained model and explain every prediction.

    Model, corpus and split are the checkpoint's; what is said on the command line wins.
    """
    with parameters_as_flags(_flags):
        _explain(arguments)


def _explain(arguments: list[str]) -> None:
    parser, options = _parse(arguments)
    if (options.ckpt_path is None) == (options.model is None):
        raise UserError("give either `ckpt_path`, a checkpoint of train.py, or --model, a classifier of transformers")
    if options.model is not None and options.data.root is None and not options.data.files:
        raise UserError("give recordings for --model: files and folders of them (`files`), or a corpus (`root`)")
    set_matmul_precision(options.float32_matmul_precision)
    state: dict[str, Any] = {}
    module: EmotionModule | ClassifierModule
    if options.ckpt_path is not None:
        checkpoint = read_checkpoint(options.ckpt_path)
        saved = checkpoint.get("datamodule_hyper_parameters", {})
        names = SPLIT_OPTIONS if options.data.root is not None else (*SPLIT_OPTIONS, *CORPUS_OPTIONS)
        parser.set_defaults({f"data.{name}": saved[name] for name in names if name in saved})
        options = parser.parse_args(arguments)
        state = checkpoint.get(AudioDataModule.__qualname__, {})
        module = load_checkpoint(options.ckpt_path)
        classes = module.classes
        folder = _run_folder(Path(options.ckpt_path))
    else:
        # Nothing was trained here, so that no part of a corpus is set apart.
        parser.set_defaults({"data.predict_split": "all"})
        options = parser.parse_args(arguments)
        classifier = load_classifier(options.model)
        module = ClassifierModule(classifier)
        classes = list(classifier.classes or [])
        folder = Path("runs", re.sub(r"[^\w.-]+", "--", options.model.strip("/")))
    data = AudioDataModule(**options.data.as_dict(), classes=classes)
    data.load_state_dict(state)
    parameters = options.explain.as_dict()
    output_dir = parameters.pop("output_dir") or str(folder)
    if Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise UserError(f"`output_dir` is {output_dir}, a file; give a folder, which is made if it is not there")
    if parameters.get("spectrum") is not None:
        parameters["spectrum"] = _spectral_grid(parameters["spectrum"])
    callback = GradientSHAPCallback(**parameters, output_dir=output_dir)
    trainer = pl.Trainer(
        **options.trainer.as_dict(),
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,  # the runner has one, which counts utterances
        default_root_dir=output_dir,
    )
    trainer.predict(module, data, return_predictions=False)
    results = callback.runner.results
    if options.report and trainer.is_global_zero and results.parts:
        write_report_and_figures(results)


def _parse(arguments: list[str]) -> tuple[ArgumentParser, Namespace]:
    """The parser of the method that is asked for, and what it reads."""
    method = _asked_method(arguments)
    parser = _parser(method)
    try:
        options = parser.parse_args(arguments)
    except ArgumentError as error:
        raise _of_another_method(error, method) or error from None
    if options.explain.method != method:  # its option was abbreviated
        parser = _parser(options.explain.method)
        options = parser.parse_args(arguments)
    return parser, options


def _parser(method: str) -> ArgumentParser:
    """Options of a run with this method."""
    parser = ArgumentParser(
        prog="explain.py",
        usage="explain.py --ckpt_path runs/<experiment>/version_N/checkpoints/best.ckpt [options]\n"
        "       explain.py --model NAME --data.files FOLDER [options]",
        description="Explain the predictions of a trained classifier: the test split of the corpus that it was trained "
        "on, another corpus (--data.root), or files and folders of recordings (--data.files).",
        exit_on_error=False,
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with any of these options.")
    parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint that train.py wrote.")
    parser.add_argument(
        "--model",
        type=str | None,
        help="In place of a checkpoint: a trained audio classifier of transformers, by its name on the Hugging Face "
        "hub or its folder.",
    )
    parser.add_class_arguments(AudioDataModule, "data", skip={"files", "classes", "transform"})
    parser.add_argument(
        "--data.files",
        type=str,
        nargs="+",
        help="Sound files, and folders of them, to explain without labels, instead of a corpus.",
    )
    parser.add_argument(
        "--explain.method",
        type=Literal[tuple(method_names())],
        default=DEFAULT_METHOD,
        help="How to explain; the options of each are listed by --explain.method NAME --help.",
    )
    parser.add_class_arguments(find_method(method).settings, "explain", as_group=False, skip={"density"})
    parser.add_class_arguments(RunOptions, "explain", as_group=False)
    parser.add_argument("--explain.output_dir", type=str | None, help="Folder of the results; the run's unless given.")
    for_training = set(signature(pl.Trainer).parameters) - _TRAINER_OPTIONS
    parser.add_class_arguments(pl.Trainer, "trainer", skip=for_training)
    parser.add_argument(
        "--report",
        type=bool,
        default=True,
        help="Write report.html and the figures of the corpus when all is explained.",
    )
    add_matmul_precision(parser)
    # Parts are written after each batch: a small one loses little when the run is stopped.
    parser.set_defaults({"data.batch_size": 4})
    return parser


def _asked_method(arguments: list[str]) -> str:
    """The method, which has to be known before its options can be read."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--explain.method", dest="method")
    early.add_argument("-c", "--config", dest="configs", action="append", default=[])
    try:
        known, _ = early.parse_known_args(arguments)
    except argparse.ArgumentError:
        return DEFAULT_METHOD  # the parser of all options tells what is wrong
    method = known.method
    for path in known.configs if method is None else ():
        try:
            config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        section = config.get("explain") if isinstance(config, dict) else None
        method = section.get("method", method) if isinstance(section, dict) else method
    return method if method in method_names() else DEFAULT_METHOD


def _of_another_method(error: ArgumentError, method: str) -> UserError | None:
    """What to say of an option that this method lacks and another one has."""
    unknown = re.search(r"explain\.(\w+)", str(error))
    name = unknown[1] if unknown else ""
    having = [other for other in method_names() if name in _fields(other)]
    if not having or method in having:
        return None
    return UserError(f"--explain.{name} is an option of {', '.join(having)}; the method is {method} (`method`)")


def _fields(method: str) -> set[str]:
    return {field.name for field in fields(find_method(method).settings)}


def _spectral_grid(options: dict[str, Any]) -> SpectralGrid:
    try:
        return SpectralGrid(**options)
    except ValueError as error:
        raise UserError(f"`spectrum`: {error}") from error


def _flags() -> dict[str, str]:
    methods: list[Method] = [find_method(name) for name in method_names()]
    explained: list[type] = [RunOptions, *(method.settings for method in methods)]
    flags = flags_of(explain=explained, data=[AudioDataModule], trainer=[pl.Trainer])
    own = {"method": "--explain.method", "output_dir": "--explain.output_dir"}
    return {**flags, **own, "model": "--model", "backbone": "--model"}


def _run_folder(checkpoint: Path) -> Path:
    """Folder of the run that a checkpoint belongs to: explanations go beside ``checkpoints/``."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == "checkpoints" else folder
