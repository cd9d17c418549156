"""What a column says of many utterances, taken in one after the other: what is kept does not grow with their number.

An emotion is a predicted class, and what counts are the rows that explain the prediction, those that
:func:`speechshap.results.rows.explaining_prediction` chooses where all rows are there at once. Which kind of rows that
is (classes, or contrasts), and at which positions most rows have values, is known at the end only; so each is kept
apart until then.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from speechshap.attribution.targets import Target
from speechshap.report.wording import explained_of_classes
from speechshap.results.rows import target_of

Row = Mapping[str, Any]


class Statistic(Protocol):
    """Takes in values of one utterance after the other."""

    def add(self, row: Row, values: np.ndarray) -> None:
        """Take in the values ``(..., positions)`` of a row."""

    def merge(self, other: Self) -> None:
        """Take in all that another one has taken in."""


S = TypeVar("S", bound=Statistic)


class Moments:
    """Count, mean and sum of squared deviations of arrays of one shape, NaN left out (Welford 1962; Chan et al. 1979).

    Example:
        >>> moments = Moments()
        >>> for values in ([1.0, 2.0], [3.0, np.nan]):
        ...     moments.take(np.array(values))
        >>> moments.count, moments.mean, moments.standard_error
        (array([2, 1]), array([2., 2.]), array([ 1., nan]))
    """

    def __init__(self) -> None:
        self.count: np.ndarray = np.zeros(1, np.int64)
        self._mean: np.ndarray = np.zeros(1)
        self._squares: np.ndarray = np.zeros(1)

    def take(self, values: np.ndarray) -> None:
        """Take in an array."""
        known = ~np.isnan(values)
        self._take(known.astype(np.int64), np.where(known, values, 0.0), np.zeros(1))

    def merge(self, other: "Moments") -> None:
        """Take in all that another one has taken in."""
        self._take(other.count, other._mean, other._squares)

    def _take(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self.count + count
        share = count / np.maximum(total, 1)
        apart = mean - self._mean
        self._squares = self._squares + squares + apart**2 * self.count * share
        self._mean = self._mean + apart * share
        self.count = total

    def at(self, *place: int) -> "Moments":
        """Of one element."""
        own = Moments()
        own.count, own._mean, own._squares = (
            np.array([values[place]]) for values in (self.count, self._mean, self._squares)
        )
        return own

    @property
    def mean(self) -> np.ndarray:
        """Mean of each element; NaN where none is known."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each element in the population that these are a sample of; NaN for a single value."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.count > 1, np.sqrt(self._squares / (self.count - 1)), np.nan)

    @property
    def standard_error(self) -> np.ndarray:
        """Of the mean; NaN for a single value."""
        return self.deviation / np.sqrt(np.maximum(self.count, 1))


class EmotionMoments:
    """Moments of each emotion, and who speaks."""

    def __init__(self) -> None:
        self.of: defaultdict[str, Moments] = defaultdict(Moments)
        self._speakers: defaultdict[str, set[str | None]] = defaultdict(set)

    def add(self, row: Row, values: np.ndarray) -> None:
        """Take in the values ``(positions,)`` of a row."""
        self.of[row["target"]].take(values)
        self._speakers[row["target"]].add(row.get("speaker") or None)

    def merge(self, other: Self) -> None:
        """Take in all that another one has taken in."""
        for emotion, moments in other.of.items():
            self.of[emotion].merge(moments)
            self._speakers[emotion] |= other._speakers[emotion]

    def num_speakers(self, emotion: str) -> int:
        """Number of speakers of an emotion; 0 where that of an utterance is unknown."""
        speakers = self._speakers[emotion]
        return 0 if None in speakers else len(speakers)


