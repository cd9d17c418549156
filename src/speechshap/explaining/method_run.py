"""One method of a run: skips what is written already, explains, writes and shows the rest."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from torch import Tensor
from tqdm.auto import tqdm

from speechshap.attribution import Target
from speechshap.data import Batch
from speechshap.data.batches import select_utterances
from speechshap.data.wording import counted
from speechshap.errors import UserError
from speechshap.explaining.batch_explainer import BatchExplainer, Explained
from speechshap.explaining.options import Place
from speechshap.files import whole_file
from speechshap.report.display import Display
from speechshap.results.explanation import Explanation
from speechshap.results.folder import Key
from speechshap.results.writer import ResultsWriter

logger = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """What is asked of an utterance."""

    utterance: str
    targets: list[Target]
    fingerprint: str

    @property
    def keys(self) -> set[Key]:
        """Of its rows."""
        return {(self.utterance, target, self.fingerprint) for target in self.targets}


class MethodRun:
    """Explains utterances with one method, batch by batch, into a results folder and TensorBoard.

    Args:
        explainer: Explains batches.
        writer: Of the results; several methods may share it.
        display: Shows what this method explains.
        place: Rank of this process, and step of the model.
        calibration: Gives waveforms ``(time,)`` that the method learns from before it explains; None where it learns
            nothing.
        is_alone: Whether the curve of all methods of the folder is that of this display.

    Attributes:
        num_explained: Utterances that were explained.
        num_found: Utterances that were explained already.
    """

    def __init__(
        self,
        explainer: BatchExplainer,
        writer: ResultsWriter,
        display: Display,
        place: Place,
        calibration: Callable[[], Sequence[Tensor]] | None = None,
        *,
        is_alone: bool = True,
    ) -> None:
        self.explainer = explainer
        self.writer = writer
        self.results = writer.results
        self.display = display
        self.place = place
        if calibration is not None:
            self._learn(calibration)
        self.shown_settings = {
            "method": explainer.method_name,
            **explainer.settings.as_dict(),
            "precision": explainer.model.arithmetic.name,
        }
        if place.rank == 0:
            display.settings(self.shown_settings)
        # The curve goes on where that of earlier runs ended.
        found = dict.fromkeys(self._known_to_all() if is_alone else self._known_to_this())
        self._steps = {name: number + 1 for number, name in enumerate(found)}
        self._num_steps = len(self._steps) + 1 + place.rank - place.num_ranks  # each rank has steps of its own
        self._fingerprints: dict[str, str] = {}
        self.num_explained = self.num_found = self.num_unconverged = 0
        self.seconds = 0.0

    def _known_to_all(self) -> Iterator[tuple[str, str]]:
        return ((utterance, fingerprint) for utterance, _, fingerprint in self.writer.known)

    def _known_to_this(self) -> Iterator[tuple[str, str]]:
        columns = ("utterance", "fingerprint")
        own = self.explainer.settings_fingerprint
        for _, batch in self.results.batches(columns, settings_fingerprint=own):
            yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)

    def _learn(self, calibration: Callable[[], Sequence[Tensor]]) -> None:
        """Have the method learn, or take what it has learnt in another run; the same on every rank."""
        # Whoever reads the folder as one Parquet dataset passes over names with an underscore.
        path = self.results.folder / f"_learnt-{self.explainer.settings_fingerprint}.json"
        learnt = None
        if self.place.rank == 0:
            if not path.is_file():
                changed = self.explainer.learn(tqdm(calibration(), desc="calibrating"))
                with self.writer.exclusive():
                    if not path.is_file():  # another run may have learnt meanwhile
                        with whole_file(path) as partial:
                            partial.write_text(json.dumps(changed))
            learnt = path.read_text()
        # Not by way of the file: another process may have a folder of its own.
        self.explainer.adopt(json.loads(self.place.share(learnt)))

    def explain(self, batch: Batch, logits: Tensor) -> list[Explanation]:
        """Explain the utterances that are not explained yet, write the explanations and show them.

        Args:
            batch: On the device of the model, with utterances that nothing stands in the way of.
            logits: Of the model for the batch ``(batch, classes)``, finite.

        Returns:
            What was explained just now.
        """
        with self.explainer.model.ready():
            return self._explain(batch, logits)

    def _explain(self, batch: Batch, logits: Tensor) -> list[Explanation]:
        asked = list(map(_Asked, batch.ids, self.explainer.targets(logits), self.explainer.fingerprints(batch)))
        self._check_ids(asked)
        self.writer.refresh()
        known = {one.utterance for one in asked if one.keys <= self.writer.known.keys()}
        missing = [row for row, one in enumerate(asked) if one.utterance not in known or not self._has_neurons(one)]
        started = time.perf_counter()
        found = self._compute(batch, asked, missing)
        seconds = time.perf_counter() - started
        own = self._write(found, known)
        self.seconds += seconds
        self.num_explained += len(own)
        self.num_found += len(asked) - len(missing) + len(found) - len(own)
        self.num_unconverged += sum(explained.converged is False for explained in own.values())
        # Only now that they are written, so that nothing is lost for a picture.
        for row, one in enumerate(asked):
            if one.utterance in own:
                explanation = own[one.utterance].explanation
                self._show(one, explanation, batch.waveforms[row], seconds / len(found))
            elif one.utterance in found or row not in missing:
                self._show(one, None, batch.waveforms[row], None)
        return [explained.explanation for explained in own.values()]

    def _check_ids(self, asked: Sequence[_Asked]) -> None:
        """Refuse an id that stands for two sounds: one of them would be taken for an outdated version of the other."""
        for one in asked:
            if self._fingerprints.setdefault(one.utterance, one.fingerprint) != one.fingerprint:
                raise UserError(
                    f"the id {one.utterance!r} comes twice, with different sounds; expected ids that tell all "
                    "utterances apart, in all batches"
                )

    def _has_neurons(self, one: _Asked) -> bool:
        """Whether there is nothing left to do about an utterance's neurons."""
        key = self.explainer.settings_fingerprint
        return not self.explainer.model.layers or self.writer.has_neurons(key, one.utterance, one.fingerprint)

    def _compute(self, batch: Batch, asked: Sequence[_Asked], rows: Sequence[int]) -> dict[str, Explained]:
        """Explain some utterances of a batch; those that can be explained, by id."""
        if not rows:
            return {}
        own = [asked[row] for row in rows]
        explained = self.explainer.explain(
            select_utterances(batch, rows), [one.targets for one in own], [one.fingerprint for one in own]
        )
        return {each.explanation.utterance: each for each in explained}

    def _write(self, found: dict[str, Explained], known: Set[str]) -> dict[str, Explained]:
        """Write what was explained; returns it without what another run has written meanwhile.

        Args:
            found: By utterance.
            known: Utterances that were explained again only because their neurons were missing.
        """
        for explained in found.values():
            if explained.neurons:
                # Before the rows, since an utterance that has rows counts as explained.
                self.writer.write_neurons(explained.explanation, explained.neurons)
        written = self.writer.write([explained.explanation for explained in found.values()])
        own = known | {explanation.utterance for explanation in written}
        return {utterance: explained for utterance, explained in found.items() if utterance in own}

    def _show(self, one: _Asked, explanation: Explanation | None, waveform: Tensor, seconds: float | None) -> None:
        """Show what is lacking of an utterance, which was explained now or is read from the folder."""
        name = (one.utterance, one.fingerprint)
        is_earlier = name in self._steps
        if explanation is not None and not is_earlier:
            self._num_steps += self.place.num_ranks
        if seconds is not None:
            self.display.took(*name, seconds, self._steps.get(name, self._num_steps))
        if not self.display.lacks(*name):
            return
        if explanation is None:
            # What another run has written it shows itself, if it is alive.
            explanation = self._read(one) if is_earlier and self.writer.was_alone else None
        if explanation is not None:
            sound = waveform[: explanation.num_samples].float().cpu().numpy()
            self.display.explanation(explanation, sound)

    def _read(self, one: _Asked) -> Explanation | None:
        """The explanation of an utterance as it was written; None where its part is gone."""
        parts = dict.fromkeys(self.writer.known[key] for key in one.keys)
        found = self.results.explanations(utterance=one.utterance, parts=list(parts))
        return next((e for e in found if e.provenance.fingerprint == one.fingerprint), None)

    def finish(self) -> None:
        """Show what is known of all utterances; every process has to be done."""
        seconds = self.seconds / self.num_explained if self.num_explained else None
        self.display.finish(self.results, self.shown_settings, seconds, self.explainer.settings_fingerprint)

    def report(self) -> None:
        """Log a summary."""
        by_method = "" if self.explainer.label is None else f" by {self.explainer.label}"
        by_whom = " by this process" if self.place.num_ranks > 1 else ""
        known = f", {self.num_found} {'was' if self.num_found == 1 else 'were'} there already" if self.num_found else ""
        explained = counted(self.num_explained, "utterance")
        logger.info("%s explained%s%s%s: %s", explained, by_method, by_whom, known, self.results.folder)
        failed = self.explainer.failed
        if failed:
            logger.warning("%d not explained%s: %s", len(failed), by_method, ", ".join(failed))
        if self.num_unconverged:
            count = counted(self.num_unconverged, "utterance")
            logger.warning("%s did not reach the `tolerance`; increase `max_samples`", count)
