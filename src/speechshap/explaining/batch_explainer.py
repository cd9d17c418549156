"""One batch: from waveforms to records, with any method and any model."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from speechshap.attribution import (
    WAVEFORM,
    Attribution,
    Baseline,
    Evaluator,
    PathSettings,
    ReferenceSettings,
    Settings,
    Target,
    Targets,
    UtteranceError,
    baseline_from_settings,
    find_method,
    silence,
)
from speechshap.attribution.segments import NamedSegments
from speechshap.data import Batch
from speechshap.data.batches import alone, select_utterances
from speechshap.errors import UserError
from speechshap.explaining.answers import with_answers
from speechshap.explaining.cues import with_cues
from speechshap.explaining.explained_model import ExplainedModel
from speechshap.explaining.options import Arithmetic, RunOptions
from speechshap.explaining.predictions import predicted_class
from speechshap.explaining.segments import aligned_tiers, named_segments
from speechshap.explaining.targets import TargetChoice
from speechshap.fingerprint import fingerprint
from speechshap.frames import FrameGrid
from speechshap.models import SpeechClassifier
from speechshap.results.conversion import from_attribution, layer_tensors
from speechshap.results.explanation import Explanation, Provenance
from speechshap.spaces import Bands, Space

logger = logging.getLogger(__name__)


class UnfitMethodError(UserError):
    """A method cannot explain a model."""


class Explained(NamedTuple):
    """An utterance that was explained.

    Attributes:
        explanation: The record.
        neurons: Neuron attributions by name, for a file beside the table; empty without layers.
        converged: Whether the tolerance was met; None where none was asked for.
    """

    explanation: Explanation
    neurons: dict[str, Tensor]
    converged: bool | None


class BatchExplainer:
    """Explains the utterances of a batch; one that cannot be explained costs itself alone.

    Args:
        model: On its device; put in eval mode and frozen while it explains.
        method: Name of a file in :mod:`speechshap.attribution.methods`.
        settings: Of the method.
        options: How to compute.
        arithmetic: Precision.
        references: Training clips ``(references, time)``, where the settings' ``baselines`` are of the ``dataset``.
        baseline: Draws the references, in place of what the settings name.
        progress: Called with the number of evaluations of the model since the last call.
        label: Of the method among several, for messages; None where it is the only one.

    Attributes:
        failed: Ids of the utterances that could not be explained so far.

    Raises:
        UserError: A setting does not fit the model.
        UnfitMethodError: The method does not.
    """

    def __init__(
        self,
        model: SpeechClassifier,
        method: str,
        settings: Settings,
        options: RunOptions = RunOptions(),  # noqa: B008 - immutable
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - immutable
        references: Tensor | None = None,
        *,
        baseline: Baseline | None = None,
        progress: Callable[[int], None] | None = None,
        label: str | None = None,
    ) -> None:
        if model.is_regression and settings.output != "logit":
            raise UserError(f'`output` is {settings.output!r}, but the model is a regression; expected "logit"')
        layers, along_path, space = "none", False, WAVEFORM
        if isinstance(settings, PathSettings):
            layers, along_path = settings.layers, settings.layers != "none" and settings.layer_method == "path"
            space = settings.space
        self.model = ExplainedModel(model, arithmetic, layers, options.gradient_checkpointing, along_path, space)
        self.method_name, self.method = method, find_method(method)
        obstacle = self.method.obstacle and self.method.obstacle(self.model.module)
        if obstacle:
            # Of several methods, the text that has all of them is no name of one.
            told = f"`method` is {method}, which" if label is None else label
            raise UnfitMethodError(f"{told} cannot explain this model: {obstacle}")
        self.settings = settings
        self.options = options
        self.progress = progress
        self.label = label
        self.failed: list[str] = []
        # Where the classes have names, a target that does not exist is refused before the model is asked anything.
        self._choice = None if model.classes is None else self._target_choice(model.classes)
        if baseline is None and isinstance(settings, ReferenceSettings):
            baseline = baseline_from_settings(settings, references)
        self.baseline = baseline or silence  # which nothing is compared with, where the settings have no references
        self._references = references

    @property
    def bands(self) -> Bands | None:
        """Of the time-frequency attributions; None where there are none."""
        if self.settings.spectrum is not None:
            return self.settings.spectrum.bands
        return next((space.bands for space in self.model.spaces.values()), None)

    @property
    def settings_fingerprint(self) -> str:
        """Of all that is common to the explanations of a run: model, precision, references, settings."""
        computed_with = (self.model.fingerprint, self._references_fingerprint, self.model.arithmetic.name)
        return fingerprint(*computed_with, self.method_name, self.settings.as_dict())

    @cached_property
    def _references_fingerprint(self) -> str:
        return fingerprint(self._references)

    def learn(self, waveforms: Iterable[Tensor]) -> dict[str, Any]:
        """Let the method learn from waveforms ``(time,)``; returns the settings that changed, by name."""
        if self.method.learn is None:
            return {}
        before = self.settings.as_dict()
        with self.model.ready():
            batches = (alone(w.to(self.model.device), f"calibration {number}") for number, w in enumerate(waveforms))
            usable = (batch for batch in batches if self.model.obstacle(int(batch.lengths)) is None)
            evaluators = (self.evaluator(batch, layers={}) for batch in usable)
            learnt = self.method.learn(evaluators, self.baseline, self.settings).as_dict()
        changed = {name: value for name, value in learnt.items() if value != before[name]}
        self.adopt(changed)
        return changed

    def adopt(self, changed: dict[str, Any]) -> None:
        """Apply settings that were learnt."""
        # JSON, from which they may come, has lists alone.
        frozen: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in changed.items()
        }
        self.settings = replace(self.settings, **frozen)

    def logits(self, batch: Batch) -> Tensor:
        """Logits ``(batch, classes)`` of the model."""
        groups = self.model.groups(batch)  # in the order of the batch
        return torch.cat([self.evaluator(select_utterances(batch, rows), layers={}).logits for rows in groups])

    def targets(self, logits: Tensor) -> list[list[Target]]:
        """What is explained of each utterance with these logits ``(batch, classes)``.

        Raises:
            UserError: The model has another number of outputs than it has names for them.
        """
        names = self.model.class_names(logits.shape[1])
        choice = self._target_choice(names) if self._choice is None else self._choice
        return [choice.of(row) for row in logits]

    def fingerprints(self, batch: Batch) -> list[str]:
        """Of each utterance: explanations with the same one hold the same numbers, of the same segments."""
        common = self.settings_fingerprint
        utterances = zip(batch.waveforms, batch.lengths.tolist(), batch.paths, strict=True)
        return [
            fingerprint(common, waveform[:length], *aligned_tiers(path, self.settings, self.options.alignments))
            for waveform, length, path in utterances
        ]

    def segments(self, batch: Batch) -> list[NamedSegments]:
        """Segments of each utterance, of which the evaluator is told."""
        grid = self.model.classifier.grid
        return [
            named_segments(
                aligned_tiers(path, self.settings, self.options.alignments), waveform[:length], self.settings, grid
            )
            for waveform, length, path in zip(batch.waveforms, batch.lengths.tolist(), batch.paths, strict=True)
        ]

    def explain(
        self, batch: Batch, targets: Sequence[Sequence[Target]], fingerprints: Sequence[str]
    ) -> Iterator[Explained]:
        """Explain all utterances of a batch.

        Args:
            batch: On the device of the model, with :meth:`explainable` utterances.
            targets: Of each utterance, equally many.
            fingerprints: Of each utterance.

        Yields:
            Each utterance that can be explained.
        """
        for rows in self.model.groups(batch):
            attribution = None
            while rows and attribution is None:
                chosen = select_utterances(batch, rows)
                segments = self.segments(chosen)
                try:
                    attribution = self._attribute(chosen, [targets[row] for row in rows], segments)
                except UtteranceError as error:
                    # The rest of the batch is still explained.
                    self._fail(error.utterance_id, str(error))
                    rows = [row for row in rows if batch.ids[row] != error.utterance_id]
            if attribution is None:
                continue
            embeddings = self.model.embed(chosen)
            explanations = [
                self.record(
                    attribution, index, chosen, targets[row], self._provenance(fingerprints[row]), embeddings[index],
                    segments[index],
                )
                for index, row in enumerate(rows)
            ]  # fmt: skip
            if self.options.answers:
                classes = self.model.class_names(attribution.logits.shape[1])
                asked = self.evaluator(chosen, layers={}, spaces={}, is_counted=False)
                explanations = with_answers(explanations, asked, classes, self.settings.seed)
            for index, row in enumerate(rows):
                explanation = explanations[index]
                if self.options.cues:
                    explanation = with_cues(explanation, chosen.waveforms[index])
                neurons = layer_tensors(attribution, index, targets[row]) if self.model.layers else {}
                converged = None if attribution.converged is None else bool(attribution.converged[index])
                yield Explained(explanation, neurons, converged)

    def with_finite_outputs(self, batch: Batch, logits: Tensor) -> list[int]:
        """Utterances whose logits ``(batch, classes)`` are finite; warns of the others."""
        finite = logits.isfinite().all(1).tolist()
        for utterance, is_finite in zip(batch.ids, finite, strict=True):
            if not is_finite:
                self._fail(utterance, "an output of the model is not finite")
        return [row for row, is_finite in enumerate(finite) if is_finite]

    def explainable(self, batch: Batch) -> list[int]:
        """Utterances that nothing stands in the way of; warns of the others."""
        rows = []
        for row, length in enumerate(batch.lengths.tolist()):
            obstacle = self.model.obstacle(length)
            if not bool(batch.waveforms[row, :length].isfinite().all()):
                obstacle = "its waveform is not finite"
            if obstacle is None:
                rows.append(row)
            else:
                self._fail(batch.ids[row], obstacle)
        return rows

    def evaluator(
        self,
        batch: Batch,
        layers: Mapping[str, nn.Module],
        grid: FrameGrid | None = None,
        segments: Sequence[NamedSegments] | None = None,
        spaces: Mapping[str, Space] | None = None,
        is_counted: bool = True,
    ) -> Evaluator:
        """Evaluator of the model for a batch; frames and space are the model's unless others are given.

        Its evaluations are told to ``progress``, unless they are not to be counted.
        """
        spaces = self.model.spaces if spaces is None else spaces
        size = self.options.chunk_size
        if size is None and self.model.classifier.gradient_checkpointing:
            size = 1  # what checkpointing needs cannot be seen beforehand, and who asks for it lacks memory
        return Evaluator(
            self.model.forward, batch.waveforms.float(), batch.lengths, batch.ids, layers=layers,
            grid=grid or self.model.classifier.grid, module=self.model.module, spaces=spaces, chunk_size=size,
            progress=self.progress if is_counted else None,
            segments=None if segments is None else [own.bounds for own in segments],
            num_decisive=None if segments is None else [own.num_asked for own in segments],
        )  # fmt: skip

    def record(
        self,
        attribution: Attribution,
        index: int,
        batch: Batch,
        targets: Sequence[Target],
        provenance: Provenance,
        embedding: Tensor | None = None,
        segments: NamedSegments | None = None,
    ) -> Explanation:
        """The record of one utterance of a batch."""
        classifier = self.model.classifier
        classes, label = self.model.class_names(attribution.logits.shape[1]), int(batch.labels[index])
        prediction, probability = predicted_class(attribution.logits[index], classes, classifier.is_regression)
        return from_attribution(
            attribution,
            index,
            utterance=batch.ids[index],
            path=batch.paths[index],
            speaker=batch.speakers[index] or None,
            label=classes[label] if 0 <= label < len(classes) else None,
            prediction=prediction,
            probability=probability,
            probabilities=None
            if classifier.is_regression
            else dict(zip(classes, attribution.logits[index].softmax(0).tolist(), strict=True)),
            targets=targets,
            grid=classifier.grid,
            num_samples=int(batch.lengths[index]),
            bands=self.bands,
            embedding=embedding,
            segments=segments,
            truth=batch.stretches[index] if batch.stretches else (),
            provenance=provenance,
        )

    def _fail(self, utterance: str, reason: str) -> None:
        self.failed.append(utterance)
        by_method = "" if self.label is None else f" by {self.label}"
        logger.warning("%s is not explained%s: %s", utterance, by_method, reason)

    def _attribute(
        self, batch: Batch, targets: Sequence[Sequence[Target]], segments: Sequence[NamedSegments]
    ) -> Attribution:
        evaluator = self.evaluator(batch, self.model.layers, segments=segments)
        classes = self.model.class_names(evaluator.logits.shape[1])
        indices = Targets.from_names(targets, classes, self.settings.output)
        return self.method.explain(evaluator, indices, self.baseline, self.settings)

    def _target_choice(self, classes: Sequence[str]) -> TargetChoice:
        return TargetChoice(self.settings.targets, classes, self.model.classifier.is_regression)

    def _provenance(self, own_fingerprint: str) -> Provenance:
        return Provenance(
            method=self.method_name,
            settings=self.settings.as_dict(),
            model=self.model.fingerprint,
            precision=self.model.arithmetic.name,
            settings_fingerprint=self.settings_fingerprint,
            fingerprint=own_fingerprint,
            explained_at=datetime.now(UTC),
        )
