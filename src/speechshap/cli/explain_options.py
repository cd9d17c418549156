"""Options of ``speechshap explain``."""

import argparse
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, fields, make_dataclass
from inspect import signature
from typing import Any, Literal

import pytorch_lightning as pl
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from speechshap.attribution import Method, MethodChoice, ReferenceSettings, Settings, find_method, method_names
from speechshap.cli.arithmetic import add_matmul_precision
from speechshap.cli.configs import read_config
from speechshap.cli.flags import add_nearest_option, flags_of, switches_of
from speechshap.cli.mistakes import unknown_option
from speechshap.cli.text_parser import TextParser
from speechshap.errors import UserError
from speechshap.explaining.options import RunOptions
from speechshap.explaining.preset import PRESET_METHODS, Preset
from speechshap.training import AudioDataModule

logger = logging.getLogger(__name__)

# The others are of training, or of the progress bar: the run has one of its own, which counts utterances.
_TRAINER_OPTIONS = {
    "accelerator", "benchmark", "callbacks", "default_root_dir", "detect_anomaly", "deterministic", "devices",
    "fast_dev_run", "inference_mode", "limit_predict_batches", "logger", "num_nodes", "plugins", "precision",
    "profiler", "strategy",
}  # fmt: skip


# Options that have an effect for some values of another one.
_NEEDED: dict[str, tuple[Sequence[str], Callable[[Any], bool]]] = {
    "snr_db": (["baselines"], lambda baselines: baselines in ("noise", "mean:noise")),
    "n_references": (["baselines"], lambda baselines: baselines.removeprefix("mean:").startswith("dataset")),
    "layer_method": (["layers"], lambda layers: layers != "none"),
    "tolerance": (["n_samples", "n_points"], lambda count: count == "auto"),
    "max_samples": (["n_samples"], lambda n_samples: n_samples == "auto"),
    "max_points": (["n_points"], lambda n_points: n_points == "auto"),
    "converge_on": (["n_samples"], lambda n_samples: n_samples == "auto"),
    "alignments": (["segments"], lambda segments: segments not in ("none", "voiced")),
    "log_every": (["draw"], lambda draw: draw == "first"),
}

_TRAINING_GROUPS = {
    "checkpoint", "confusion_matrix", "early_stopping", "last_checkpoint", "lr_scheduler", "optimizer",
    "seed_everything",
}  # fmt: skip


def parse(arguments: list[str], program: str) -> tuple[ArgumentParser, Namespace]:
    """The parser of the method that is asked for, or of several, and what it reads.

    Raises:
        ArgumentError: An option is unknown, or its value is.
        UserError: An option is of another method, or a configuration is one of training.
    """
    method, methods = _asked("method", arguments), _asked("methods", arguments)
    if method is not None and methods is not None:
        raise UserError("give either `method`, one method with all its options, or `methods`, several; not both")
    method = asked_method(arguments) if methods is None else None
    parser = _parser(method, program)
    try:
        return parser, parser.parse_args(arguments)
    except ArgumentError as error:
        mistake = _of_another_method(error, method) or _of_training(error, arguments)
        if mistake is not None:
            raise mistake from None
        options = [f"--{name}" for name in parser.get_defaults().keys()]  # noqa: SIM118 - of all levels
        add_nearest_option(error, options, arguments)
        raise


def warn_of_options_without_effect(methods: Sequence[MethodChoice], options: RunOptions) -> None:
    """Tell the options that were given and that the others leave without effect."""
    told = (told for choice in methods for told in _without_effect(choice.settings, options))
    for name, other, value in dict.fromkeys(told):
        logger.warning("`%s` has no effect, because `%s` is %s", name, other, value)


