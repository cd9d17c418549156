"""Prosody of the evidence utterance by utterance: a dot for each of them, laid out side by side (a beeswarm).

In each row lies one cue, from what is lower in the evidence than in the rest to what is higher, and the colour of a dot
says whether the utterance as a whole is low or high in the cue, as in shap's plot of that name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechshap.report.cue_profile import MOST_DRAWN, CueProfile, CueStatistic, Dot, cue_gatherer, cue_profile_of
from speechshap.report.gathering import Gathered, Row, taken_in

SIZES = (5.0, 4.2, 3.5, 3.0, 2.5)
"""Diameters of the dots, in points or pixels: the first with which there is room."""

ROOM, MARK = 0.72, 0.4
"""Height of a row's dots as a share of the row, and where the mean is: below them, so that it hides none."""

DOTS_MIDDLE = ROOM / 2 - 0.5 + 0.03
"""Where the middle of the dots is, relative to that of the row; positive is downwards."""

_EXTREMES = (0.05, 0.95)
"""Quantiles of a cue whose colours are the lowest and the highest."""


@dataclass(frozen=True, slots=True)
class Dots:
    """Utterances of an emotion.

    Attributes:
        utterances: Their ids.
        evidence: Means of the cues over the evidence, ``(utterances, cues)``; NaN where one side has no such frame.
        rest: The same over the rest.
        are_significant: Whether the evidence are significant frames, ``(utterances,)`` bool; or else the strongest.
    """

    utterances: tuple[str, ...]
    evidence: np.ndarray
    rest: np.ndarray
    are_significant: np.ndarray


@dataclass(frozen=True, slots=True)
class Beeswarm:
    """Utterances of each emotion by how their evidence differs from the rest.

    Attributes:
        profile: Means over all utterances, with intervals.
        deviation: Standard deviation of each cue over the corpus, evidence and rest of all utterances, ``(cues,)``; 1
            where all are the same.
        dots: Utterances of each emotion, of many a random draw.
    """

    profile: CueProfile
    deviation: np.ndarray
    dots: tuple[Dots, ...]

    def places(self, emotion: int) -> np.ndarray:
        """Evidence less rest of an emotion's utterances in standard deviations of the cue, ``(utterances, cues)``."""
        return (self.dots[emotion].evidence - self.dots[emotion].rest) / self.deviation

    @property
    def num_drawn(self) -> int:
        """Utterances that are drawn; 0 where no cue of any is known."""
        return sum(len(dots.utterances) for dots in self.dots)

    @property
    def intervals(self) -> np.ndarray:
        """Means over all utterances and the ends of their intervals, in the same unit, ``(3, emotions, cues)``."""
        return np.stack([self.profile.mean, self.profile.low, self.profile.high]) / self.deviation

    @property
    def reach(self) -> float:
        """An axis from minus this to this shows everything."""
        shown = [self.intervals, *(self.places(emotion) for emotion in range(len(self.dots)))]
        return 1.05 * max(np.abs(part[np.isfinite(part)]).max(initial=0.0) for part in shown) or 1.0

    @property
    def levels(self) -> list[np.ndarray]:
        """How low (0) or high (1) each utterance of each emotion is in the cues, ``(utterances, cues)``.

        It is the mean of evidence and rest. The level of one side would go with the difference by chance alone
        (Bland & Altman 1995, Lancet 346:1085-1087), and colours would seem to tell something.
        """
        own = [(dots.evidence + dots.rest) / 2 for dots in self.dots]
        whole = np.concatenate(own)
        low, high = np.full((2, whole.shape[1]), np.nan)
        known = ~np.isnan(whole).all(0)
        low[known], high[known] = np.nanquantile(whole[:, known], _EXTREMES, axis=0)
        width = np.where(high > low, high - low, np.inf)
        return [np.clip((each - low) / width + 0.5 * (high == low), 0, 1) for each in own]

    def part(self, most: int) -> "Beeswarm":
        """With so many utterances of each emotion at most."""
        return replace(
            self,
            dots=tuple(
                Dots(dots.utterances[:most], dots.evidence[:most], dots.rest[:most], dots.are_significant[:most])
                for dots in self.dots
            ),
        )

    def __str__(self) -> str:
        """How many of the utterances are drawn; empty where it is all of them."""
        drawn, whole = self.num_drawn, int(self.profile.num_utterances.sum())
        most = max(len(dots.utterances) for dots in self.dots)
        of_each = "" if len(self.dots) == 1 else f", {most:,} of an emotion at most"
        return "" if drawn >= whole else f"dots: a random draw of {drawn:,} of {whole:,} utterances{of_each}"


