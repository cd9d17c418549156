"""Statistics over the explanations of many utterances: means by emotion.

Rows are those of a run's Parquet (:data:`speechshap.results.rows.SCHEMA`) with the same settings. They are iterated
over once, so that a generator will do. An emotion is a predicted class: profiles are made from the rows that explain
the prediction, as :func:`speechshap.results.rows.explaining_prediction` chooses them. Where these are contrasts, the
emotion goes by the name of what was explained of it, ``angry - neutral``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechshap.report.wording import explained_of_classes
from speechshap.results.rows import explaining_prediction


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
        left_out: Number of utterances that could not be used.
    """

    emotions: tuple[str, ...]
    positions: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    left_out: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a column says of each utterance, at the same positions in all of them.

    Attributes:
        emotions: Predicted class of each, ``(utterances,)``.
        explained: What was explained of each class, by its name: the class, or a contrast of it.
        speakers: Speaker of each, None where unknown, ``(utterances,)``.
        positions: As in :class:`Profile`, ``(positions,)``.
        values: ``(utterances, positions)``.
        left_out: Number of utterances that could not be used.
    """

    emotions: list[str]
    explained: dict[str, str]
    speakers: list[str | None]
    positions: np.ndarray
    values: np.ndarray
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
    middles = tuple(((np.arange(num_bins) + 0.5) / num_bins).tolist())
    return _profile(rows, "frame_attribution", lambda row: middles, lambda frames: spread(frames, num_bins))


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
    return _profile(
        rows, "time_frequency_attribution", lambda row: tuple(row["frequencies_hz"]), lambda bands: bands.sum(-1)
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
    return _profile(
        rows,
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
    # By length, too: a file that was changed between two runs has rows of both.
    explained: dict[tuple[str, int], dict[str, np.ndarray | None]] = defaultdict(dict)
    for row in rows:
        if row.get("frame_attribution") is not None and row["against"] is None:
            key = row["utterance"], len(row["frame_attribution"])
            explained[key][row["target"]] = _varying(row["frame_attribution"])
    several = [targets for targets in explained.values() if len(targets) > 1]
    if not several:
        return None
    classes = tuple(sorted({name for targets in several for name in targets}))
    matrices = np.stack([_correlations(targets, classes) for targets in several])
    mean, standard_error, counts = _statistics(matrices)
    np.fill_diagonal(mean, 1.0)
    left_out = sum(values is None for targets in several for values in targets.values())
    return ClassAgreement(classes, mean, standard_error, counts, left_out)


def gather(
    rows: Iterable[Mapping[str, Any]],
    column: str,
    positions_of: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    values_of: Callable[[Mapping[str, Any]], np.ndarray | None],
) -> Vectors | None:
    """Collect what a column says of each utterance whose prediction is explained.

    Args:
        rows: Rows of the same settings. Those with other positions than most are left out and counted.
        column: Its name; rows without it are ignored.
        positions_of: Gives the positions for a row.
        values_of: Gives the values ``(positions,)`` for a row; None, where they cannot be used, leaves it out, too.

    Returns:
        Values of all utterances; None if no row can be used.
    """
    usable: list[tuple[Mapping[str, Any], tuple[Any, ...], np.ndarray]] = []
    chosen = explaining_prediction([row for row in rows if row.get(column) is not None])
    for row in chosen:
        values = values_of(row)
        if values is not None:
            usable.append((row, positions_of(row), values))
    if not usable:
        return None
    commonest = Counter(positions for _, positions, _ in usable).most_common(1)[0][0]
    used = [(row, values) for row, positions, values in usable if positions == commonest]
    return Vectors(
        emotions=[row["target"] for row, _ in used],
        explained=explained_of_classes(row for row, _ in used),
        speakers=[row.get("speaker") for row, _ in used],
        positions=np.array(commonest),
        values=np.stack([values for _, values in used]),
        left_out=len(chosen) - len(used),
    )


def spread(frames: np.ndarray, num_bins: int) -> np.ndarray:
    """Distribute frames ``(frames,)`` over bins ``(bins,)`` with the same sum: differences of the cumulative sum."""
    reached = np.concatenate([[0.0], np.cumsum(frames)])
    shares = np.linspace(0, 1, len(reached))
    return np.diff(np.interp(np.linspace(0, 1, num_bins + 1), shares, reached))


def finite(values: Sequence[Any]) -> np.ndarray | None:
    """Values as an array; None if there are none or some are not finite."""
    array = np.array(values, dtype=np.float64)
    return array if array.size and np.isfinite(array).all() else None


def _varying(values: Sequence[float]) -> np.ndarray | None:
    array = finite(values)
    return array if array is not None and np.ptp(array) > 0 else None


def _profile(
    rows: Iterable[Mapping[str, Any]],
    column: str,
    positions_of: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    summary: Callable[[np.ndarray], np.ndarray | None],
) -> Profile | None:
    """Means by emotion of what ``summary`` makes of a column; it returns None for values that cannot be used."""

    def values_of(row: Mapping[str, Any]) -> np.ndarray | None:
        array = finite(row[column])
        return None if array is None else summary(array)

    vectors = gather(rows, column, positions_of, values_of)
    if vectors is None:
        return None
    emotions = tuple(sorted(set(vectors.emotions)))
    of = np.array(vectors.emotions)
    statistics = [_statistics(vectors.values[of == emotion]) for emotion in emotions]
    return Profile(
        emotions=tuple(vectors.explained[emotion] for emotion in emotions),
        positions=vectors.positions,
        mean=np.stack([mean for mean, _, _ in statistics]),
        standard_error=np.stack([error for _, error, _ in statistics]),
        counts=np.array([np.sum(of == emotion) for emotion in emotions]),
        left_out=vectors.left_out,
    )


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis, its standard error, and the count, of the values that are not NaN."""
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, values, 0).sum(0) / count
        squares = (np.where(known, values - mean, 0) ** 2).sum(0)
        error = np.sqrt(squares / (count - 1) / count)
    return mean, error, count


def _correlations(targets: Mapping[str, np.ndarray | None], classes: Sequence[str]) -> np.ndarray:
    """Correlation of any two classes in one utterance, ``(classes, classes)``; NaN where one is missing."""
    matrix = np.full((len(classes), len(classes)), np.nan)
    usable = {name: values for name, values in targets.items() if values is not None}
    if usable:
        places = [classes.index(name) for name in usable]
        matrix[np.ix_(places, places)] = np.corrcoef(np.stack(list(usable.values())))
    return matrix
