"""What a run shows in TensorBoard: which utterances, and when."""

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
from speechshap.results.explanation import REACH_95, Explanation
from speechshap.results.folder import GROUPED_BY, SHOWN, ResultsFolder, Row, by_utterance

logger = logging.getLogger(__name__)


class Display:
    """Curves, pictures and sounds of the utterances of a run, within a limit.

    Args:
        log: Where they go.
        draw: Which utterances are drawn.
        log_every: Of the ``first``, every so many.
        max_drawn: How many at most.
        top_k_frames: Strongest frames to mark.
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

    def utterance(self, rows: Sequence[Row], waveform: np.ndarray, seconds: float, count: int) -> None:
        """Show an utterance as soon as it is explained.

        Args:
            rows: One a target; the curves are of the first.
            waveform: ``(time,)``.
            seconds: That it took.
            count: Its place on the curves.
        """
        self.log.scalars({**_curves(rows[0]), "seconds": seconds}, count)
        if self.draw == "first" and self.num_shown % self.log_every == 0:
            self._draw(rows, waveform)
        self.num_shown += 1

    def finish(self, results: ResultsFolder, settings: Mapping[str, Any], seconds: float, key: str) -> None:
        """Show what all utterances are needed for.

        Args:
            results: What was written of them.
            settings: How they were explained.
            seconds: That an utterance took on average.
            key: Settings fingerprint of their rows.
        """
        rows = [row for group in _groups(results, key, SUMMARY_COLUMNS) for row in group]
        self.log.summary(rows, settings, seconds, key, self.step)
        if self.draw == "first":
            return
        ranked = [group[0] for group in _groups(results, key, RANKED_BY)]
        places = results.places()
        for row in select(ranked, self.draw, self.max_drawn):
            name = row["utterance"]
            (rows,) = by_utterance(results.read(SHOWN, settings=key, utterance=name, parts=places[name]))
            try:
                self._draw(rows, load_audio(Path(rows[0]["path"])))
            except AudioFileError as error:
                logger.warning("%s; it is not drawn", error)

    def close(self) -> None:
        """Wait for what is still being drawn, and put everything on disk."""
        try:
            self.renderer.close()
        finally:
            self.log.close()
        if self.num_shown > self.num_drawn == self.max_drawn > 0:
            logger.info("%d utterances are in TensorBoard, --explain.max_drawn allows more", self.num_drawn)
        if self.undrawn:
            logger.warning("%d not drawn: %s", len(self.undrawn), ", ".join(self.undrawn))

    def _draw(self, rows: Sequence[Row], waveform: np.ndarray) -> None:
        if self.num_drawn < self.max_drawn:
            explanation = Explanation.from_rows(rows)
            self.renderer.submit(explanation.utterance, waveform, SAMPLE_RATE, explanation, self.top_k_frames)
            self.num_drawn += 1

    def _put(self, utterance: str, rendering: Rendering | RenderingError) -> None:
        if isinstance(rendering, RenderingError):
            # A picture is not worth the run, which may take days.
            logger.warning("%s could not be drawn: %s", utterance, str(rendering).strip().splitlines()[-1])
            logger.debug("%s", rendering)
            self.undrawn.append(utterance)
        else:
            self.log.utterance(utterance, rendering, SAMPLE_RATE, self.step)


def _groups(results: ResultsFolder, key: str, columns: Sequence[str]) -> list[list[Row]]:
    """What all ranks have written with these settings, by utterance."""
    return by_utterance(results.read((*GROUPED_BY, *columns), settings=key))


def _curves(row: Row) -> dict[str, float]:
    """Scalars of one utterance."""
    gap, reach = row["completeness_gap"], REACH_95 * row["completeness_gap_standard_error"]
    return {
        "completeness_gap": gap,
        "completeness_gap_lower": gap - reach,
        "completeness_gap_upper": gap + reach,
        "relative_error": row["relative_error"],
        "probability": row["probability"],
    }
