"""Prosody of the evidence less that of the rest, over the explanations of many utterances."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from speechshap.evaluation.scores import mean_of_speakers
from speechshap.report.gathering import EmotionMoments, EmotionTotals, Gatherer, Moments, Row, Totals, taken_in

FEWEST_SPEAKERS = 6
"""Speakers that an interval needs to be believed: five all differ in one direction by chance in 6 % of cases."""


@dataclass(frozen=True, slots=True)
class CueProfile:
    """How the evidence for each emotion differs from the rest of the utterance.

    Attributes:
        emotions: What was explained of each predicted class: the class, or a contrast of it.
        names: Names of the cues (:data:`speechshap.data.cues.CUES`).
        mean: Mean over utterances of evidence less rest, in the unit of the cue, ``(emotions, cues)``; NaN where no
            utterance has both.
        low: Lower end of its 95 % interval, from a bootstrap over speakers; NaN for one speaker.
        high: Upper end.
        effect: Effect size: the mean divided by the standard deviation of the differences between utterances (Cohen's
            :math:`d_z`), NaN for one utterance.
        counts: Utterances that have the cue on both sides, ``(emotions, cues)``.
        speakers: Speakers of these utterances, ``(emotions, cues)``.
    """

    emotions: tuple[str, ...]
    names: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    effect: np.ndarray
    counts: np.ndarray
    speakers: np.ndarray

    @property
    def differs(self) -> np.ndarray:
        """Where the interval does not contain 0 and comes from enough speakers, ``(emotions, cues)``."""
        return ((self.low > 0) | (self.high < 0)) & (self.speakers >= FEWEST_SPEAKERS)


def cue_profile(rows: Iterable[Mapping[str, Any]]) -> CueProfile | None:
    """Compare the prosody of the evidence for each emotion with that of the rest, utterance by utterance.

    Each utterance is its own control, so that voices and sentences cancel. Utterances of one speaker are drawn together
    for the interval; where a speaker is unknown, an utterance stands for one.

    Args:
        rows: Rows of the same settings; those that do not explain the prediction
            (:func:`speechshap.results.rows.explaining_prediction`), or have no cues, are ignored.

    Returns:
        Means of the differences; None if no row can be used.

    Example:
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "cue_names": ["f0"]}
        >>> rows = [
        ...     row | {"speaker": name, "cue_evidence": [height], "cue_rest": [1.0]}
        ...     for name, height in (("Anna", 3.0), ("Ben", 5.0))
        ... ]
        >>> profile = cue_profile(rows)
        >>> profile.mean, profile.low, profile.high, profile.effect.round(2)
        (array([[3.]]), array([[2.]]), array([[4.]]), array([[2.12]]))
    """
    return cue_profile_of(taken_in(cue_gatherer(), rows))


class CueStatistic:
    """Moments over utterances and sums by speaker, of each emotion."""

    def __init__(self) -> None:
        self.moments = EmotionMoments()
        self.totals = EmotionTotals()

    def add(self, row: Row, values: np.ndarray) -> None:
        """Take in the values ``(cues,)`` of a row."""
        known = np.where(np.isfinite(values), values, np.nan)
        self.moments.add(row, known)
        self.totals.add(row, known)

    def merge(self, other: Self) -> None:
        """Take in all that another one has taken in."""
        self.moments.merge(other.moments)
        self.totals.merge(other.totals)


def cue_gatherer() -> Gatherer[CueStatistic]:
    """What :func:`cue_profile` is made of; takes in one utterance after the other."""
    return Gatherer("cue_names", lambda row: tuple(row["cue_names"]), _differences, CueStatistic)


def cue_profile_of(gatherer: Gatherer[CueStatistic]) -> CueProfile | None:
    """Means of the differences that were taken in; None if no row can be used."""
    found = gatherer.result()
    if found is None:
        return None
    names = tuple(found.positions.tolist())
    moments, totals = found.statistic.moments.of, found.statistic.totals.of
    emotions = sorted(moments)
    columns = [
        [_statistics(moments[emotion].at(cue), totals[emotion], cue) for cue in range(len(names))]
        for emotion in emotions
    ]
    mean, low, high, effect, counts, known = np.moveaxis(np.array(columns), 2, 0)
    of = tuple(found.explained[emotion] for emotion in emotions)
    return CueProfile(of, names, mean, low, high, effect, counts.astype(int), known.astype(int))


def _differences(row: Row) -> np.ndarray:
    evidence, rest = (np.array(row[side], np.float64) for side in ("cue_evidence", "cue_rest"))
    return evidence - rest


def _statistics(moments: Moments, totals: Totals, cue: int) -> tuple[float, float, float, float, int, int]:
    """Mean, interval, effect size, count of utterances and of speakers of the differences of a cue."""
    counts = totals.counts[:, cue]
    # Draws of the speakers do not depend on the order in which they came.
    order = np.argsort(np.array(totals.names, dtype=object), kind="stable")
    order = order[counts[order] > 0]
    mean, low, high = mean_of_speakers(totals.sums[order, cue], counts[order])
    deviation = float(moments.deviation[0])
    effect = mean / deviation if deviation > 0 else np.nan
    return mean, low, high, effect, int(moments.count[0]), len(order)