def _without_effect(settings: Settings, options: RunOptions) -> Iterator[tuple[str, str, Any]]:
    """Options that were given, the one that leaves them without effect, and its value."""
    values = {**vars(settings), **vars(options)}
    defaults = {part.name: part.default for kind in (type(settings), RunOptions) for part in fields(kind)}
    for name, (others, has_effect) in _NEEDED.items():
        other = next((other for other in others if other in values), "")
        if values.get(name) != defaults.get(name) and not has_effect(values[other]):
            yield name, other, values[other]


def flags() -> dict[str, str]:
    """Option of each parameter that a message may name."""
    explained: list[type] = [RunOptions, *_all_settings()]
    known = flags_of(explain=explained, data=[AudioDataModule], trainer=[pl.Trainer])
    own = {name: f"--explain.{name}" for name in ("method", "methods", "output_dir", "preset")}
    return {**known, **own, "model": "--model", "backbone": "--model"}


def switches() -> set[str]:
    """Options that are true where no value is given."""
    return {"--report", *switches_of(explain=[RunOptions, *_all_settings()], trainer=[pl.Trainer])}


def _parser(method: str | None, program: str) -> ArgumentParser:
    """Options of a run with this method; None for what several have in common."""
    parser = TextParser(
        prog=program,
        usage=f"{program} --ckpt_path runs/<experiment>/version_N [options]\n"
        f"       {program} --model NAME --data.files FOLDER [options]",
        description="Explain the predictions of a trained classifier: the test split of the corpus that it was trained "
        "on, another corpus (--data.root), or files and folders of recordings (--data.files). What is left out of the "
        "corpus and its split is as the training had it.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        help="Folder of a run of speechshap train, whose best checkpoint is taken, or a checkpoint.",
    )
    parser.add_argument(
        "--model",
        type=str | None,
        help="In place of a checkpoint: a trained audio classifier of transformers or of speechshap export, by its "
        "name on the Hugging Face hub or its folder.",
    )
    parser.add_class_arguments(
        AudioDataModule, "data", skip={"files", "classes", "augment", "transform"}, instantiate=False
    )
    parser.add_argument(
        "--data.files",
        type=str,
        nargs="+",
        help="Sound files, and folders of them, to explain without labels, instead of a corpus.",
    )
    parser.add_argument(
        "--explain.preset",
        type=Preset,
        default="recommended",
        help="Method, space, references and targets where they are left out. recommended: KernelSHAP of stretches of "
        "400 ms, why this emotion and not a neutral voice, compared with training clips of neutral voices (noise, "
        "where the corpus of the training is not there; the predicted class and noise, where the model has no neutral "
        "class); paths of gradient_shap and integrated_gradients run between features of the stem. textbook: "
        "GradientSHAP of the predicted class, compared with noise, along paths between waveforms.",
    )
    if method is not None:
        parser.add_argument(
            "--explain.method",
            type=Literal[tuple(method_names())],
            default=method,
            help="How to explain; left out, as the preset does. The options of each method are listed by "
            "--explain.method NAME --help.",
        )
    parser.add_argument(
        "--explain.methods",
        type=str | None,
        help="Several methods in place of one, each with its own options in parentheses: "
        '"gradient_shap(n_samples=64), occlusion(stretch_frames=20), energy". Report and TensorBoard show them side by '
        "side.",
    )
    settings = _as_options(ReferenceSettings if method is None else find_method(method).settings)
    parser.add_class_arguments(settings, "explain", as_group=False, skip={"density"}, instantiate=False)
    parser.add_class_arguments(RunOptions, "explain", as_group=False, instantiate=False)
    parser.add_argument(
        "--explain.output_dir",
        type=str | None,
        help="Folder of the results; left out, that of --trainer.logger or --trainer.default_root_dir where one is "
        "given, else that of the run.",
    )
    others = set(signature(pl.Trainer).parameters) - _TRAINER_OPTIONS
    parser.add_class_arguments(pl.Trainer, "trainer", skip=others, instantiate=False)
    (parser.groups or {})["trainer"].title = "How Lightning's trainer predicts"  # it speaks of training
    parser.add_argument(
        "--report",
        type=bool,
        default=True,
        help="Write report.html and the figures of the corpus when all is explained.",
    )
    add_matmul_precision(parser)
    # Parts are written after each batch: a small one loses little when the run is stopped.
    parser.set_defaults({"data.batch_size": 4, "trainer.logger": False})
    return parser


