"""Statistics over the explanations of many utterances: means by emotion.

Rows are those of a run's Parquet (:data:`speechshap.results.rows.SCHEMA`) with the same settings. A function takes all
of them; what it is made of (``time_gatherer``, …) takes in one utterance after the other, of any number. An emotion is
a predicted class: profiles are made from the rows that explain the prediction, as
:func:`speechshap.results.rows.explaining_prediction` chooses them. Where these are contrasts, the emotion goes by the
name of what was explained of it, ``angry - neutral``.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechshap.report.gathering import EmotionMoments, Gatherer, Moments, Row, finite, spread, taken_in

Gathering = Gatherer[EmotionMoments]


@dataclass(frozen=True, slots=True)
class Profile:
    """Means over the utterances of each emotion, along time, frequency or layers.

    Attributes:
        emotions: What was explained of each predicted class: the class, or a contrast of it.
        positions: Middles of bins as shares of the duration, centres of bands in Hz, or names of layers,
            ``(positions,)``.
        mean: Means over utterances, ``(emotions, positions)``.
        standard_error: Standard errors of the means, from the spread between utterances, ``(emotions, positions)``; NaN
            for one utterance.
        counts: Number of utterances of each emotion, ``(emotions,)``.
        speakers: Number of their speakers, ``(emotions,)``; 0 where that of an utterance is unknown.
        left_out: Number of utterances that could not be used.
    """

    emotions: tuple[str, ...]
    positions: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    speakers: np.ndarray
    left_out: int


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """How similar the frame attributions to two classes are within an utterance.

    Attributes:
        classes: Names of the explained classes.
        correlation: Pearson correlation over frames, averaged over utterances, ``(classes, classes)``; 1 on the
            diagonal, NaN where no utterance has both.
        standard_error: Standard errors of the means, from the spread between utterances, ``(classes, classes)``.
        counts: Number of utterances that have both, ``(classes, classes)``.
        left_out: Number of attributions (of an utterance to a class) that could not be used.
    """

    classes: tuple[str, ...]
    correlation: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    left_out: int


def time_profile(rows: Iterable[Mapping[str, Any]], num_bins: int = 50) -> Profile | None:
    """Average the frame attributions to each emotion over time, from the start to the end of an utterance.

    Utterances differ in length, so the frames of each are distributed over ``num_bins`` equal bins, in parts where a
    frame overlaps several; the sum does not change. The frames count as equally long, which is right to a frame or so.

    Args:
        rows: Rows of the same settings. Those with values that are not finite are left out and counted.
        num_bins: Number of bins, 1 at least.

    Returns:
        Means in the unit of the explained output (logits) per bin; None if no row can be used.

    Example:
        >>> row = {"target": "sad", "against": None, "prediction": "sad"}
        >>> profile = time_profile([row | {"frame_attribution": [1.0, 3.0, 2.0]}], num_bins=2)
        >>> profile.positions, profile.mean
        (array([0.25, 0.75]), array([[2.5, 3.5]]))
    """
    return profile(taken_in(time_gatherer(num_bins), rows))


def time_gatherer(num_bins: int = 50) -> Gathering:
    """What :func:`time_profile` is made of."""
    middles = tuple(((np.arange(num_bins) + 0.5) / num_bins).tolist())
    return _gatherer("frame_attribution", lambda row: middles, lambda frames: spread(frames, num_bins))


def band_profile(rows: Iterable[Mapping[str, Any]]) -> Profile | None:
    """Average the attributions to each emotion by frequency band, each summed over the utterance.

    Args:
        rows: Rows of the same settings. Those with values that are not finite, or with other bands than most, are left
            out and counted.

    Returns:
        Means in the unit of the explained output (logits) per band; None if no row can be used.

    Example:
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "frequencies_hz": [100.0, 200.0]}
        >>> profile = band_profile([row | {"time_frequency_attribution": [[1.0, 2.0], [0.0, -1.0]]}])
        >>> profile.positions, profile.mean
        (array([100., 200.]), array([[ 3., -1.]]))
    """
    return profile(taken_in(band_gatherer(), rows))


def band_gatherer() -> Gathering:
    """What :func:`band_profile` is made of."""
    return _gatherer(
        "time_frequency_attribution", lambda row: tuple(row["frequencies_hz"]), lambda bands: bands.sum(-1)
    )


def layer_profile(rows: Iterable[Mapping[str, Any]]) -> Profile | None:
    """Average the share that each layer has of the absolute neuron attributions to each emotion.

    Args:
        rows: Rows of the same settings. Those with values that are not finite or all 0, or with other layers than most,
            are left out and counted.

    Returns:
        Means from 0 to 1, which add up to 1 for each emotion; None if no row can be used.

    Example:
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "layer_names": ["first", "last"]}
        >>> layer_profile([row | {"layer_mass": [1.0, 3.0]}]).mean
        array([[0.25, 0.75]])
    """
    return profile(taken_in(layer_gatherer(), rows))


def layer_gatherer() -> Gathering:
    """What :func:`layer_profile` is made of."""
    return _gatherer(
        "layer_mass",
        lambda row: tuple(row["layer_names"]),
        lambda mass: mass / mass.sum() if mass.any() else None,
    )


def class_agreement(rows: Iterable[Mapping[str, Any]]) -> ClassAgreement | None:
    """Correlate the frame attributions to any two classes within an utterance, and average over utterances.

    Args:
        rows: Rows of the same settings. Utterances explained for one class only are ignored, as are contrasts: two of
            them have the class that is subtracted in common, and agree for that alone. Attributions that are not
            finite, or the same in all frames, are left out and counted.

    Returns:
        The agreement of all classes; None if no utterance was explained for two.

    Example:
        >>> rows = [
        ...     {"utterance": "a.wav", "target": "sad", "against": None, "frame_attribution": [0.0, 1.0, 2.0]},
        ...     {"utterance": "a.wav", "target": "happy", "against": None, "frame_attribution": [3.0, 2.0, 1.0]},
        ... ]
        >>> class_agreement(rows).correlation
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    return taken_in(AgreementGatherer(), rows).result()


