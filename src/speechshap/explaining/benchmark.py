"""Judges explanation methods on the utterances of a batch, and writes a score for each metric."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechshap.attribution import (
    Attribution,
    Baseline,
    Evaluator,
    MethodChoice,
    ReferenceSettings,
    Target,
    Targets,
    UtteranceError,
    as_baseline,
    gaussian_noise,
    silence,
)
from speechshap.data import Batch, Stretch, Utterance
from speechshap.data.batches import select_utterances
from speechshap.errors import UserError
from speechshap.evaluation.case import Case, Judged
from speechshap.evaluation.metrics import METRICS
from speechshap.evaluation.reliance import reliance
from speechshap.explaining.batch_explainer import BatchExplainer
from speechshap.explaining.options import Arithmetic, RunOptions
from speechshap.fingerprint import fingerprint
from speechshap.models import SpeechClassifier
from speechshap.results.parts import PartsWriter, Row

logger = logging.getLogger(__name__)

MODEL = ""
"""Stands for the method in rows that are about the model alone."""

ATTRIBUTION, SECONDS, EVALUATIONS, RELIANCE = "attribution", "seconds", "evaluations", "reliance"
"""Rows beside those of the metrics: the attributions of the frames, what they cost, and whether the model relies on the
known evidence."""


@dataclass(frozen=True, eq=False)
class Clip:
    """An utterance that explanations are judged on.

    Attributes:
        utterance: With its label, and the stretches of its evidence where these are known.
        speech: Stretch within which explanations are compared with the evidence; None takes the whole utterance.
        neutral: Neutral speech of the same speaker, ``(clips, time)``; None where there is none.
    """

    utterance: Utterance
    speech: Stretch | None = None
    neutral: Tensor | None = None


class _Method(NamedTuple):
    label: str
    explainer: BatchExplainer


class _UnfitError(Exception):
    """A method cannot explain the model."""


class Benchmark:
    """Judges methods on utterances, batch by batch; an utterance that a method fails on lacks the scores of that one.

    All methods explain the same output: that of the utterance's own label, less that of the class ``against``. For
    utterances of that class itself it is the other way round, with the strongest other class.

    Args:
        model: On its device.
        methods: To judge.
        metrics: Names from :data:`speechshap.evaluation.metrics.METRICS`.
        writer: Takes the rows, and knows those that are there already.
        checkpoint: Name of the model in the table.
        references: Training clips ``(references, time)`` for the settings of a method, where these ask for some.
        operators: Further masking operators beside silence and noise, by name: clips ``(clips, time)``.
        against: Class that is subtracted; None subtracts none.
        again: Ids of the utterances that metrics explain again; the others get no such scores. None: all.
        material: What is judged, in words; scores of the same utterance as a part of something else are others.
        chunk_size: Of the evaluations.
        arithmetic: Precision.
        progress: Called with the number of utterances that a method is done with.

    Attributes:
        failed: Why an utterance is left out, by method and id; the method is empty where it is left out of all.

    Raises:
        UserError: The model has no classes, or not this one, or no method can explain it; here, or as soon as that
            shows. A method that cannot costs a warning where others can.
    """

    def __init__(
        self,
        model: SpeechClassifier,
        methods: Sequence[MethodChoice],
        metrics: Sequence[str],
        writer: PartsWriter,
        checkpoint: str = "",
        *,
        references: Callable[[ReferenceSettings], Tensor] | None = None,
        operators: Mapping[str, Tensor] | None = None,
        against: str | None = None,
        again: frozenset[str] | None = None,
        material: str = "",
        chunk_size: int | None = None,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - immutable
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        if model.is_regression or model.classes is None:
            raise UserError("a benchmark judges explanations of classes by their names, and this model has none")
        if against is not None and against not in model.classes:
            raise UserError(f"`against` is {against!r}; expected none or one of {', '.join(model.classes)}")
        self.classes = list(model.classes)
        self.metrics = list(metrics)
        self.writer = writer
        self.checkpoint = checkpoint
        self.against = against
        self.again = again
        self.material = material
        self.progress = progress
        self.failed: dict[tuple[str, str], str] = {}
        self._operators: dict[str, Baseline] = {"silence": silence, "noise": gaussian_noise()}
        self._operators |= {name: as_baseline(clips) for name, clips in (operators or {}).items()}
        self._operators_fingerprint = fingerprint(*(operators or {}).values())
        self._methods: list[_Method] = []
        for choice in methods:
            settings = choice.settings
            clips = None
            if isinstance(settings, ReferenceSettings) and settings.from_dataset and references is not None:
                clips = references(settings)
            try:
                explainer = BatchExplainer(
                    model, choice.name, settings, RunOptions(chunk_size=chunk_size), arithmetic, clips
                )
            except UserError as error:
                logger.warning("%s is left out: %s", choice, error)
            else:
                self._methods.append(_Method(str(choice), explainer))
        self._refuse_without_methods()
        self._model = self._methods[0].explainer  # the model is the same for all methods
        self._known = {(row[0], row[1], row[2]) for row in writer.known}

    def judge(self, batch: Batch, clips: Sequence[Clip]) -> None:
        """Judge all methods on the utterances of a batch, and write their scores.

        Args:
            batch: On the device of the model.
            clips: Of each utterance.
        """
        first = self._model
        with first.model.ready():
            rows = first.explainable(batch)
            for row in set(range(len(batch.ids))) - set(rows):
                self.failed[MODEL, batch.ids[row]] = "it cannot be explained"  # a warning has told why
            self.progress((len(batch.ids) - len(rows)) * len(self._methods))
            batch, clips = select_utterances(batch, rows), [clips[row] for row in rows]
            for own in first.model.groups(batch) if rows else ():
                self._judge_group(select_utterances(batch, own), [clips[row] for row in own])

    def _evaluator(self, batch: Batch) -> Evaluator:
        """Evaluator with the spaces of all methods."""
        spaces = {name: space for method in self._methods for name, space in method.explainer.model.spaces.items()}
        return self._model.evaluator(batch, layers={}, spaces=spaces)

    def _judge_group(self, batch: Batch, clips: Sequence[Clip]) -> None:
        """Judge utterances that may go through the model together; without those that fail."""
        evaluator = self._evaluator(batch)
        targets = self._targets(evaluator.logits, [clip.utterance.label for clip in clips])
        cases: dict[tuple[str, ...], Case] = {}  # with what all methods have in common
        usable = self._judge_without_failures(None, batch, clips, targets, list(range(len(batch.ids))), cases)
        for method in list(self._methods):
            try:
                self._judge_without_failures(method, batch, clips, targets, usable, cases)
            except _UnfitError as error:
                logger.warning("%s is left out: %s", method.label, error)
                self._methods.remove(method)
                self._refuse_without_methods()
            self.progress(len(batch.ids))

    def _judge_without_failures(
        self,
        method: _Method | None,
        batch: Batch,
        clips: Sequence[Clip],
        targets: Sequence[Target],
        rows: list[int],
        cases: dict[tuple[str, ...], Case],
    ) -> list[int]:
        """Judge a method, or the model alone, on these rows of a batch; returns those that it does not fail on."""
        while rows:
            chosen = select_utterances(batch, rows)
            try:
                self._judge_method(method, chosen, [clips[row] for row in rows], [targets[row] for row in rows], cases)
                break
            except UtteranceError as error:
                name, label = error.utterance_id, MODEL if method is None else method.label
                self.failed[label, name] = str(error)
                logger.warning("%s is left out%s: %s", name, f" of {label}" if label else "", error)
                rows = [row for row in rows if batch.ids[row] != name]
        return rows

    def _judge_method(
        self,
        method: _Method | None,
        batch: Batch,
        clips: Sequence[Clip],
        targets: Sequence[Target],
        cases: dict[tuple[str, ...], Case],
    ) -> None:
        """Write the scores of a method, or those of the model alone, that are not there yet."""
        keys = self._fingerprints(method, batch, targets)
        for again in (True, False):
            rows = [row for row, name in enumerate(batch.ids) if (self.again is None or name in self.again) is again]
            wanted = self._wanted(method, again)
            lacking = {row: {name for name in wanted if (batch.ids[row], keys[row], name) not in self._known}
                       for row in rows}  # fmt: skip
            missing = [row for row, names in lacking.items() if names]
            if not missing:
                continue
            wanted = [name for name in wanted if any(name in lacking[row] for row in missing)]
            own, own_targets = [clips[row] for row in missing], [targets[row] for row in missing]
            names = tuple(batch.ids[row] for row in missing)
            if names not in cases:
                cases[names] = self._case(select_utterances(batch, missing), own, own_targets)
            case = cases[names]
            scores = self._of_model(case, own) if method is None else self._of_method(method, case, wanted)
            lengths = case.evaluator.frame_lengths.tolist()
            self._write(method, own, own_targets, [keys[row] for row in missing], lengths, scores)

    def _refuse_without_methods(self) -> None:
        if not self._methods:
            raise UserError("none of the `methods` can explain this model; the warnings above tell why")

    def _wanted(self, method: _Method | None, again: bool) -> list[str]:
        if method is None:
            return [RELIANCE]
        metrics = [name for name in self.metrics if again or not METRICS[name].explains_again]
        return [ATTRIBUTION, SECONDS, EVALUATIONS, *metrics]

    def _case(self, batch: Batch, clips: Sequence[Clip], targets: Sequence[Target]) -> Case:
        return Case(
            self._evaluator(batch),
            Targets.from_names([[target] for target in targets], self.classes),
            self._operators,
            [clip.utterance.stretches for clip in clips],
            [clip.speech for clip in clips],
        )

    def _of_model(self, case: Case, clips: Sequence[Clip]) -> dict[tuple[str, str], Tensor]:
        """Whether the model relies on the known evidence, where the speaker's neutral speech is at hand."""
        draws = [silence if clip.neutral is None else as_baseline(clip.neutral) for clip in clips]
        references = [case.evaluator.reference(draw, row, case.seed) for row, draw in enumerate(draws)]
        falls = reliance(case.evaluator, case.targets, case.truth, case.judged, references, seed=case.seed)
        unknown = torch.tensor([clip.neutral is None for clip in clips], device=falls.on_evidence.device)
        return {
            (RELIANCE, "evidence"): falls.on_evidence.masked_fill(unknown, torch.nan),
            (RELIANCE, "rest"): falls.on_rest.masked_fill(unknown, torch.nan),
            (RELIANCE, "output"): case.output,
        }

    def _of_method(self, method: _Method, case: Case, wanted: Sequence[str]) -> dict[tuple[str, str], Tensor]:
        explainer = method.explainer

        def explain(evaluator: Evaluator, seed: int) -> Attribution:
            settings = replace(explainer.settings, seed=seed)
            return explainer.method.explain(evaluator, case.targets, explainer.baseline, settings)

        seed = explainer.settings.seed
        _ = case.output  # the logits are not what a method costs
        started = _now(case.evaluator)
        try:
            attribution = explain(case.evaluator, seed)
        except UserError as error:
            raise _UnfitError(error) from error
        seconds = (_now(case.evaluator) - started) / len(case.evaluator)
        judged = Judged(case, attribution, explain, seed, explainer.bands)
        scores = {
            (ATTRIBUTION, ""): judged.frames,
            (SECONDS, ""): torch.full((len(case.evaluator),), seconds),
            (EVALUATIONS, ""): attribution.n_samples,
        }
        for name in wanted:
            if name in METRICS:
                scores |= {(name, variant): values for variant, values in METRICS[name].compute(judged).items()}
        return scores

    def _targets(self, logits: Tensor, labels: Sequence[str | None]) -> list[Target]:
        """What is explained of each utterance."""
        targets = []
        for row, label in zip(logits, labels, strict=True):
            order = [self.classes[index] for index in row.argsort(descending=True, stable=True).tolist()]
            own = order[0] if label is None else label
            other = self.against
            if own == other:
                other = next(name for name in order if name != own)
            targets.append(Target(own, other))
        return targets

    def _fingerprints(self, method: _Method | None, batch: Batch, targets: Sequence[Target]) -> list[str]:
        model = self._model.model
        common = fingerprint(
            (model.fingerprint, model.arithmetic.name) if method is None else method.explainer.settings_fingerprint,
            list(self._operators),
            self._operators_fingerprint,
            self.material,
        )
        sounds = zip(batch.waveforms, batch.lengths.tolist(), targets, strict=True)
        return [fingerprint(common, str(target), waveform[:length]) for waveform, length, target in sounds]

    def _write(
        self,
        method: _Method | None,
        clips: Sequence[Clip],
        targets: Sequence[Target],
        keys: Sequence[str],
        lengths: Sequence[int],
        scores: Mapping[tuple[str, str], Tensor],
    ) -> None:
        columns = {name: values.detach().double().cpu() for name, values in scores.items()}
        rows: list[Row] = []
        for index, (clip, target, key) in enumerate(zip(clips, targets, keys, strict=True)):
            shared: dict[str, Any] = {
                "utterance": clip.utterance.id,
                "label": clip.utterance.label,
                "speaker": clip.utterance.speaker,
                "target": target.label,
                "against": target.against,
                "checkpoint": self.checkpoint,
                "model": self._model.model.fingerprint,
                "material": self.material,
                "method": MODEL if method is None else method.label,
                "fingerprint": key,
            }
            for (metric, variant), values in columns.items():
                value = values[index]
                is_number = value.ndim == 0 and math.isfinite(value)
                rows.append(
                    {
                        **shared,
                        "metric": metric,
                        "variant": variant,
                        "value": float(value) if is_number else None,
                        "frames": value[: lengths[index]].tolist() if value.ndim else None,
                    }
                )
        written = self.writer.write_rows(rows)
        self._known |= {(row[0], row[1], row[2]) for row in written}


def _now(evaluator: Evaluator) -> float:
    if evaluator.device.type == "cuda":
        torch.cuda.synchronize(evaluator.device)
    return time.perf_counter()
