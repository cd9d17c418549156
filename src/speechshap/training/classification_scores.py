"""Scores of a classifier, each with an interval over speakers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from speechshap.bootstrap import N_RESAMPLES, Estimate, draw_speakers, percentile_interval


class SpeakerCounts(NamedTuple):
    """Confusion counts of each speaker.

    Attributes:
        speakers: Their names; one of them is empty where speakers are unknown.
        counts: ``(speakers, true classes, predicted classes)``.
    """

    speakers: tuple[str, ...]
    counts: np.ndarray


class ClassificationScores(NamedTuple):
    """Scores with their intervals.

    Attributes:
        uar: Unweighted average recall: the mean of the recalls of the classes.
        wa: Weighted accuracy: the share of the utterances that are predicted rightly.
        f1: Macro F1: the mean of the F1 of the classes.
        recall: Recall of each class.
    """

    uar: Estimate
    wa: Estimate
    f1: Estimate
    recall: tuple[Estimate, ...]

    def named(self, classes: Sequence[str]) -> dict[str, Estimate]:
        """All scores by name, the recalls as ``recall of`` the class."""
        recalls = {f"recall of {name}": mean for name, mean in zip(classes, self.recall, strict=True)}
        return {"UAR": self.uar, "WA": self.wa, "macro F1": self.f1, **recalls}


def count_by_speaker(
    true: Sequence[int], predicted: Sequence[int], speakers: Sequence[str], num_classes: int
) -> SpeakerCounts:
    """Confusion counts of each speaker.

    Args:
        true: Class of each utterance.
        predicted: Class that was predicted.
        speakers: Who speaks; an empty string where that is unknown.
        num_classes: Of the model.

    Example:
        >>> counts = count_by_speaker([0, 1, 1], [0, 0, 1], ["Anna", "Anna", "Ben"], num_classes=2)
        >>> counts.speakers
        ('Anna', 'Ben')
        >>> counts.counts.sum(0).tolist()
        [[1, 0], [1, 1]]
    """
    names, index = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (index, np.asarray(true, dtype=int), np.asarray(predicted, dtype=int)), 1)
    return SpeakerCounts(tuple(map(str, names)), counts)


def pooled(parts: Sequence[SpeakerCounts]) -> SpeakerCounts:
    """Sum of counts by speaker, such as those of several folds, or of several seeds.

    Example:
        >>> one = count_by_speaker([0], [0], ["Anna"], num_classes=2)
        >>> pooled([one, one]).counts.tolist()
        [[[2, 0], [0, 0]]]
    """
    names = sorted({name for part in parts for name in part.speakers})
    counts = np.zeros((len(names), *parts[0].counts.shape[1:]), dtype=np.int64)
    for part in parts:
        counts[[names.index(name) for name in part.speakers]] += part.counts
    return SpeakerCounts(tuple(names), counts)


def recalls(counts: np.ndarray) -> np.ndarray:
    """Recall of each class, ``(..., classes)``, of counts ``(..., true, predicted)``; NaN where none is true.

    Example:
        >>> recalls(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
        array([0.75, 1.  ,  nan])
    """
    return _share(_diagonal(counts), counts.sum(-1))


def unweighted_average_recall(counts: np.ndarray) -> np.ndarray:
    """Mean recall ``(...)`` over the classes that occur among the true ones, as scikit-learn's balanced accuracy.

    Example:
        >>> unweighted_average_recall(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).item()
        0.875
    """
    return _mean_of_known(recalls(counts))


def weighted_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share ``(...)`` of the utterances that are predicted rightly.

    Example:
        >>> weighted_accuracy(np.array([[3, 1], [0, 4]])).item()
        0.875
    """
    return _share(_diagonal(counts).sum(-1), counts.sum((-2, -1)))


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 ``(...)`` over the classes that occur, be it among the true or the predicted ones, as in scikit-learn.

    Example:
        >>> macro_f1(np.array([[2, 0, 0], [0, 1, 1], [0, 0, 0]])).item()  # 1, 2/3 and 0
        0.5555555555555555
    """
    return _mean_of_known(_share(2 * _diagonal(counts), counts.sum(-1) + counts.sum(-2)))


def classification_scores(
    by_speaker: SpeakerCounts, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> ClassificationScores:
    """Scores with a percentile bootstrap over whole speakers; see :func:`speechshap.bootstrap.percentile_interval`.

    What a resample says of a class that does not occur in it is left out: of its mean over classes, and of the
    interval of that class' recall. With few speakers (below ten or so) the intervals are too narrow. There is none with
    one speaker, or where the speaker of an utterance is unknown.

    Args:
        by_speaker: Counts.
        n_resamples: Draws of the speakers.
        seed: Of these.

    Example:
        >>> counts = count_by_speaker([0, 1, 0, 1], [0, 1, 0, 0], ["Anna", "Anna", "Ben", "Ben"], num_classes=2)
        >>> classification_scores(counts).uar
        Estimate(value=0.75, low=0.5, high=1.0)
    """
    names, counts = by_speaker
    total = counts.sum(0)
    resampled = None
    if len(names) > 1 and "" not in names:
        drawn = draw_speakers(len(names), n_resamples, seed)
        times = np.zeros(drawn.shape)
        np.add.at(times, (np.arange(len(drawn))[:, None], drawn), 1)
        # Speakers are summed by how often each was drawn, which takes less memory than to gather them.
        resampled = (times @ counts.reshape(len(names), -1)).reshape(-1, *total.shape)

    def scored(score: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        interval = (np.nan, np.nan) if resampled is None else percentile_interval(score(resampled))
        return Estimate(float(score(total)), *interval)

    return ClassificationScores(
        scored(unweighted_average_recall),
        scored(weighted_accuracy),
        scored(macro_f1),
        tuple(scored(lambda each, place=place: recalls(each)[..., place]) for place in range(len(total))),  # type: ignore[misc]
    )


def _diagonal(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A part of a whole; NaN where the whole is 0."""
    shares: np.ndarray = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return shares


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are known; NaN where there is none."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0).sum(-1), known.sum(-1))
