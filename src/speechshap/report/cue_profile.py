"""Prosody of the evidence less that of the rest, over the explanations of many utterances."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechshap.evaluation.scores import mean_with_interval
from speechshap.report.wording import explained_of_classes
from speechshap.results.rows import explaining_prediction

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
    chosen = explaining_prediction([row for row in rows if row.get("cue_names") is not None])
    if not chosen:
        return None
    names = tuple(chosen[0]["cue_names"])
    used = [row for row in chosen if tuple(row["cue_names"]) == names]
    differences: dict[str, list[np.ndarray]] = defaultdict(list)
    speakers: dict[str, list[str]] = defaultdict(list)
    for row in used:
        evidence, rest = (np.array(row[side], np.float64) for side in ("cue_evidence", "cue_rest"))
        differences[row["target"]].append(evidence - rest)
        speakers[row["target"]].append(row["speaker"] or row["utterance"])
    emotions = sorted(differences)
    columns = [
        [_statistics(values, speakers[emotion]) for values in np.stack(differences[emotion]).T] for emotion in emotions
    ]
    mean, low, high, effect, counts, known = np.moveaxis(np.array(columns), 2, 0)
    explained = explained_of_classes(used)
    of = tuple(explained[emotion] for emotion in emotions)
    return CueProfile(of, names, mean, low, high, effect, counts.astype(int), known.astype(int))


def _statistics(values: np.ndarray, speakers: list[str]) -> tuple[float, float, float, float, int, int]:
    """Mean, interval, effect size, count of utterances and of speakers of the differences."""
    is_known = np.isfinite(values)
    known = values[is_known]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    mean, low, high = mean_with_interval(values, speakers)
    return mean, low, high, mean / spread if spread > 0 else np.nan, len(known), len(set(np.array(speakers)[is_known]))
