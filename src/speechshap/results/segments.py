"""Sums of frame attributions over segments, tier by tier, and the resolution that a picture has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechshap.attribution.segments import LADDER_SECONDS, width_name
from speechshap.results.estimate import Estimate


class Resolution(NamedTuple):
    """Attributions over stretches side by side, of which a picture draws one value each.

    Attributes:
        name: What one of them is: ``frames``, or their length (``100 ms``).
        edges: Their bounds in seconds, ``(stretches + 1,)``.
        estimate: Attributions, ``(targets, stretches)``.
    """

    name: str
    edges: np.ndarray
    estimate: Estimate

    @property
    def is_frames(self) -> bool:
        """Whether the stretches are single frames."""
        return self.name == "frames"

    @property
    def each(self) -> str:
        """What an attribution is that of: ``a frame``, or ``in 100 ms``."""
        return "a frame" if self.is_frames else f"in {self.name}"


@dataclass(frozen=True, slots=True)
class SegmentAttribution:
    """Sums of frame attributions over segments, those of a tier one after the other.

    A segment has whole frames: its bounds are the nearest bounds of frames to those that were given.

    Attributes:
        tiers: Tier of each segment: ``words``, or their length (``100 ms``) for stretches of equal length.
        labels: What is said in each, empty for nothing.
        starts: Where each begins, in seconds, ``(segments,)``.
        ends: Where each ends.
        estimate: The sums, ``(targets, segments)``; their errors come from sums within replicates, and thus from how
            frames vary together.
    """

    tiers: tuple[str, ...]
    labels: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    estimate: Estimate

    @property
    def tier_names(self) -> list[str]:
        """Each tier once, in their order."""
        return list(dict.fromkeys(self.tiers))

    def tier(self, name: str) -> "SegmentAttribution":
        """The segments of one tier."""
        chosen = np.flatnonzero(np.array(self.tiers, dtype=object) == name)
        tiers, labels = (tuple(values[place] for place in chosen) for values in (self.tiers, self.labels))
        return SegmentAttribution(tiers, labels, self.starts[chosen], self.ends[chosen], self.estimate.part(chosen))

    def ladder(self) -> Iterator[Resolution]:
        """The stretches of equal length that a picture chooses from, the shortest first."""
        names = set(self.tiers)
        for name in map(width_name, LADDER_SECONDS):
            if name in names:
                own = self.tier(name)
                yield Resolution(name, np.append(own.starts, own.ends[-1]), own.estimate)
