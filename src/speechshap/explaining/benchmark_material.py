"""What a benchmark needs of a corpus: utterances, neutral speech, and clips to compare and to replace with."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm.auto import tqdm

from speechshap.attribution import MethodChoice, ReferenceSettings, parse_methods
from speechshap.data.dataset import Batch, Example, collate, load_waveforms, repeated_to_longest
from speechshap.data.splicing import SplicedClip, spliced_speech
from speechshap.data.splits import draw_subset
from speechshap.data.utterance import Utterance
from speechshap.errors import UserError
from speechshap.evaluation.metrics import METRICS, choose_metrics
from speechshap.explaining.benchmark import Clip
from speechshap.explaining.benchmark_options import BenchmarkOptions
from speechshap.training.datamodule import AudioDataModule

logger = logging.getLogger(__name__)

_NEUTRAL_CLIPS = 8
"""Neutral clips of a speaker at most, that known evidence is replaced by."""


class BenchmarkMaterial:
    """What a benchmark needs of a corpus.

    Recordings are decoded batch by batch; spliced speech is made at once.

    Args:
        data: The corpus, with the classes and the split of the model.
        asked: What is judged, on what, and by what.

    Attributes:
        against: Class that is subtracted; None subtracts none.
        methods: To judge.

    Raises:
        UserError: A method does not exist, or the model lacks the class ``against``.
    """

    def __init__(self, data: AudioDataModule, asked: BenchmarkOptions) -> None:
        self.data = data
        self.asked = asked
        self.against = asked.subtracted(data.classes)
        self.methods: list[MethodChoice] = parse_methods(
            default_methods(self.against) if asked.methods == "default" else asked.methods
        )
        self._references: dict[tuple[int, str | None], Tensor] = {}
        data.catalogue.report_to(None)

    @cached_property
    def clips(self) -> dict[str, Clip]:
        """Every utterance that is judged, by its id.

        Raises:
            UserError: No utterance has a label, or nothing can be spliced.
        """
        if self.asked.speech != "recordings":
            spliced = [(clip.utterance, clip.speech) for clip in self._spliced]
            return {own.id: Clip(own, speech, self._neutral_of.get(own.speaker or "")) for own, speech in spliced}
        neutral = self._neutral_of if any(own.stretches for own in self._recordings) else {}
        return {own.id: Clip(own, None, neutral.get(own.speaker or "")) for own in self._recordings}

    @property
    def loader(self) -> DataLoader[Batch]:
        """Batches of utterances of similar length."""
        if self.asked.speech == "recordings":
            self.data.predict_utterances = self._recordings
            return self.data.predict_dataloader()
        found = [
            Example(torch.from_numpy(clip.waveform), self.data.classes.index(str(clip.utterance.label)), clip.utterance)
            for clip in self._spliced
        ]
        longest_first = sorted(found, key=lambda example: -len(example.waveform))
        return DataLoader(_Batches(longest_first, self.data.batch_size), batch_size=None)

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics to judge by.

        Raises:
            UserError: One that needs known evidence is asked for by its name, and none is known.
        """
        chosen = choose_metrics(self.asked.metrics)
        if any(clip.utterance.stretches for clip in self.clips.values()):
            return chosen
        lacking = [name for name in chosen if METRICS[name].needs_truth]
        named = {part.strip() for part in self.asked.metrics.split(",")}
        if refused := [name for name in lacking if name in named]:
            raise UserError(
                f"`metrics`: {', '.join(refused)}: the evidence of no utterance is known; take other metrics, a "
                'manifest with `start` and `end`, a planted corpus, or `speech="spliced"`'
            )
        if lacking:
            logger.info("the evidence of no utterance is known; left out: %s", ", ".join(lacking))
        return [name for name in chosen if name not in lacking]

    @property
    def name(self) -> str:
        """What is judged, in words."""
        root = self.data.catalogue.root
        corpus = "the planted-evidence corpus" if root is None else str(root)
        if isinstance(root, Path):
            corpus = root.resolve().name
        part = "all" if self.data.predict_split == "all" else f"the {self.data.predict_split} split"
        speech = {
            "recordings": "",
            "spliced": ", spliced",
            "spliced_level": ", spliced at the level of what it replaces",
        }
        subtracted = "" if self.against is None else f", against {self.against}"
        return f"{part} of {corpus}{speech[self.asked.speech]}{subtracted}"

    @cached_property
    def again(self) -> frozenset[str]:
        """Ids of the utterances that are explained several times."""
        if not self.asked.again:
            return frozenset()
        drawn = draw_subset([clip.utterance for clip in self.clips.values()], self.asked.again, self.data.split_seed)
        return frozenset(utterance.id for utterance in drawn)

    def references(self, settings: ReferenceSettings) -> Tensor:
        """Training clips ``(references, time)`` as a method asks for."""
        asked = settings.n_references, settings.reference_label
        if asked not in self._references:  # several methods may have the same
            self._references[asked] = self.data.reference_set(*asked)
        return self._references[asked]

    @cached_property
    def operators(self) -> dict[str, Tensor]:
        """Clips that frames are replaced by, beside silence and noise."""
        name = "dataset" if self.against is None else f"dataset:{self.against}"
        return {name: self.references(ReferenceSettings(baselines=name))}

    @cached_property
    def _recordings(self) -> list[Utterance]:
        chosen = self.data.catalogue.utterances_to_explain(self.data.predict_split, self.data.max_utterances)
        labelled = [utterance for utterance in chosen if utterance.label is not None]
        if not labelled:
            raise UserError("no utterance has a label; a benchmark explains the labels of utterances")
        return labelled

    @cached_property
    def _whole_split(self) -> list[Utterance]:
        if self.data.max_utterances is None and self.asked.speech == "recordings":
            return self._recordings
        if self.asked.speech == "recordings":
            self.data.catalogue.report_to(None, quiet=True)  # of what is judged it was told
        return self.data.catalogue.utterances_to_explain(self.data.predict_split, None)

    @cached_property
    def _spliced(self) -> list[SplicedClip]:
        neutral = self.against or BenchmarkOptions.against
        labels = {utterance.label for utterance in self._whole_split if utterance.label}
        if neutral not in labels:
            raise UserError(
                f'`speech="{self.asked.speech}"` needs {neutral} speech, and the labels are '
                f"{', '.join(sorted(labels))}; name that of neutral speech as `against`, or take "
                'speech="recordings"'
            )
        clips = spliced_speech(
            self._whole_split, match_level=self.asked.speech == "spliced_level", limit=self.data.max_utterances,
            seed=self.data.split_seed, neutral=neutral,
        )  # fmt: skip
        return list(tqdm(clips, desc="splicing", unit="clip"))

    @cached_property
    def _neutral_of(self) -> dict[str, Tensor]:
        """Neutral speech of each speaker, ``(clips, time)``."""
        by_speaker: dict[str, list[Utterance]] = {}
        neutral = self.against or BenchmarkOptions.against
        for utterance in self._whole_split:
            if utterance.label == neutral and utterance.speaker:
                by_speaker.setdefault(utterance.speaker, []).append(utterance)
        return {
            speaker: repeated_to_longest(load_waveforms(own[:_NEUTRAL_CLIPS])) for speaker, own in by_speaker.items()
        }


class _Batches(IterableDataset[Batch]):
    def __init__(self, examples: Sequence[Example], batch_size: int) -> None:
        self.examples = examples
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.examples), self.batch_size):
            yield collate(self.examples[start : start + self.batch_size])


def default_methods(against: str | None) -> str:
    """Methods of all kinds, with references of the class that is subtracted.

    Example:
        >>> len(parse_methods(default_methods("neutral")))
        8
    """
    clips = "dataset" if against is None else f"dataset:{against}"
    return (
        f"kernel_shap(baselines={clips}), gradient_shap(baselines={clips}, n_samples=64), gradient_shap(n_samples=64), "
        f"integrated_gradients(baselines={clips}), occlusion(baselines={clips}), gradient_x_input, energy, random"
    )
