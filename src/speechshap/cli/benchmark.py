"""``speechshap benchmark``: which method, with which settings, can be trusted on a model?"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from speechshap.attribution import ReferenceSettings, parse_methods
from speechshap.cli.arithmetic import add_matmul_precision, set_matmul_precision
from speechshap.cli.configs import config_paths
from speechshap.cli.corpus import take_planted_corpus
from speechshap.cli.flags import flags_of, parameters_as_flags
from speechshap.data.dataset import Batch, Example, collate, load_waveforms, repeated_to_longest
from speechshap.data.splicing import spliced_speech
from speechshap.data.splits import draw_subset
from speechshap.data.utterance import Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError, require_at_least, require_choice
from speechshap.evaluation.metrics import choose_metrics
from speechshap.explaining.benchmark import Benchmark, Clip
from speechshap.explaining.benchmark_callback import BenchmarkCallback
from speechshap.results.parts import PartsWriter
from speechshap.results.scores import ScoresFolder
from speechshap.training import AudioDataModule, EmotionModule
from speechshap.training.checkpoints import find_checkpoint, load_checkpoint, read_checkpoint, run_of
from speechshap.training.datamodule import CORPUS_OPTIONS, SPLIT_OPTIONS
from speechshap.training.run_folder import no_empty_folder

logger = logging.getLogger(__name__)

Speech = Literal["recordings", "spliced", "spliced_level"]

_NEUTRAL_CLIPS = 8
"""Neutral clips of a speaker at most, that known evidence is replaced by."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is judged, on what, and by what.

    Attributes:
        methods: Methods with their settings, such as ``gradient_shap(baselines=dataset:neutral, n_samples=64),
            occlusion, energy, random``; ``default`` is a choice of all kinds.
        metrics: ``default`` (those that tell a right explanation from a wrong one), ``all``, or names with commas
            between them: auc, pointing, mass, precision, time_frequency_auc (where the evidence is known), deletion,
            insertion, comprehensiveness, sufficiency, infidelity, max_sensitivity, seed_agreement, randomization,
            completeness, sparseness.
        against: Class whose output is subtracted from that of an utterance's label; ``none`` explains the label alone.
        speech: ``recordings`` as they are (evidence is known where a manifest has ``start`` and ``end``, and in planted
            corpora), or neutral takes with a stretch of an emotional take of the same sentence and speaker,
            ``spliced`` at its own level or brought to the ``spliced_level`` of what it replaces, so that loudness does
            not give it away.
        again: Utterances that the metrics judge which explain several times (max_sensitivity, seed_agreement,
            randomization); they are drawn from all.
        chunk_size: Variants of an utterance that go through the model at once; left out, a number chosen for the
            device.
        output_dir: Folder of the results; left out, ``benchmark/`` of the (first) run.

    Raises:
        UserError: A value is not legal.
    """

    methods: str = "default"
    metrics: str = "default"
    against: str = "neutral"
    speech: Speech = "recordings"
    again: int = 25
    chunk_size: int | None = None
    output_dir: str | None = None

    def __post_init__(self) -> None:
        require_choice("speech", self.speech, get_args(Speech))
        require_at_least(0, again=self.again)
        require_at_least(1, chunk_size=self.chunk_size)
        choose_metrics(self.metrics)


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
    parser = ArgumentParser(
        prog=program,
        usage=f"{program} --ckpt_path runs/<experiment>/version_N [options]",
        description="Judge explanation methods on the test split of a trained classifier: do they find evidence that "
        "is known, do outputs follow when what they name is taken away, are they stable, do they depend on the model? "
        "Writes a table, with intervals over speakers.",
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
    parser.add_class_arguments(AudioDataModule, "data", skip={"files", "classes", "transform"}, instantiate=False)
    parser.add_class_arguments(BenchmarkOptions, "benchmark", as_group=True, instantiate=False)
    trainer = set(pl.Trainer.__init__.__annotations__) - {"accelerator", "precision"}
    parser.add_class_arguments(pl.Trainer, "trainer", skip=trainer, instantiate=False)
    add_matmul_precision(parser)
    parser.set_defaults({"data.batch_size": 8})
    return parser


def _benchmark(arguments: list[str], program: str) -> None:
    parser = _parser(program)
    options = parser.parse_args(arguments)
    asked = BenchmarkOptions(**options.benchmark.as_dict())
    set_matmul_precision(options.float32_matmul_precision)
    paths = [find_checkpoint(path, prefer="best") for path in options.ckpt_path]
    checkpoint = read_checkpoint(paths[0])
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    names = SPLIT_OPTIONS if options.data.root is not None else (*SPLIT_OPTIONS, *CORPUS_OPTIONS)
    parser.set_defaults({f"data.{name}": saved[name] for name in names if name in saved})
    options = parser.parse_args(arguments)
    run = run_of(paths[0].absolute()) or paths[0].absolute().parent
    take_planted_corpus(options.data, run)
    material = _Material(options.data, checkpoint, asked)
    folder = Path(asked.output_dir) if asked.output_dir else run / "benchmark"
    with no_empty_folder(folder), PartsWriter(ScoresFolder(folder / "scores")) as writer:
        total = len(material.clips) * len(material.methods) * len(paths)
        with tqdm(total=total, desc="judging", unit="explanation") as bar:
            for path in paths:
                module = load_checkpoint(path, read_checkpoint(path))
                make = partial(
                    Benchmark, methods=material.methods, metrics=choose_metrics(asked.metrics), writer=writer,
                    checkpoint=_name(path), references=material.references, operators=material.operators,
                    against=material.against, again=material.again, chunk_size=asked.chunk_size, progress=bar.update,
                )  # fmt: skip
                _judge(module, material, make, options.trainer.as_dict())
        _report(ScoresFolder(folder / "scores"), folder)


def _judge(module: EmotionModule, material: "_Material", make: Any, trainer: dict[str, Any]) -> None:
    callback = BenchmarkCallback(make, material.clips)
    runner = pl.Trainer(
        **trainer, devices=1, callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    runner.predict(module, material.loader, return_predictions=False)
    if failed := callback.benchmark.failed:
        logger.warning("%s left out", counted(len(failed), "utterance"))


class _Material:
    """What a benchmark needs of the corpus."""

    def __init__(self, data: Namespace, checkpoint: dict[str, Any], asked: BenchmarkOptions) -> None:
        self.asked = asked
        self.classes: list[str] = checkpoint["hyper_parameters"]["classes"]
        self.module = AudioDataModule(**data.as_dict(), classes=self.classes)
        self.module.load_state_dict(checkpoint.get(AudioDataModule.__qualname__, {}))
        self.module.setup("predict")
        self.seed = data.split_seed
        self.batch_size = data.batch_size

    @cached_property
    def methods(self) -> list[Any]:
        """Methods to judge."""
        text = self.asked.methods
        return parse_methods(_default_methods(self.against) if text == "default" else text)

    @cached_property
    def against(self) -> str | None:
        """The class that is subtracted; none where the model does not have the usual one."""
        against = self.asked.against
        if against == "none" or (against == BenchmarkOptions.against and against not in self.classes):
            return None
        return against

    @cached_property
    def utterances(self) -> list[Utterance]:
        """Labelled utterances of the split."""
        labelled = [utterance for utterance in self.module.predict_utterances if utterance.label is not None]
        if not labelled:
            raise UserError("no utterance has a label; a benchmark explains the labels of utterances")
        return labelled

    @cached_property
    def examples(self) -> list[tuple[Example, Clip]]:
        """Utterances that are judged, decoded."""
        if self.asked.speech == "recordings":
            waveforms = load_waveforms(self.utterances)
            pairs = zip(waveforms, self.utterances, strict=True)
            return [(self._example(waveform, own), Clip(own, None, self._neutral(own))) for waveform, own in pairs]
        clips = spliced_speech(
            self.module.catalogue.utterances_to_explain(self.module.predict_split, None),
            match_level=self.asked.speech == "spliced_level", limit=self.module.max_utterances, seed=self.seed,
            neutral=self.against or "neutral",
        )  # fmt: skip
        found = [
            (self._example(torch.from_numpy(clip.waveform), clip.utterance),
             Clip(clip.utterance, clip.speech, self._neutral(clip.utterance)))
            for clip in tqdm(clips, desc="splicing", unit="clip")
        ]  # fmt: skip
        if not found:
            raise UserError("nothing can be spliced of this split")
        return found

    @cached_property
    def clips(self) -> dict[str, Clip]:
        """Every utterance that is judged, by its id."""
        return {clip.utterance.id: clip for _, clip in self.examples}

    @property
    def loader(self) -> DataLoader[Batch]:
        """Batches of utterances of similar length."""
        examples = sorted((example for example, _ in self.examples), key=lambda example: -len(example.waveform))
        return DataLoader(_Batches(examples, self.batch_size), batch_size=None)

    @cached_property
    def again(self) -> frozenset[str]:
        """Ids of the utterances that are explained several times."""
        drawn = draw_subset([clip.utterance for clip in self.clips.values()], self.asked.again or 1, self.seed)
        return frozenset(utterance.id for utterance in (drawn if self.asked.again else ()))

    def references(self, settings: ReferenceSettings) -> Tensor:
        """Training clips as a method asks for."""
        return self.module.reference_set(settings.n_references, settings.reference_label)

    @cached_property
    def operators(self) -> dict[str, Tensor]:
        """Clips that frames are replaced by, beside silence and noise."""
        name = "dataset" if self.against is None else f"dataset:{self.against}"
        return {name: self.references(ReferenceSettings(baselines=name))}

    def _example(self, waveform: Tensor, utterance: Utterance) -> Example:
        return Example(waveform, self.classes.index(str(utterance.label)), utterance)

    def _neutral(self, utterance: Utterance) -> Tensor | None:
        return self._neutral_of.get(utterance.speaker or "")

    @cached_property
    def _neutral_of(self) -> dict[str, Tensor]:
        """Neutral speech of each speaker."""
        by_speaker: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            if utterance.label == self.against and utterance.speaker:
                by_speaker.setdefault(utterance.speaker, []).append(utterance)
        return {
            speaker: repeated_to_longest(load_waveforms(list(islice(own, _NEUTRAL_CLIPS))))
            for speaker, own in by_speaker.items()
        }


class _Batches(torch.utils.data.IterableDataset[Batch]):
    def __init__(self, examples: Sequence[Example], batch_size: int) -> None:
        self.examples = examples
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.examples), self.batch_size):
            yield collate(self.examples[start : start + self.batch_size])


def _default_methods(against: str | None) -> str:
    clips = "dataset" if against is None else f"dataset:{against}"
    return (
        f"gradient_shap(baselines={clips}, n_samples=64), gradient_shap(n_samples=64), "
        f"integrated_gradients(baselines={clips}), occlusion(baselines={clips}), gradient_x_input, energy, random"
    )


def _name(checkpoint: Path) -> str:
    run = run_of(checkpoint.absolute())
    return checkpoint.stem if run is None else f"{run.parent.name}/{run.name}"


def _report(scores: ScoresFolder, folder: Path) -> None:
    from speechshap.report.benchmark_report import write_benchmark

    logger.info("benchmark: %s", write_benchmark(scores, folder))
