"""``speechshap benchmark``: which method, with which settings, can be trusted on a model?"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError, ArgumentParser
from tqdm.auto import tqdm

from speechshap.cli.arithmetic import add_matmul_precision, set_matmul_precision
from speechshap.cli.checkpoint_data import read_checkpoint_and_options
from speechshap.cli.configs import config_paths
from speechshap.cli.flags import add_nearest_option, flags_of, parameters_as_flags
from speechshap.cli.text_parser import TextParser
from speechshap.data.wording import counted
from speechshap.errors import UserError
from speechshap.explaining.benchmark import Benchmark
from speechshap.explaining.benchmark_callback import BenchmarkCallback
from speechshap.explaining.benchmark_material import BenchmarkMaterial
from speechshap.explaining.benchmark_options import BenchmarkOptions
from speechshap.results.parts import PartsWriter
from speechshap.results.scores import ScoresFolder
from speechshap.training import AudioDataModule
from speechshap.training.checkpoints import find_checkpoint, load_checkpoint, read_checkpoint, run_of
from speechshap.training.run_folder import no_empty_folder
from speechshap.training.trainer_options import trainer_mistakes

logger = logging.getLogger(__name__)


def benchmark(arguments: list[str], program: str = "speechshap benchmark") -> None:
    """``speechshap benchmark``: which method, with which settings, can be trusted on a model?

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    with parameters_as_flags(flags):
        _benchmark(config_paths(arguments), program)


def flags() -> dict[str, str]:
    """Option of each parameter that a message may name."""
    return flags_of(benchmark=[BenchmarkOptions], data=[AudioDataModule], trainer=[pl.Trainer])


def _parser(program: str) -> ArgumentParser:
    parser = TextParser(
        prog=program,
        usage=f"{program} --ckpt_path runs/<experiment>/version_N [options]\n"
        f'       {program} --ckpt_path RUN --benchmark.methods "gradient_shap(n_samples=64), occlusion, random"',
        description="Judge explanation methods on the test split of a trained classifier: do they find evidence that "
        "is known, do outputs follow when what they name is taken away, are they stable, do they depend on the model? "
        "Writes table.md, table.csv, figure.png and TensorBoard's entries, with intervals over speakers; the same "
        "command again computes what is missing.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--ckpt_path",
        type=str,
        nargs="+",
        required=True,
        help="Folders of runs of speechshap train, or checkpoints; several, such as the same training with other "
        "seeds, are judged together, and their explanations compared.",
    )
    parser.add_class_arguments(
        AudioDataModule, "data", skip={"files", "classes", "augment", "shard", "transform"}, instantiate=False
    )
    parser.add_class_arguments(BenchmarkOptions, "benchmark", as_group=True, instantiate=False)
    others = set(pl.Trainer.__init__.__annotations__) - {"accelerator", "precision"}
    parser.add_class_arguments(pl.Trainer, "trainer", skip=others, instantiate=False)
    (parser.groups or {})["trainer"].title = "How Lightning's trainer predicts"  # it speaks of training
    add_matmul_precision(parser)
    parser.set_defaults({"data.batch_size": 8})
    return parser


def _benchmark(arguments: list[str], program: str) -> None:
    parser = _parser(program)
    try:
        options = parser.parse_args(arguments)
    except ArgumentError as error:
        # Those of all levels, which iterating over the defaults does not give.
        add_nearest_option(error, [f"--{name}" for name in parser.get_defaults().keys()], arguments)  # noqa: SIM118
        raise
    asked = BenchmarkOptions(**options.benchmark.as_dict())
    set_matmul_precision(options.float32_matmul_precision)
    paths = [find_checkpoint(path, prefer="best") for path in options.ckpt_path]
    first = read_checkpoint_and_options(parser, arguments, options, options.ckpt_path[0])
    classes: list[str] = first.checkpoint["hyper_parameters"]["classes"]
    _refuse_other_classes(paths, classes)
    data = AudioDataModule(**first.options.data.as_dict(), classes=classes)
    data.load_state_dict(first.state)
    material = BenchmarkMaterial(data, asked)
    metrics = material.metrics
    if asked.against != "none" and material.against is None:
        logger.info("the model has no class %s; the output of each label is explained by itself", asked.against)
    make = partial(
        Benchmark, methods=material.methods, metrics=metrics, references=material.references,
        operators=material.operators, against=material.against, again=material.again, chunk_size=asked.chunk_size,
        material=material.name,
    )  # fmt: skip
    folder = Path(asked.output_dir).expanduser() if asked.output_dir else first.run / "benchmark"
    scores = ScoresFolder(folder / "scores")
    total = len(material.clips) * len(material.methods) * len(paths)
    with no_empty_folder(folder), PartsWriter(scores) as writer:
        with tqdm(total=total, desc="judging", unit="explanation") as bar:
            for path in paths:
                own = partial(make, writer=writer, checkpoint=_name(path), progress=bar.update)
                _judge(path, BenchmarkCallback(own, material.clips, scores.folder), material, options.trainer.as_dict())
        _report(scores, folder, material.name)


def _judge(path: Path, callback: BenchmarkCallback, material: BenchmarkMaterial, options: dict[str, Any]) -> None:
    with trainer_mistakes(options):
        trainer = pl.Trainer(
            **options, devices=1, callbacks=[callback], logger=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
    trainer.predict(load_checkpoint(path), material.loader, return_predictions=False)
    if failed := callback.benchmark.failed:
        logger.warning(
            "%s lacking; the warnings above tell why", counted(len(failed), "explanation is", "explanations are")
        )


def _refuse_other_classes(paths: list[Path], classes: list[str]) -> None:
    for path in paths[1:]:
        own = read_checkpoint(path)["hyper_parameters"]["classes"]
        if own != classes:
            raise UserError(
                f"`ckpt_path`: the classes of {path} are {', '.join(own)}, and those of the first checkpoint "
                f"{', '.join(classes)}; judge them one by one"
            )


def _name(checkpoint: Path) -> str:
    run = run_of(checkpoint.absolute())
    return checkpoint.stem if run is None else f"{run.parent.name}/{run.name}"


def _report(scores: ScoresFolder, folder: Path, material: str) -> None:
    from speechshap.report.benchmark_report import write_benchmark
    from speechshap.report.benchmark_text import scores_text

    logger.info("\n%s\n", scores_text(write_benchmark(scores, folder, material)))
    logger.info("benchmark: %s", folder / "table.md")
