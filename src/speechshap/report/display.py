"""Shows a run in TensorBoard: curves as it goes on, and the chosen utterances."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.frames import SAMPLE_RATE
from speechshap.report.rendering import BackgroundRenderer, Rendering, RenderingError
from speechshap.report.selection import RANKED_BY, Selection, select
from speechshap.report.tensorboard import SUMMARY_COLUMNS, ExplanationLog
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.rows import GROUPED_BY, Row, by_utterance

logger = logging.getLogger(__name__)


class Display:
    """Curves of all explanations of a run, and pictures and sounds of some.

    Args:
        log: Log that they are written to; closed by :meth:`close`.
        draw: Which utterances are drawn.
        log_every: With ``draw="first"``, draw every n-th utterance.
        max_drawn: Draw at most this many utterances.
        top_k_frames: Number of strongest frames to mark.
        step: Training step of the explained model.
    """

    def __init__(
        self, log: ExplanationLog, draw: Selection, log_every: int, max_drawn: int, top_k_frames: int, step: int
    ) -> None:
        self.log = log
        self.draw = draw
        self.log_every = log_every
        self.max_drawn = max_drawn
        self.top_k_frames = top_k_frames
        self.step = step
        self.renderer = BackgroundRenderer(self._put)
        self.num_shown = self.num_drawn = 0
        self.undrawn: list[str] = []

    def lacks(self, utterance: str, fingerprint: str) -> bool:
        """Whether something of an utterance is not shown yet."""
        return True

    def explanation(self, explanation: Explanation, waveform: np.ndarray, seconds: float | None, count: int) -> None:
        """Show an explanation as soon as it is computed.

        Args:
            explanation: What to show; the curves are of its first target.
            waveform: ``(time,)``.
            seconds: Time taken to compute it.
            count: Its step on the curves.
        """
        self.log.scalars(_curves(explanation) | ({} if seconds is None else {"seconds": seconds}), count)
        if self.draw == "first" and self.num_shown % self.log_every == 0:
            self._draw(explanation, waveform)
        self.num_shown += 1

    def finish(self, results: ResultsFolder, settings: Mapping[str, Any], seconds: float | None, key: str) -> None:
        """Show what depends on all utterances.

        Args:
            results: Folder of their explanations.
            settings: Settings of the run.
            seconds: Mean time of an utterance.
            key: Settings fingerprint of the explanations.
        """
        rows = [row for group in _groups(results, key, SUMMARY_COLUMNS) for row in group]
        if seconds is not None:
            self.log.summary(rows, settings, seconds, key, self.step)
        if self.draw == "first":
            return
        utterances = [group[0] for group in _groups(results, key, ("path", *RANKED_BY))]
        ranked = [row for row in utterances if row["path"]]
        if len(ranked) < len(utterances):
            logger.info(
                '%d utterances have no sound file and are not drawn; `draw="first"` needs none',
                len(utterances) - len(ranked),
            )
        places = results.places()
        for row in select(ranked, self.draw, self.max_drawn):
            name = row["utterance"]
            (explanation,) = results.explanations(settings=key, utterance=name, parts=places[name])
            try:
                self._draw(explanation, load_audio(Path(explanation.path)))
            except AudioFileError as error:
                logger.warning("%s; it is not drawn", error)

    def close(self, wait: bool = True) -> None:
        """Wait for the pictures that are still being drawn, and close the log."""
        try:
            self.renderer.close()
        finally:
            self.log.close()
        if self.num_shown > self.num_drawn == self.max_drawn > 0:
            logger.info("TensorBoard shows %d of the utterances; raise `max_drawn` to see more", self.num_drawn)
        if self.undrawn:
            logger.warning("%d not drawn: %s", len(self.undrawn), ", ".join(self.undrawn))

    def _draw(self, explanation: Explanation, waveform: np.ndarray) -> None:
        if self.num_drawn < self.max_drawn:
            self.renderer.submit(explanation.utterance, waveform, SAMPLE_RATE, explanation, self.top_k_frames)
            self.num_drawn += 1

    def _put(self, utterance: str, rendering: Rendering | RenderingError) -> None:
        if isinstance(rendering, RenderingError):
            # A run may take days and must not fail for a picture.
            logger.warning("%s could not be drawn: %s", utterance, str(rendering).strip().splitlines()[-1])
            logger.debug("%s", rendering)
            self.undrawn.append(utterance)
        else:
            self.log.utterance(utterance, rendering, SAMPLE_RATE, self.step)


def _groups(results: ResultsFolder, key: str, columns: Sequence[str]) -> list[list[Row]]:
    """Rows that all ranks have written with these settings, by utterance."""
    return by_utterance(results.read((*GROUPED_BY, *columns), settings=key))


def _curves(explanation: Explanation) -> dict[str, float]:
    """Scalars of the first target, as far as they are known."""
    gap, reach = explanation.completeness_gap.values[0], explanation.completeness_gap.reach
    curves = {"completeness_gap": gap, "relative_error": explanation.relative_error[0]}
    if reach is not None:
        curves |= {"completeness_gap_lower": gap - reach[0], "completeness_gap_upper": gap + reach[0]}
    if explanation.probability is not None:
        curves["probability"] = explanation.probability
    return {name: float(value) for name, value in curves.items() if not np.isnan(value)}