def beeswarm(rows: Iterable[Row]) -> Beeswarm | None:
    """Collect how the evidence of each utterance differs from the rest of it.

    Args:
        rows: As of :func:`speechshap.report.cue_profile.cue_profile`.

    Returns:
        The utterances, at most :data:`speechshap.report.cue_profile.MOST_DRAWN` of each emotion; None if no row can be
        used.

    Example:
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "cue_names": ["f0"], "cue_rest": [1.0]}
        >>> rows = [row | {"utterance": name, "cue_evidence": [height]} for name, height in (("a", 3.0), ("b", 5.0))]
        >>> found = beeswarm(rows)
        >>> found.dots[0].utterances, found.places(0).round(2).tolist(), found.deviation.round(2).tolist()
        (('a', 'b'), [[1.04], [2.09]], [1.91])
    """
    found = taken_in(cue_gatherer(), rows).result()
    return None if found is None else beeswarm_of(found)


def beeswarm_of(found: Gathered[CueStatistic]) -> Beeswarm:
    """The utterances that were taken in."""
    deviation = np.atleast_1d(found.statistic.levels.deviation)
    profile = cue_profile_of(found)
    emotions = sorted(found.statistic.moments.of)
    return Beeswarm(
        profile,
        np.where(deviation > 0, deviation, 1.0),
        tuple(_dots(found.statistic.dots[emotion].smallest(MOST_DRAWN), len(profile.names)) for emotion in emotions),
    )


def _dots(drawn: Sequence[tuple[str, Dot]], num_cues: int) -> Dots:
    sides = np.array([dot.sides for _, dot in drawn], np.float64).reshape(-1, 2, num_cues)
    are_significant = np.array([dot.is_significant for _, dot in drawn], bool)
    return Dots(tuple(name for name, _ in drawn), sides[:, 0], sides[:, 1], are_significant)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the dots of a beeswarm are.

    Attributes:
        diameter: Of a dot, in the unit of the size.
        offsets: How far from the middle of their row the dots of each emotion are, as a share of the row's height,
            ``(utterances, cues)``.
    """

    diameter: float
    offsets: tuple[np.ndarray, ...]


def lay_out(swarm: Beeswarm, width: float, row_height: float) -> Layout:
    """Lay the dots of all rows out side by side, as large as there is room for.

    They overlap only where a row is too low for them, as where hundreds of utterances have the very same value.

    Args:
        swarm: The dots.
        width: Of a panel whose axis goes from one end of ``reach`` to the other, in points or pixels.
        row_height: Of a row in it, likewise.
    """
    places = [swarm.places(emotion) for emotion in range(len(swarm.dots))]
    most = max(len(part) for part in places)
    rows = np.full((len(places), swarm.deviation.size, most), np.nan)
    for emotion, part in enumerate(places):
        rows[emotion, :, : len(part)] = part.T
    stacked, room = rows.reshape(rows.shape[0] * rows.shape[1], most), ROOM * row_height
    fits = np.ones(len(stacked), bool)
    for diameter in reversed(SIZES):  # rows that are too low for the smallest ones decide on nothing
        finer = side_by_side(stacked, 2 * swarm.reach * diameter / width)
        needed = diameter * (np.nanmax(finer, 1, initial=0) - np.nanmin(finer, 1, initial=0) + 1)
        if diameter == SIZES[-1]:
            fits = needed <= room
        elif (needed[fits] > room).any():
            break
        lines, heights, chosen = finer, needed, diameter
    squeezed = np.minimum(1.0, room / heights)
    offsets = (lines * (squeezed * chosen / row_height)[:, None]).reshape(rows.shape)
    of_emotions = tuple(own[:, : len(part)].T for own, part in zip(offsets, places, strict=True))
    return Layout(chosen, of_emotions)


def side_by_side(places: np.ndarray, diameter: float) -> np.ndarray:
    """Distribute the dots of each row over as few lines as possible, so that those of a line do not overlap.

    Dots are taken from left to right, each to the line that is nearest to the middle and free there. Since all are of
    one size, no way needs fewer lines (they are intervals of an interval graph).

    Args:
        places: Of the dots, ``(rows, dots)``; NaN for none.
        diameter: In the unit of the places.

    Returns:
        The line of each dot: 0 in the middle, 1 and -1 beside it, and so on, ``(rows, dots)``; NaN for none.

    Example:
        >>> side_by_side(np.array([[0.0, 0.1, 0.2, 1.0, np.nan]]), 0.5)
        array([[ 0.,  1., -1.,  0., nan]])
    """
    order = np.argsort(places, axis=1, kind="stable")  # NaN is last
    every = np.arange(len(places))
    lines = np.full(places.shape, np.nan)
    ends = np.full((len(places), 1), -np.inf)  # of the last dot on each line
    for column in order.T:
        here = places[every, column]
        is_dot = ~np.isnan(here)
        if not is_dot.any():
            break
        free = ends <= (here - diameter)[:, None]
        if not free[is_dot].any(1).all():
            ends = np.concatenate([ends, np.full((len(places), 1), -np.inf)], 1)
            free = np.concatenate([free, np.ones((len(places), 1), bool)], 1)
        line = free.argmax(1)
        ends[every[is_dot], line[is_dot]] = here[is_dot]
        lines[every[is_dot], column[is_dot]] = line[is_dot]
    return np.where(lines % 2 == 1, (lines + 1) / 2, -lines / 2) + 0.0
