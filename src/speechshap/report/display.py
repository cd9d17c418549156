"""Shows a run in TensorBoard and other loggers: as it goes on, and at its end what depends on all utterances."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.fingerprint import fingerprint
from speechshap.frames import SAMPLE_RATE
from speechshap.report.log import Kind, Log, Shown, caption
from speechshap.report.rendering import BackgroundRenderer, Rendering, RenderingError, render, render_methods
from speechshap.report.selection import RANKED_BY, Selection, select
from speechshap.report.settings_summary import COLUMNS, SettingsSummary
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.parts import Row

logger = logging.getLogger(__name__)


class Display:
    """What a run took and what its explanations have in common, and pictures and sounds of some.

    Args:
        logs: Where this is shown; closed by :meth:`close`.
        draw: Which utterances are drawn.
        log_every: With ``draw="first"``, draw every n-th utterance.
        max_drawn: Draw at most this many utterances.
        top_k_frames: Number of strongest frames to mark.
        step: Training step of the explained model.
        renderer: Draws, for several displays perhaps; one is made unless given. The first that is closed closes it.
        tells: Whether to say how many utterances are not drawn.
        has_curve: Whether there is a curve of the seconds. Many processes that share a corpus have none: they would
            wait for each other at every point, and the order of utterances between machines says nothing.
    """

    def __init__(
        self,
        logs: Sequence[Log],
        draw: Selection,
        log_every: int,
        max_drawn: int,
        top_k_frames: int,
        step: int,
        *,
        renderer: BackgroundRenderer | None = None,
        tells: bool = True,
        has_curve: bool = True,
    ) -> None:
        self.logs = logs
        self.draw = draw
        self.log_every = log_every
        self.max_drawn = max_drawn
        self.top_k_frames = top_k_frames
        self.step = step
        self.renderer = renderer or BackgroundRenderer()
        self.tells = tells
        self.has_curve = has_curve
        self.num_seen = self.num_chosen = 0
        self.undrawn: list[str] = []

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Show the settings of the run."""
        for log in self.logs:
            log.settings(settings, self.step)

    def lacks(self, utterance: str, fingerprint: str) -> bool:
        """Whether a picture of an utterance is lacking; to be asked once for each, in the order of the run.

        What is drawn depends on that order alone and not on what was explained by an earlier run, so that a run that
        was stopped and is resumed draws what it would have drawn undisturbed.

        Args:
            utterance: Its id.
            fingerprint: Of its explanation.
        """
        is_chosen = self.draw == "first" and self.num_seen % self.log_every == 0 and self.num_chosen < self.max_drawn
        self.num_seen += 1
        self.num_chosen += is_chosen
        return is_chosen and not self._has_picture(_key(utterance, fingerprint))

    def took(self, utterance: str, fingerprint: str, seconds: float, count: int) -> None:
        """Show how long an explanation took.

        Args:
            utterance: Its id.
            fingerprint: Of its explanation.
            seconds: Time taken to compute it.
            count: Its step on the curve.
        """
        for log in self.logs if self.has_curve else ():
            log.seconds(seconds, _key(utterance, fingerprint), count)

    def explanation(self, explanation: Explanation, waveform: np.ndarray) -> None:
        """Draw what is lacking.

        Args:
            explanation: What to draw.
            waveform: ``(time,)``.
        """
        target, told = str(explanation.targets[0]), caption(explanation)
        done = partial(self._put, explanation.utterance, _key_of(explanation), "figure", target, told)
        self.renderer.submit(done, render, waveform, SAMPLE_RATE, explanation, self.top_k_frames)

    def finish(
        self, results: ResultsFolder, settings: Mapping[str, Any], seconds: float | None, settings_fingerprint: str
    ) -> None:
        """Show what depends on all utterances, as far as it is lacking.

        Args:
            results: Folder of their explanations.
            settings: Settings of the run.
            seconds: Mean time of an utterance; None where unknown.
            settings_fingerprint: Of the explanations.
        """
        utterances = tqdm(
            results.utterances(COLUMNS, settings_fingerprint), desc="summing up", unit=" utterances", delay=2
        )
        found = SettingsSummary(utterances)
        for log in self.logs if found.num_utterances else ():
            log.summary(found, settings, seconds, settings_fingerprint, self.step)
        if self.draw == "first":
            return
        chosen = self._choose(results, settings_fingerprint)
        places = results.places({row["utterance"] for row in chosen})
        self.num_chosen = len(chosen)
        for row in chosen:
            name = row["utterance"]
            if self._has_picture(_key(name, row["fingerprint"])):
                continue
            (explanation,) = results.explanations(settings=settings_fingerprint, utterance=name, parts=places[name])
            try:
                self.explanation(explanation, load_audio(Path(explanation.path)))
            except AudioFileError as error:
                logger.warning("%s; it is not drawn", error)

    def compare(self, results: ResultsFolder, settings_fingerprints: Sequence[str]) -> None:
        """Draw the explanations of each chosen utterance by several methods, one below the other.

        Args:
            results: Folder of the explanations.
            settings_fingerprints: Of the methods, from the top.
        """
        chosen = self._choose(results, settings_fingerprints[0])
        places = results.places({row["utterance"] for row in chosen})
        for row in chosen:
            name = row["utterance"]
            of_settings = {
                explanation.provenance.settings_fingerprint: explanation
                for explanation in results.explanations(utterance=name, parts=places[name])
            }
            explanations = [of_settings[each] for each in settings_fingerprints if each in of_settings]
            key = _key(name, fingerprint(*(explanation.provenance.fingerprint for explanation in explanations)))
            if len(explanations) < 2 or self._has_picture(key):
                continue
            try:
                waveform = load_audio(Path(row["path"])) if row["path"] else None
            except AudioFileError as error:
                logger.warning("%s; it is drawn without its sound", error)
                waveform = None
            told = f"{name}, explained by {', '.join(each.provenance.method for each in explanations)}"
            done = partial(self._put, name, key, "methods", None, told)
            self.renderer.submit(done, render_methods, explanations, waveform, SAMPLE_RATE)

    def close(self, wait: bool = True) -> None:
        """End drawing and close the log.

        Args:
            wait: Whether to draw what is still waiting to be drawn; a later run draws the rest.
        """
        try:
            self.renderer.close(wait)
        finally:
            for log in self.logs:
                log.close()
        if self.tells and self.num_seen > self.num_chosen == self.max_drawn > 0:
            logger.info("TensorBoard shows %d of the utterances; raise `max_drawn` to see more", self.num_chosen)
        if self.undrawn:
            logger.warning("%d not drawn: %s", len(self.undrawn), ", ".join(self.undrawn))

    def _choose(self, results: ResultsFolder, settings_fingerprint: str) -> list[Row]:
        """Rows of the utterances to draw, when all are explained."""
        rows = (group[0] for group in results.utterances(("path", *RANKED_BY), settings_fingerprint))
        if self.draw == "first":
            return list(islice(rows, 0, self.log_every * self.max_drawn, self.log_every))
        num_left_out = 0

        def with_sound() -> Iterator[Row]:
            nonlocal num_left_out
            for row in rows:
                if row["path"]:
                    yield row
                else:
                    num_left_out += 1

        chosen = select(with_sound(), self.draw, self.max_drawn)
        if self.tells and num_left_out:
            logger.info('%d utterances have no sound file and are not drawn; `draw="first"` needs none', num_left_out)
        return chosen

    def _has_picture(self, key: str) -> bool:
        return all(log.has_picture(key) for log in self.logs)

    def _put(
        self,
        utterance: str,
        key: str,
        kind: Kind,
        target: str | None,
        told: str,
        rendering: Rendering | RenderingError,
    ) -> None:
        if isinstance(rendering, RenderingError):
            # A run may take days and must not fail for a picture.
            logger.warning("%s could not be drawn: %s", utterance, str(rendering).strip().splitlines()[-1])
            logger.debug("%s", rendering)
            self.undrawn.append(utterance)
        else:
            shown = Shown(utterance, key, kind, target, told, rendering, SAMPLE_RATE)
            for log in self.logs:
                log.picture(shown, self.step)


def _key(utterance: str, own_fingerprint: str) -> str:
    """Of an explanation: a sound that is there under two names is shown under both."""
    return f"{own_fingerprint} {utterance}"


def _key_of(explanation: Explanation) -> str:
    return _key(explanation.utterance, explanation.provenance.fingerprint)