class Totals:
    """Sums over the utterances of each speaker, and of how many values; what is not finite is left out.

    Example:
        >>> totals = Totals()
        >>> for speaker, values in (("Anna", [1.0, 2.0]), ("Ben", [5.0, np.inf]), ("Anna", [3.0, 4.0])):
        ...     totals.take(speaker, np.array(values))
        >>> totals.names, totals.sums.tolist(), totals.counts.tolist()
        (['Anna', 'Ben'], [[4.0, 6.0], [5.0, 0.0]], [[2, 2], [1, 0]])
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._sums = np.zeros((0, 0))
        self._counts = np.zeros((0, 0), np.int64)

    @property
    def names(self) -> list[str]:
        """Speakers, in the order they came."""
        return list(self._places)

    @property
    def sums(self) -> np.ndarray:
        """Sums ``(speakers, positions)``."""
        return self._sums[: len(self._places)]

    @property
    def counts(self) -> np.ndarray:
        """Numbers of values ``(speakers, positions)``."""
        return self._counts[: len(self._places)]

    def take(self, speaker: str, values: np.ndarray) -> None:
        """Take in the values ``(positions,)`` of an utterance."""
        known = np.isfinite(values)
        self._take(speaker, np.where(known, values, 0.0), known)

    def merge(self, other: "Totals") -> None:
        """Take in all that another one has taken in."""
        for speaker, sums, counts in zip(other.names, other.sums, other.counts, strict=True):
            self._take(speaker, sums, counts)

    def _take(self, speaker: str, sums: np.ndarray, counts: np.ndarray) -> None:
        place = self._places.setdefault(speaker, len(self._places))
        if place >= len(self._sums):
            # Doubled each time, so that few copies are made.
            room = (max(8, len(self._sums)), len(sums))
            self._sums = np.concatenate([self._sums.reshape(-1, len(sums)), np.zeros(room)])
            self._counts = np.concatenate([self._counts.reshape(-1, len(sums)), np.zeros(room, np.int64)])
        self._sums[place] += sums
        self._counts[place] += counts


class EmotionTotals:
    """Sums of each emotion by speaker."""

    def __init__(self) -> None:
        self.of: defaultdict[str, Totals] = defaultdict(Totals)

    def add(self, row: Row, values: np.ndarray) -> None:
        """Take in the values ``(positions,)`` of a row; where the speaker is unknown, the utterance stands for one."""
        self.of[row["target"]].take(row.get("speaker") or row["utterance"], values)

    def merge(self, other: Self) -> None:
        """Take in all that another one has taken in."""
        for emotion, totals in other.of.items():
            self.of[emotion].merge(totals)


@dataclass(frozen=True, slots=True)
class Gathered(Generic[S]):
    """What a column says of the utterances whose prediction is explained.

    Attributes:
        statistic: Of the values at the positions that most rows have.
        explained: What was explained of each class, by its name: the class, or a contrast of it.
        positions: Where the values are ``(positions,)``.
        left_out: Number of rows that could not be used.
    """

    statistic: S
    explained: dict[str, str]
    positions: np.ndarray
    left_out: int


class Gatherer(Generic[S]):
    """Takes in what a column says of each utterance whose prediction is explained.

    Args:
        column: Its name; rows without it are ignored.
        positions_of: Gives the positions for a row; rows with other positions than most are left out and counted.
        values_of: Gives the values ``(..., positions)`` for a row; None, where they cannot be used, leaves it out, too.
        make: Makes an empty statistic.

    Example:
        >>> mass = lambda row: np.array(row["layer_mass"])
        >>> found = Gatherer("layer_mass", lambda row: ("first",), mass, EmotionMoments)
        >>> for size in (1.0, 3.0):
        ...     found.add([{"target": "sad", "against": None, "prediction": "sad", "layer_mass": [size]}])
        >>> found.result().statistic.of["sad"].mean
        array([2.])
    """

    def __init__(
        self,
        column: str,
        positions_of: Callable[[Row], tuple[Any, ...]],
        values_of: Callable[[Row], np.ndarray | None],
        make: Callable[[], S],
    ) -> None:
        self.column = column
        self.positions_of = positions_of
        self.values_of = values_of
        self.make = make
        self._plain: _Kind[S] = _Kind()
        self._contrasts: dict[tuple[Target, ...], list[_Kind[S]]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Take in the rows of an utterance, all of the same settings."""
        contrasts = []
        for row in rows:
            if row.get(self.column) is None:
                continue
            if row["against"] is None:
                if row["prediction"] in (None, row["target"]):
                    self._take(self._plain, row)
            elif row["prediction"] == row["target"]:
                contrasts.append(row)
        if contrasts:
            # One of them counts, that which the class has most often.
            targets = tuple(target_of(row) for row in contrasts)
            kinds = self._contrasts.setdefault(targets, [_Kind() for _ in targets])
            for kind, row in zip(kinds, contrasts, strict=True):
                self._take(kind, row)

    def _take(self, kind: "_Kind[S]", row: Row) -> None:
        kind.count += 1
        values = self.values_of(row)
        if values is None:
            return
        positions = self.positions_of(row)
        content = kind.content.get(positions)
        if content is None:
            content = kind.content[positions] = _Content(self.make())
        content.add(row, values)

    def result(self) -> Gathered[S] | None:
        """What was taken in; None if no row can be used."""
        chosen = [self._plain]
        if self._plain.count < sum(kinds[0].count for kinds in self._contrasts.values()):
            count: Counter[Target] = Counter()
            for targets, kinds in self._contrasts.items():
                for target in targets:
                    count[target] += kinds[0].count
            chosen = [
                kinds[max(range(len(targets)), key=lambda place: (count[targets[place]], place))]
                for targets, kinds in self._contrasts.items()
            ]
        numbers: Counter[tuple[Any, ...]] = Counter()
        for kind in chosen:
            for positions, content in kind.content.items():
                numbers[positions] += content.count
        if not numbers:
            return None
        commonest, used = numbers.most_common(1)[0]
        whole = _Content(self.make())
        for kind in chosen:
            if commonest in kind.content:
                whole.merge(kind.content[commonest])
        return Gathered(
            whole.statistic,
            explained_of_classes({"target": label, "against": against} for label, against in whole.targets),
            np.array(commonest),
            sum(kind.count for kind in chosen) - used,
        )


