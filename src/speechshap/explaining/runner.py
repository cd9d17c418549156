"""Runs explanations without Lightning: skips what is written already, explains, writes and shows the rest."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from speechshap.attribution import Settings
from speechshap.data import Batch
from speechshap.data.batches import select_utterances
from speechshap.explaining.batch_explainer import BatchExplainer, Explained
from speechshap.explaining.options import Arithmetic, Place, RunOptions
from speechshap.files import whole_file
from speechshap.models import SpeechClassifier
from speechshap.report.display import Display
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder

logger = logging.getLogger(__name__)


class Runner:
    """Explains utterances, batch by batch, into a results folder and a TensorBoard event file beside it.

    Explanations that the folder already holds, of the same sound with the same settings and weights, are skipped.

    Args:
        model: On its device.
        method: Name of a file in :mod:`speechshap.attribution.methods`.
        settings: Of the method.
        folder: Of the run; results go to its ``explanations/``.
        options: How to compute and show.
        references: Training clips ``(references, time)``, where the settings' ``baselines`` are ``dataset``.
        calibration: Waveforms ``(time,)`` that the method learns from before it explains; none by default.
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
        options: RunOptions = RunOptions(),  # noqa: B008 - immutable
        *,
        references: Tensor | None = None,
        calibration: Sequence[Tensor] = (),
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - immutable
        place: Place = Place(),  # noqa: B008 - immutable
        num_utterances: int | None = None,
    ) -> None:
        self.place = place
        self.explainer = BatchExplainer(model, method, settings, options, arithmetic, references)
        self.results = ResultsFolder(folder / "explanations", place.rank)
        if calibration:
            self._learn(calibration)
        settings = self.explainer.settings
        self.shown_settings = {"method": method, **settings.as_dict(), "precision": arithmetic.name}
        self.done = self.results.explained()
        log = ExplanationLog(folder, place.rank)
        if place.rank == 0:
            log.settings(self.shown_settings, place.step)
        self.display = Display(
            log, options.draw, options.log_every, options.max_drawn, options.top_k_frames, place.step
        )
        self.num_explained = self.num_found = self.num_unconverged = self.num_evaluations = 0
        self.seconds = 0.0
        # Curves go on where those of an earlier run ended; each rank has steps of its own.
        self._first_step = len({(utterance, name) for utterance, _, name in self.done}) + place.rank
        self._bar = tqdm(
            total=num_utterances,
            desc="explaining",
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} utterances [{elapsed}<{remaining}{postfix}]",
            disable=place.rank != 0,
        )
        self.explainer.progress = self._count

    def _learn(self, calibration: Sequence[Tensor]) -> None:
        """Have the method learn, or take what it has learnt in an earlier run; the same on every rank."""
        # Whoever reads the folder as one Parquet dataset passes over names with an underscore.
        path = self.results.folder / f"_learnt-{self.explainer.settings_fingerprint}.json"
        if self.place.rank == 0 and not path.is_file():
            changed = self.explainer.learn(tqdm(calibration, desc="calibrating"))
            with whole_file(path) as partial:
                partial.write_text(json.dumps(changed))
        self.place.barrier()
        self.explainer.adopt(json.loads(path.read_text()))

    def explain(self, batch: Batch, logits: Tensor | None = None) -> list[Explanation]:
        """Explain the utterances of a batch that are not explained yet, write the explanations and show them.

        Args:
            batch: On the device of the model.
            logits: Of the model for the batch ``(batch, classes)``; None asks the model.

        Returns:
            What was explained just now.
        """
        rows = self.explainer.explainable(batch)
        with self.explainer.model.ready():
            explained = self._explain_missing(select_utterances(batch, rows), logits, rows) if rows else []
        if explained:
            # Pictures first: utterances that are written are skipped on resume.
            self.display.log.flush()
            self.results.write(explained)
            self.done.update((e.utterance, target, e.provenance.fingerprint) for e in explained for target in e.targets)
        self._bar.update(len(batch.ids))
        return explained

    def _explain_missing(self, batch: Batch, logits: Tensor | None, rows: list[int]) -> list[Explanation]:
        """Explain the utterances of a batch that are not explained yet; they are these rows of the logits."""
        targets = self.explainer.targets(self.explainer.logits(batch) if logits is None else logits[rows])
        fingerprints = self.explainer.fingerprints(batch)
        missing = [
            row
            for row, utterance in enumerate(batch.ids)
            if any((utterance, target, fingerprints[row]) not in self.done for target in targets[row])
        ]
        self.num_found += len(batch.ids) - len(missing)
        if not missing:
            return []
        chosen = select_utterances(batch, missing)
        own = ([targets[row] for row in missing], [fingerprints[row] for row in missing])
        started = time.perf_counter()
        found = list(self.explainer.explain(chosen, *own))
        seconds = time.perf_counter() - started
        self.seconds += seconds
        index = {name: number for number, name in enumerate(chosen.ids)}
        for explained in found:
            waveform = chosen.waveforms[index[explained.explanation.utterance]]
            self._show(explained, waveform, seconds / len(found))
        return [explained.explanation for explained in found]

    def _show(self, explained: Explained, waveform: Tensor, seconds: float) -> None:
        """Draw an utterance, and keep its neurons."""
        explanation = explained.explanation
        sound = waveform[: explanation.num_samples].float().cpu().numpy()
        step = self._first_step + self.num_explained * self.place.num_ranks
        self.display.explanation(explanation, sound, seconds, step + 1)
        if explained.neurons:
            self.results.write_layers(explanation.utterance, explained.neurons, _metadata(explanation))
        self.num_explained += 1
        self.num_unconverged += explained.converged is False

    def _count(self, evaluations: int) -> None:
        self.num_evaluations += evaluations
        self._bar.set_postfix_str(f"{self.num_evaluations} model evaluations")

    def finish(self) -> None:
        """Show what is known of all utterances; every process has to be done."""
        if self.place.rank == 0 and self.num_explained:
            seconds = self.seconds / self.num_explained
            self.display.finish(self.results, self.shown_settings, seconds, self.explainer.settings_fingerprint)

    def close(self) -> None:
        """Wait for pictures that are still being drawn, and close the files."""
        self._bar.close()
        self.display.close()

    def report(self) -> None:
        """Log a summary of the run."""
        by_whom = " by this process" if self.place.num_ranks > 1 else ""
        known = f", {self.num_found} were there already" if self.num_found else ""
        logger.info("%d utterances explained%s%s: %s", self.num_explained, by_whom, known, self.results.folder)
        failed = self.explainer.failed
        if failed:
            logger.warning("%d not explained: %s", len(failed), ", ".join(failed))
        if self.num_unconverged:
            logger.warning("%d utterances did not reach the `tolerance`; increase `max_samples`", self.num_unconverged)


def _metadata(explanation: Explanation) -> dict[str, str]:
    """Metadata of a file of neuron attributions."""
    source = explanation.provenance
    return {
        "utterance": explanation.utterance,
        "fingerprint": source.fingerprint,
        "method": source.method,
        "settings": json.dumps(dict(source.settings)),
    }
