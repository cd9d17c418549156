"""The work of a run: find out what is missing, explain it, write it, show it. Knows nothing of Lightning."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from speechshap.attribution import (
    Attribution,
    Evaluator,
    GradientError,
    PathSettings,
    Settings,
    Target,
    Targets,
    find_method,
    settings_baseline,
)
from speechshap.data import Batch
from speechshap.data.dataset import UNKNOWN_LABEL
from speechshap.errors import UserError
from speechshap.explaining.batches import select
from speechshap.explaining.options import Arithmetic, Place, RunOptions
from speechshap.explaining.own_model import OwnModel
from speechshap.explaining.predictions import predicted_class
from speechshap.explaining.targets import TargetChoice, choose_layers
from speechshap.files import whole_file
from speechshap.frames import SAMPLE_RATE
from speechshap.models import SpeechClassifier
from speechshap.models.modes import evaluation_mode
from speechshap.report.display import Display
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.conversion import from_attribution, layer_tensors
from speechshap.results.explanation import Explanation, Provenance
from speechshap.results.fingerprint import fingerprint
from speechshap.results.folder import ResultsFolder

logger = logging.getLogger(__name__)


class Runner:
    """Explains utterances, batch by batch, into a results folder and a TensorBoard event file beside it.

    Explanations that the folder already holds, of the same sound with the same settings and weights, are skipped. An
    utterance that cannot be explained costs itself alone.

    Args:
        model: On its device; put in eval mode and frozen while it explains.
        method: Name of a file in :mod:`speechshap.attribution.methods`.
        settings: Of the method.
        folder: Of the run; results go to its ``explanations/``.
        options: How to compute and show.
        references: Training clips ``(references, time)``, where the settings' ``baselines`` are ``dataset``.
        calibration: Waveforms ``(time,)`` that the method may learn from before it explains.
        arithmetic: Precision.
        place: Rank of this process, and step of the model.
        num_utterances: That this process will be given, for the progress bar; None where unknown.

    Raises:
        UserError: A setting does not fit the model.
    """

    def __init__(
        self,
        model: SpeechClassifier,
        method: str,
        settings: Settings,
        folder: Path,
        options: RunOptions | None = None,
        *,
        references: Tensor | None = None,
        calibration: Sequence[Tensor] = (),
        arithmetic: Arithmetic | None = None,
        place: Place | None = None,
        num_utterances: int | None = None,
    ) -> None:
        self.model = model
        self.method_name, self.method = method, find_method(method)
        self.options = options or RunOptions()
        self.arithmetic = arithmetic or Arithmetic()
        self.place = place or Place()
        self.settings = settings
        self._check(settings)
        self.targets = None if model.classes is None else self._target_choice(settings, model.classes)
        module = model.module if isinstance(model, OwnModel) else cast(nn.Module, model)
        self.layers = choose_layers(getattr(settings, "layers", "none"), model.layers, module)
        self.baseline = settings_baseline(settings, references)
        self.results = ResultsFolder(folder / "explanations", self.place.rank)
        self.weights = fingerprint(cast(nn.Module, model).state_dict())
        common = fingerprint(self.weights, references, self.arithmetic.name, method, settings.as_dict())
        self.settings = self._learn(settings, calibration, common) if calibration else settings
        self.settings_fingerprint = fingerprint(common, self.settings.as_dict())
        self.done = self.results.explained()
        log = ExplanationLog(folder, self.place.rank)
        self.shown_settings = {"method": method, **self.settings.as_dict(), "precision": self.arithmetic.name}
        if self.place.rank == 0:
            log.settings(self.shown_settings, self.place.step)
        o = self.options
        self.display = Display(log, o.draw, o.log_every, o.max_drawn, o.top_k_frames, self.place.step)
        self.num_explained = self.num_found = self.num_unconverged = self.num_evaluations = 0
        self.seconds = 0.0
        self.failed: list[str] = []
        # Curves go on where those of an earlier run ended; each rank has steps of its own.
        self._first_step = len({(utterance, name) for utterance, _, name in self.done}) + self.place.rank
        self._bar = tqdm(
            total=num_utterances,
            desc="explaining",
            unit=" utterances",
            disable=self.place.rank != 0,
            dynamic_ncols=True,
        )

    def _check(self, settings: Settings) -> None:
        """Refuse what does not fit together, before the model is asked anything."""
        if self.model.is_regression and settings.output != "logit":
            raise UserError(f'`output` is {settings.output!r}, but the model is a regression; expected "logit"')
        if not self.options.gradient_checkpointing:
            return
        if not hasattr(self.model, "backbone"):
            raise UserError("`gradient_checkpointing` is for the backbones of speechshap; leave it out for this model")
        if self._is_along_path:
            raise UserError('`gradient_checkpointing` does not go with `layer_method="path"`; leave one out')

    def _target_choice(self, settings: Settings, classes: Sequence[str]) -> TargetChoice:
        return TargetChoice(settings.targets, classes, self.model.is_regression)

    def _learn(self, settings: Settings, calibration: Sequence[Tensor], common: str) -> Settings:
        """Settings as learnt from some utterances, the same on every rank and in a run that goes on."""
        if self.method.learn is None:
            return settings
        # Whoever reads the folder as one Parquet dataset passes over names with an underscore.
        path = self.results.folder / f"_learnt-{common}.json"
        if path.is_file():
            learnt = {name: _as_tuple(value) for name, value in json.loads(path.read_text()).items()}
            return replace(settings, **learnt)
        waveforms = tqdm(calibration, desc="calibrating", disable=self.place.rank != 0)
        with self._explained_model():
            evaluators = (self._evaluator(_alone(w, f"calibration {n}")) for n, w in enumerate(waveforms))
            learnt_settings = self.method.learn(evaluators, self.baseline, settings)
        before = settings.as_dict()
        changed = {name: value for name, value in learnt_settings.as_dict().items() if value != before[name]}
        if self.place.rank == 0:
            with whole_file(path) as partial:
                partial.write_text(json.dumps(changed))
        return learnt_settings

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the model, in single precision."""
        with self.arithmetic.context():
            return self.model(self.arithmetic.convert(waveforms), lengths).float()

    def explain(self, batch: Batch, logits: Tensor | None = None) -> list[Explanation]:
        """Explain the utterances of a batch that are not explained yet, write the explanations and show them.

        Args:
            batch: On the device of the model.
            logits: Of the model for the batch ``(batch, classes)``; None asks the model.

        Returns:
            What was explained just now.
        """
        with self._explained_model():
            logits = self._logits(batch) if logits is None else logits
            if self.targets is None:
                self.targets = self._target_choice(self.settings, [str(number) for number in range(logits.shape[1])])
            targets = [self.targets.of(row) for row in logits]
            fingerprints = self._fingerprints(batch)
            missing = [
                row
                for row, utterance in enumerate(batch.ids)
                if any((utterance, target, fingerprints[row]) not in self.done for target in targets[row])
            ]
            self.num_found += len(batch.ids) - len(missing)
            missing = self._explainable(batch, missing)
            explained = []
            for rows in self._groups(batch, missing):
                explained += self._explain(batch, rows, targets, fingerprints)
        # Rows are written after the pictures are on disk: written utterances are skipped on resume.
        self.display.log.flush()
        if explained:
            self.results.write(explained)
        self.done.update((e.utterance, target, e.provenance.fingerprint) for e in explained for target in e.targets)
        self._bar.update(len(batch.ids))
        return explained

    def finish(self) -> None:
        """Show what is known of all utterances; every process has to be done."""
        if self.place.rank == 0 and self.num_explained:
            seconds = self.seconds / self.num_explained
            self.display.finish(self.results, self.shown_settings, seconds, self.settings_fingerprint)

    def close(self) -> None:
        """Wait for pictures that are still being drawn, and close the files."""
        self._bar.close()
        self.display.close()

    def report(self) -> None:
        """Say what was done, and what was not."""
        by_whom = " by this process" if self.place.num_ranks > 1 else ""
        known = f", {self.num_found} were there already" if self.num_found else ""
        logger.info("%d utterances explained%s%s: %s", self.num_explained, by_whom, known, self.results.folder)
        if self.failed:
            logger.warning("%d not explained: %s", len(self.failed), ", ".join(self.failed))
        if self.num_unconverged:
            logger.warning(
                "%d utterances did not reach the tolerance within `max_samples`; a larger one lets them",
                self.num_unconverged,
            )

    @contextmanager
    def _explained_model(self) -> Iterator[None]:
        """The model as it is explained: in eval mode, frozen, with checkpointing where that was asked for."""
        with evaluation_mode(cast(nn.Module, self.model)):
            backbone: Any = getattr(self.model, "backbone", None)
            if backbone is None:
                yield
                return
            kept = backbone.gradient_checkpointing
            # Slopes along the path are gone when activations are computed again.
            backbone.gradient_checkpointing = (kept or self.options.gradient_checkpointing) and not self._is_along_path
            try:
                yield
            finally:
                backbone.gradient_checkpointing = kept

    @property
    def _is_along_path(self) -> bool:
        settings = self.settings
        return isinstance(settings, PathSettings) and settings.layers != "none" and settings.layer_method == "path"

    @property
    def _chunk_size(self) -> int | None:
        """Points of a chunk; what checkpointing needs cannot be seen beforehand, and who asks for it lacks memory."""
        return 1 if self.options.chunk_size is None and self.options.gradient_checkpointing else self.options.chunk_size

    def _evaluator(self, batch: Batch) -> Evaluator:
        return Evaluator(
            self.forward,
            batch.waveforms.float(),
            batch.lengths,
            batch.ids,
            layers=self.layers,
            grid=self.model.grid,
            chunk_size=self._chunk_size,
            progress=self._count,
        )

    def _count(self, evaluations: int) -> None:
        self.num_evaluations += evaluations
        self._bar.set_postfix_str(f"{self.num_evaluations} model evaluations")

    def _logits(self, batch: Batch) -> Tensor:
        """Logits ``(batch, classes)`` of a model that the prediction loop has not asked."""
        parts = {}
        for rows in self._groups(batch, range(len(batch.ids))):
            parts.update(zip(rows, self._evaluator(select(batch, rows)).logits, strict=True))
        return torch.stack([parts[row] for row in range(len(batch.ids))])

    def _fingerprints(self, batch: Batch) -> list[str]:
        sounds = zip(batch.waveforms, batch.lengths.tolist(), strict=True)
        return [fingerprint(self.settings_fingerprint, waveform[:length]) for waveform, length in sounds]

    def _groups(self, batch: Batch, rows: Sequence[int]) -> list[list[int]]:
        """Utterances that go through the model together."""
        same_length = len(set(batch.lengths[list(rows)].tolist())) < 2
        if self.model.one_by_one and not same_length:
            return [[row] for row in rows]
        return [list(rows)] if rows else []

    def _explainable(self, batch: Batch, rows: Sequence[int]) -> list[int]:
        """Utterances without those that are too short for the model, or too long for its layers."""
        window = self.model.window if self.layers else None
        explainable = []
        for row in rows:
            length = int(batch.lengths[row])
            if length < self.model.shortest:
                self._fail(batch.ids[row], f"it has {length} samples, and the model needs {self.model.shortest}")
            elif window is not None and length > window:
                limit = f"neurons are explained within a window of {window / SAMPLE_RATE:g} s"
                self._fail(batch.ids[row], f"{limit}; without `layers` it can be")
            else:
                explainable.append(row)
        return explainable

    def _fail(self, utterance: str, reason: str) -> None:
        self.failed.append(utterance)
        logger.warning("%s is not explained: %s", utterance, reason)

    def _explain(
        self, batch: Batch, rows: list[int], targets: Sequence[Sequence[Target]], fingerprints: Sequence[str]
    ) -> list[Explanation]:
        """Explain utterances together, and show each."""
        started = time.perf_counter()
        attribution = None
        while rows and attribution is None:
            chosen = select(batch, rows)
            try:
                attribution = self._attribute(chosen, [targets[row] for row in rows])
            except GradientError as error:
                # The others do not suffer for it.
                self._fail(error.utterance_id, str(error))
                rows = [row for row in rows if batch.ids[row] != error.utterance_id]
        if attribution is None:
            return []
        embeddings = self._embed(chosen)
        seconds = (time.perf_counter() - started) / len(rows)
        explained = []
        for index, row in enumerate(rows):
            explanation = self._record(attribution, index, chosen, targets[row], fingerprints[row], embeddings)
            step = self._first_step + self.num_explained * self.place.num_ranks
            waveform = chosen.waveforms[index, : explanation.num_samples].float().cpu().numpy()
            self.display.explanation(explanation, waveform, seconds, step + 1)
            if self.layers:
                tensors = layer_tensors(attribution, index, targets[row])
                self.results.write_layers(explanation.utterance, tensors, _metadata(explanation))
            explained.append(explanation)
            self.num_explained += 1
        self.seconds += seconds * len(rows)
        if attribution.converged is not None:
            self.num_unconverged += int((~attribution.converged).sum())
        return explained

    def _attribute(self, batch: Batch, targets: Sequence[Sequence[Target]]) -> Attribution:
        assert self.targets is not None  # noqa: S101, set with the first logits
        indices = Targets.from_names(targets, self.targets.classes, self.settings.output)
        return self.method.explain(self._evaluator(batch), indices, self.baseline, self.settings)

    def _embed(self, batch: Batch) -> Tensor | None:
        """What the head hears of each utterance, ``(batch, features)``."""
        with torch.no_grad(), self.arithmetic.context():
            embeddings = self.model.embed(self.arithmetic.convert(batch.waveforms), batch.lengths)
        return None if embeddings is None else embeddings.float().cpu()

    def _record(
        self,
        attribution: Attribution,
        index: int,
        batch: Batch,
        targets: Sequence[Target],
        own_fingerprint: str,
        embeddings: Tensor | None,
    ) -> Explanation:
        assert self.targets is not None  # noqa: S101, set with the first logits
        classes, label = self.targets.classes, int(batch.labels[index])
        prediction, probability = predicted_class(attribution.logits[index], classes, self.model.is_regression)
        return from_attribution(
            attribution,
            index,
            utterance=batch.ids[index],
            path=batch.paths[index],
            label=classes[label] if label >= 0 else None,
            prediction=prediction,
            probability=probability,
            targets=targets,
            grid=self.model.grid,
            num_samples=int(batch.lengths[index]),
            spectrum=self.settings.spectrum if isinstance(self.settings, PathSettings) else None,
            embedding=None if embeddings is None else embeddings[index],
            provenance=Provenance(
                method=self.method_name,
                settings=self.settings.as_dict(),
                model=self.weights,
                precision=self.arithmetic.name,
                settings_fingerprint=self.settings_fingerprint,
                fingerprint=own_fingerprint,
                explained_at=datetime.now(UTC),
            ),
        )


def _metadata(explanation: Explanation) -> dict[str, str]:
    """What a file of neuron attributions says of itself."""
    source = explanation.provenance
    return {
        "utterance": explanation.utterance,
        "fingerprint": source.fingerprint,
        "method": source.method,
        "settings": json.dumps(source.settings),
    }


def _alone(waveform: Tensor, name: str) -> Batch:
    """A waveform ``(time,)`` as a batch of its own."""
    return Batch(waveform[None], torch.tensor([len(waveform)]), torch.tensor([UNKNOWN_LABEL]), [name], [""])


def _as_tuple(value: Any) -> Any:
    """JSON has lists alone; settings are frozen."""
    return tuple(value) if isinstance(value, list) else value