@dataclass
class _Content(Generic[S]):
    """What rows with the same positions say."""

    statistic: S
    count: int = 0
    targets: dict[Target, None] = field(default_factory=dict)

    def add(self, row: Row, values: np.ndarray) -> None:
        self.count += 1
        self.targets[target_of(row)] = None
        self.statistic.add(row, values)

    def merge(self, other: "_Content[S]") -> None:
        self.count += other.count
        self.targets |= other.targets
        self.statistic.merge(other.statistic)


@dataclass
class _Kind(Generic[S]):
    """Rows of a kind, by their positions."""

    count: int = 0
    content: dict[tuple[Any, ...], _Content[S]] = field(default_factory=dict)


class Taking(Protocol):
    """Takes in the rows of one utterance after the other."""

    def add(self, rows: Iterable[Row]) -> None:
        """Take in the rows of an utterance."""


T = TypeVar("T", bound=Taking)


def taken_in(taking: T, rows: Iterable[Row]) -> T:
    """Have rows of many utterances taken in that are there all at once; returns what has taken them in."""
    for group in by_name(rows):
        taking.add(group)
    return taking


def by_name(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    """Rows of each utterance, which need not be side by side; those without an id are one by one."""
    groups: dict[Any, list[Row]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.get("utterance", number), []).append(row)
    yield from groups.values()


def finite(values: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """Values as an array; None if there are none or some are not finite."""
    array = np.array(values, dtype=np.float64)
    return array if array.size and np.isfinite(array).all() else None


def spread(frames: np.ndarray, num_bins: int) -> np.ndarray:
    """Distribute frames ``(frames,)`` over bins ``(bins,)`` with the same sum: differences of the cumulative sum."""
    reached = np.concatenate([[0.0], np.cumsum(frames)])
    shares = np.linspace(0, 1, len(reached))
    return np.diff(np.interp(np.linspace(0, 1, num_bins + 1), shares, reached))
