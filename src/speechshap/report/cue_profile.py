"""Prosody of the evidence less that of the rest, over the explanations of many utterances."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from speechshap.evaluation.scores import mean_of_speakers
from speechshap.report.draw import Draw
from speechshap.report.gathering import (
    EmotionMoments,
    EmotionTotals,
    Gathered,
    Gatherer,
    Moments,
    Row,
    Totals,
    taken_in,
)

FEWEST_SPEAKERS = 6
"""Speakers that an interval needs to be believed: five all differ in one direction by chance in 6 % of cases."""

MOST_DRAWN = 250
"""Utterances of an emotion that are kept one by one: more have no room side by side."""


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
        speakers: Speakers of these utterances, ``(emotions, cues)``; an utterance stands for one that is unknown.
        num_utterances: Utterances that have any cue on both sides, ``(emotions,)``.
        num_speakers: Their speakers, ``(emotions,)``; 0 where that of an utterance is unknown.
    """

    emotions: tuple[str, ...]
    names: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    effect: np.ndarray
    counts: np.ndarray
    speakers: np.ndarray
    num_utterances: np.ndarray
    num_speakers: np.ndarray

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
        ...     row | {"utterance": name, "speaker": name, "cue_evidence": [height], "cue_rest": [1.0]}
        ...     for name, height in (("Anna", 3.0), ("Ben", 5.0))
        ... ]
        >>> profile = cue_profile(rows)
        >>> profile.mean, profile.low, profile.high, profile.effect.round(2)
        (array([[3.]]), array([[2.]]), array([[4.]]), array([[2.12]]))
    """
    found = taken_in(cue_gatherer(), rows).result()
    return None if found is None else cue_profile_of(found)


class Dot(NamedTuple):
    """An utterance by itself.

    Attributes:
        sides: Means of the cues over its evidence and over the rest, ``(2, cues)``.
        is_significant: Whether the evidence are frames that are significant, and not just the strongest ones.
    """

    sides: np.ndarray
    is_significant: bool


class CueStatistic:
    """Of each emotion, moments over utterances, sums by speaker, and a draw of utterances; of all, moments of levels.

    Attributes:
        moments: Of the differences between evidence and rest.
        totals: The same, and a 1 behind them for an utterance that has any cue on both sides.
        levels: Moments of the cues in evidence and rest, where both are known.
        dots: Utterances by their ids.
    """

    def __init__(self) -> None:
        self.moments = EmotionMoments()
        self.totals = EmotionTotals()
        self.levels = Moments()
        self.dots: defaultdict[str, Draw[Dot]] = defaultdict(lambda: Draw(MOST_DRAWN))

    def add(self, row: Row, values: np.ndarray) -> None:
        """Take in the cues of evidence and rest ``(2, cues)`` of a row."""
        known = np.where(np.isfinite(values).all(0), values, np.nan)
        has_any = not np.isnan(known).all()
        self.moments.add(row, known[0] - known[1])
        self.totals.add(row, np.append(known[0] - known[1], 1.0 if has_any else np.nan))
        for side in known:
            self.levels.take(side)
        if has_any:
            dot = Dot(known.astype(np.float32), row.get("cue_rule") == "significant")
            self.dots[row["target"]].add(row["utterance"], dot)

    def merge(self, other: Self) -> None:
        """Take in all that another one has taken in."""
        self.moments.merge(other.moments)
        self.totals.merge(other.totals)
        self.levels.merge(other.levels)
        for emotion, draw in other.dots.items():
            self.dots[emotion].merge(draw)


def cue_gatherer() -> Gatherer[CueStatistic]:
    """What :func:`cue_profile` is made of; takes in one utterance after the other."""
    return Gatherer("cue_names", lambda row: tuple(row["cue_names"]), _sides, CueStatistic)


def cue_profile_of(found: Gathered[CueStatistic]) -> CueProfile:
    """Means of the differences that were taken in."""
    names = tuple(found.positions.tolist())
    moments, totals = found.statistic.moments.of, found.statistic.totals.of
    emotions = sorted(moments)
    columns = [
        [_statistics(moments[emotion].at(cue), totals[emotion], cue) for cue in range(len(names))]
        for emotion in emotions
    ]
    mean, low, high, effect, counts, speakers = np.moveaxis(np.array(columns), 2, 0)
    of = tuple(found.explained[emotion] for emotion in emotions)
    with_any = [totals[emotion].counts[:, -1] for emotion in emotions]
    are_known = [found.statistic.moments.num_speakers(emotion) > 0 for emotion in emotions]
    return CueProfile(
        of, names, mean, low, high, effect, counts.astype(int), speakers.astype(int),
        num_utterances=np.array([own.sum() for own in with_any]),
        num_speakers=np.array([np.count_nonzero(own) * known for own, known in zip(with_any, are_known, strict=True)]),
    )  # fmt: skip


def _sides(row: Row) -> np.ndarray:
    """Means of the cues over evidence and rest, ``(2, cues)``."""
    return np.array([row["cue_evidence"], row["cue_rest"]], np.float64)


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
