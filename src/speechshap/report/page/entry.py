"""An utterance as the page holds it: its explanations, their picture, and its sound."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.frames import SAMPLE_RATE
from speechshap.report import sound
from speechshap.report.moments import TOP_K_FRAMES, marked_frames
from speechshap.report.page.answers import answers_of
from speechshap.report.page.compared import compared_by_target
from speechshap.report.page.cues import cue_table
from speechshap.report.page.interactive import frames_title, interactive_figure
from speechshap.report.page.plotly_values import number, numbers
from speechshap.report.page.row import table_row
from speechshap.report.page.tiers import segment_rows
from speechshap.report.wording import grade, variant_names
from speechshap.results.explanation import Explanation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several explanations of an utterance.

    Attributes:
        name: Name that distinguishes it from the others.
        explanation: The record.
        waveform: ``(time,)``; None where there is no sound file, or it is no longer the one that was explained.
    """

    name: str
    explanation: Explanation
    waveform: np.ndarray | None

    def payload(self, num_compared: int = 0) -> dict[str, Any]:
        """Figure, with room for a comparison with all explanations of the utterance, and targets."""
        explanation, waveform = self.explanation, self.waveform
        figure = interactive_figure(waveform, SAMPLE_RATE, explanation, num_compared)
        return {
            "name": self.name,
            "unit": explanation.unit,
            "signed": explanation.is_signed,
            "figure": figure.to_dict(),
            "truth": [[number(bound) if bound is not None else None for bound in own] for own in explanation.truth],
            "probabilities": None
            if explanation.probabilities is None
            else [[name, number(own)] for name, own in explanation.probabilities.items()],
            "targets": [_target(explanation, target, waveform) for target in range(len(explanation.targets))],
        }


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """An utterance of the report with all of its explanations, the latest first."""

    variants: list[Variant]

    @classmethod
    def of(cls, explanations: Sequence[Explanation]) -> "ReportEntry":
        """An utterance from its explanations; its sound is read from its file."""
        latest_first = sorted(explanations, key=lambda each: each.provenance.explained_at, reverse=True)
        read = cache(_waveform)
        return cls(
            [
                Variant(name, explanation, read(explanation.path, explanation.num_samples))
                for name, explanation in zip(variant_names(latest_first), latest_first, strict=True)
            ]
        )

    def table_row(self) -> dict[str, Any]:
        """The utterance's row of the table, which is about its latest explanation."""
        return table_row(self.variants[0].explanation)

    def payload(self) -> list[dict[str, Any]]:
        """All variants; a sound that several of them share is stored with the first, as is their comparison."""
        num_compared = len(self.variants) if len(self.variants) > 1 else 0
        first: dict[int, int] = {}
        payloads = []
        for place, variant in enumerate(self.variants):
            stored: str | int | None = None
            if variant.waveform is not None:
                holder = first.setdefault(id(variant.waveform), place)
                stored = holder
                if holder == place:
                    stored = sound.flac_base64(_full_scale(variant.waveform), SAMPLE_RATE)
            payloads.append({"sound": stored, **variant.payload(num_compared)})
        if num_compared:
            payloads[0]["compared"] = compared_by_target([variant.explanation for variant in self.variants])
        return payloads


def _waveform(path: str, num_samples: int) -> np.ndarray | None:
    if not path:  # the run read its sounds from no files
        return None
    try:
        waveform = load_audio(Path(path))
    except AudioFileError as error:
        logger.warning("%s; it is shown without sound", error)
        return None
    if len(waveform) != num_samples:
        logger.warning("%s: not the sound that was explained; it is shown without sound", path)
        return None
    return waveform


def _target(explanation: Explanation, target: int, waveform: np.ndarray | None) -> dict[str, Any]:
    shown = explanation.resolution(target)
    own = shown.estimate.of(target)
    (values,), reach = own.values, own.reach
    significant = None if (found := own.significant) is None else found[0]
    # As much of the sound as so many frames are.
    count = math.ceil(TOP_K_FRAMES * len(values) / explanation.frames.values.shape[1])
    gap = explanation.completeness_gap
    return {
        "name": str(explanation.targets[target]),
        "reservation": explanation.reservation(target),
        "title": frames_title(explanation, target),
        "edges": numbers(shown.edges, 6),
        "values": numbers(values, 6),
        "reach": None if reach is None else numbers(reach[0], 6),
        "significant": None if significant is None else significant.tolist(),
        "strongest": marked_frames(values, significant, count).tolist(),
        "windows": explanation.evidence_windows(target).round(4).tolist(),
        "answers": answers_of(explanation, target),
        "error": number(explanation.relative_error[target]),
        "grade": grade(explanation.relative_error[target]),
        "gap": number(gap.values[target]),
        "gap_error": None if gap.standard_error is None else number(gap.standard_error[target]),
        "segments": segment_rows(explanation, target),
        "cues": cue_table(explanation, target),
        "sounds": {} if waveform is None else _sounds(explanation, target, waveform),
    }


def _sounds(explanation: Explanation, target: int, waveform: np.ndarray) -> dict[str, Any]:
    """Gains over time that the page applies to the sound, so that the file needs to hold one sound only."""
    envelopes = sound.heard(explanation, target)
    played = _full_scale(waveform)
    levels = sound.equal_loudness_gains(
        {name: envelope.apply(played, SAMPLE_RATE) for name, envelope in envelopes.items()}
    )
    return {
        name: {
            "level": levels[name],
            "seconds": numbers(envelope.seconds, 7),
            "gains": numbers(envelope.gains, 6),
        }
        for name, envelope in envelopes.items()
    }


def _full_scale(waveform: np.ndarray) -> np.ndarray:
    waveform = np.nan_to_num(waveform)
    return waveform * np.float32(sound.PEAK / max(float(np.abs(waveform).max(initial=0)), sound.SILENCE))