class AgreementGatherer:
    """What :func:`class_agreement` is made of."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, ...], Moments] = {}
        self._classes: set[str] = set()
        self._left_out = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take in the rows of an utterance."""
        # By length, too: a file that was changed between two runs has rows of both.
        explained: dict[int, dict[str, np.ndarray | None]] = defaultdict(dict)
        for row in rows:
            if row.get("frame_attribution") is not None and row["against"] is None:
                explained[len(row["frame_attribution"])][row["target"]] = _varying(row["frame_attribution"])
        for targets in explained.values():
            if len(targets) > 1:
                self._classes |= targets.keys()
                usable = {name: targets[name] for name in sorted(targets) if targets[name] is not None}
                self._left_out += len(targets) - len(usable)
                if usable:
                    matrix = np.atleast_2d(np.corrcoef(np.stack(list(usable.values()))))  # type: ignore[arg-type]
                    self._of.setdefault(tuple(usable), Moments()).take(matrix)

    def result(self) -> ClassAgreement | None:
        """The agreement of all classes; None if no utterance was explained for two."""
        if not self._classes:
            return None
        classes = tuple(sorted(self._classes))
        pairs = [[Moments() for _ in classes] for _ in classes]
        for names, moments in self._of.items():
            places = [classes.index(name) for name in names]
            for own, row in enumerate(places):
                for other, column in enumerate(places):
                    pairs[row][column].merge(moments.at(own, other))
        mean, error, counts = (
            np.array([[getattr(pair, name)[0] for pair in row] for row in pairs])
            for name in ("mean", "standard_error", "count")
        )
        np.fill_diagonal(mean, 1.0)
        return ClassAgreement(classes, mean, error, counts, self._left_out)


def _varying(values: Any) -> np.ndarray | None:
    array = finite(values)
    return array if array is not None and np.ptp(array) > 0 else None


def _gatherer(
    column: str,
    positions_of: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    summary: Callable[[np.ndarray], np.ndarray | None],
) -> Gathering:
    """Of what ``summary`` makes of a column; it returns None for values that cannot be used."""

    def values_of(row: Mapping[str, Any]) -> np.ndarray | None:
        array = finite(row[column])
        return None if array is None else summary(array)

    return Gatherer(column, positions_of, values_of, EmotionMoments)


def profile(gatherer: Gathering) -> Profile | None:
    """Means by emotion of what was taken in; None if no row can be used."""
    found = gatherer.result()
    if found is None:
        return None
    emotions = sorted(found.statistic.of)
    moments = [found.statistic.of[emotion] for emotion in emotions]
    return Profile(
        emotions=tuple(found.explained[emotion] for emotion in emotions),
        positions=found.positions,
        mean=np.stack([each.mean for each in moments]),
        standard_error=np.stack([each.standard_error for each in moments]),
        counts=np.array([each.count.max() for each in moments]),
        speakers=np.array([found.statistic.num_speakers(emotion) for emotion in emotions]),
        left_out=found.left_out,
    )