def _as_options(settings: type[Settings]) -> type[Settings]:
    """Settings as options: what a preset decides may be left out, and several names may be a list, or a number."""
    names, several = {part.name for part in fields(settings)}, list[str | int] | str | int
    options: dict[str, tuple[Any, Any]] = {
        "targets": (several | None, None),
        "space": (str | None, None),
        "baselines": (str | None, None),
        "layers": (several, "none"),
        "segments": (several, "all"),
    }
    widened = [(name, kind, field(default=usual)) for name, (kind, usual) in options.items() if name in names]
    return make_dataclass(settings.__name__, widened, bases=(settings,), frozen=True, kw_only=True)


def asked_method(arguments: list[str]) -> str:
    """The method, which has to be known before its options can be read; that of the preset where none is named."""
    method, preset = _asked("method", arguments), _asked("preset", arguments)
    if method in method_names():
        return str(method)
    # What is no preset may be a list; the parser tells what is wrong with it.
    return PRESET_METHODS["textbook" if preset == "textbook" else "recommended"]


def _asked(name: str, arguments: list[str]) -> Any:
    """Value of an option ``explain.<name>``, before the others can be read; None where it is left out."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument(f"--explain.{name}", dest="value")
    early.add_argument("-c", "--config", dest="configs", action="append", default=[])
    try:
        known, _ = early.parse_known_args(arguments)
    except argparse.ArgumentError:
        return None  # the parser of all options tells what is wrong
    value = known.value
    for path in known.configs if value is None else ():
        config = read_config(path)
        section = config.get("explain") if isinstance(config, dict) else None
        value = section.get(name, value) if isinstance(section, dict) else value
    return value


def _of_another_method(error: ArgumentError, method: str | None) -> UserError | None:
    """What to say of an option that this method lacks and another one has."""
    unknown = re.search(r"explain\.(\w+)", str(error))
    having = [other for other in method_names() if unknown and unknown[1] in _fields(other)]
    if unknown is None or not having or method in having:
        return None
    if method is None:
        return UserError(
            f"--explain.{unknown[1]} is an option of {', '.join(having)}; with `methods`, give it in parentheses: "
            f"{having[0]}({unknown[1]}=...)"
        )
    return UserError(
        f"--explain.{unknown[1]} is an option of {', '.join(having)}; the method is {method}, name another as `method`"
    )


def _of_training(error: ArgumentError, arguments: list[str]) -> UserError | None:
    """What to say of an option, or of a configuration, that ``speechshap train`` alone takes."""
    within = re.search(r"Parser key \"model\".*(?:NestedArg\(key='(\w+)'|<class 'dict'>)", str(error), re.DOTALL)
    name = f"model.{within[1] or ''}".rstrip(".") if within else unknown_option(error)
    if name is None or not (within or _is_of_training(name)):
        return None
    if f"--{name}" not in {argument.partition("=")[0] for argument in arguments}:
        return UserError(
            "`config` is a configuration of training; leave it out: the checkpoint (`ckpt_path`) has all of it"
        )
    hint = "; the random draws are of `seed`" if name == "seed_everything" else ""
    return UserError(f"--{name} is an option of training, and has no effect on explanations; leave it out{hint}")


def _is_of_training(name: str) -> bool:
    group, _, rest = name.partition(".")
    return (group == "trainer" and rest in signature(pl.Trainer).parameters) or group in _TRAINING_GROUPS


def _fields(method: str) -> set[str]:
    return {field.name for field in fields(find_method(method).settings)}


def _all_settings() -> list[type[Settings]]:
    methods: list[Method] = [find_method(name) for name in method_names()]
    return [method.settings for method in methods]
