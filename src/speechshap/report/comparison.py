"""Where do the explanations of two emotions differ: over time, over frequency bands, and in what is heard there?

Emotions are predicted classes, and rows those of a run, as in :mod:`speechshap.report.corpus`. Where contrasts explain
the predictions, these are compared: ``angry - neutral`` of what was predicted angry with ``sad - neutral`` of what was
predicted sad.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from speechshap.data.wording import name_some
from speechshap.errors import UserError
from speechshap.evaluation import Difference, SpeakerTotals, compare_speakers
from speechshap.report.gathering import EmotionTotals, Gathered, Gatherer, Row, Totals, finite, spread, taken_in

COMPARISON_SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("class", pa.string()),
        ("other", pa.string()),
        ("position", pa.string()),
        ("difference", pa.float64()),
        ("standard_error", pa.float64()),
        ("p", pa.float64()),
        ("speakers", pa.int64()),
        ("paired", pa.bool_()),
        ("utterances", pa.int64()),
        ("other_utterances", pa.int64()),
    ]
)
"""``quantity`` is ``time``, ``band`` or ``cue``. ``class`` and ``other`` are what is explained of the predicted class:
itself, or a contrast of it (``angry - neutral``). ``difference`` is ``class`` minus ``other``, which is null for all
other classes together. ``position`` is the middle of a bin as a share of the duration, the centre of a band in Hz, or
the name of a cue. ``p`` is corrected over the positions of a comparison, not for the number of comparisons. ``paired``
tells whether each of the ``speakers`` is in both classes; ``utterances`` and ``other_utterances`` are
theirs. A cue that is not known has nulls."""

Comparable = Gathered[EmotionTotals]
"""What can be compared of the utterances of each emotion, by speaker."""

_NUM_BINS = 20
"""Over time: few enough for clear differences, each 100 to 200 ms of a usual clip."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An emotion compared with another one, or with all others.

    Attributes:
        quantity: ``time``, ``band`` or ``cue``.
        emotion: What was explained of it: the class, or a contrast of it.
        other: That of the other one; None for all others together.
        positions: As in :class:`speechshap.report.corpus.Profile`; names of cues.
        utterances: How many of the emotion, and of the other one, by the speakers who are compared.
        found: The emotion minus the other one.
    """

    quantity: str
    emotion: str
    other: str | None
    positions: np.ndarray
    utterances: tuple[int, int]
    found: Difference


def comparable(rows: Iterable[Row]) -> dict[str, Comparable]:
    """What can be compared of the utterances, by quantity.

    Attributions are given as shares of the sum of their absolute values over bins or bands. Two classes have logits of
    different size, and so have two utterances; without this, an emotion with large logits would differ from the others
    everywhere, and few utterances would decide. So it is compared *where* the evidence lies, not how much there is of
    it, which is what profiles show. (The sum of the positive ones alone may be near 0; this one never is.)

    A cue (pitch, level, ...) is compared by its mean where the evidence is minus that in the rest of the utterance, in
    its own unit.

    Args:
        rows: Rows of the same settings. Those with attributions that are not finite or all 0 are left out, as are
            those whose speaker is unknown.

    Example:
        >>> bands = {"frequencies_hz": [100.0, 200.0], "time_frequency_attribution": [[2.0, 1.0], [0.0, -1.0]]}
        >>> found = comparable([{"target": "sad", "against": None, "prediction": "sad", "speaker": "Anna", **bands}])
        >>> found["band"].statistic.of["sad"].names, found["band"].statistic.of["sad"].sums
        (['Anna'], array([[ 0.75, -0.25]]))
    """
    return taken_in(ComparisonGatherer(), rows).result()


class ComparisonGatherer:
    """What :func:`comparable` is made of; takes in one utterance after the other."""

    def __init__(self) -> None:
        middles = tuple(((np.arange(_NUM_BINS) + 0.5) / _NUM_BINS).tolist())
        self._gatherers: dict[str, Gatherer[EmotionTotals]] = {
            "time": Gatherer("frame_attribution", lambda row: middles, _time_shares, EmotionTotals),
            "band": Gatherer(
                "time_frequency_attribution", lambda row: tuple(row["frequencies_hz"]), _band_shares, EmotionTotals
            ),
            "cue": Gatherer("cue_names", lambda row: tuple(row["cue_names"]), _cue_differences, EmotionTotals),
        }

    def add(self, rows: Iterable[Row]) -> None:
        """Take in the rows of an utterance."""
        if spoken := [row for row in rows if row.get("speaker")]:
            for gatherer in self._gatherers.values():
                gatherer.add(spoken)

    def result(self) -> dict[str, Comparable]:
        """What can be compared, by quantity."""
        found = {quantity: gatherer.result() for quantity, gatherer in self._gatherers.items()}
        return {quantity: gathered for quantity, gathered in found.items() if gathered is not None}


def compare(quantity: str, gathered: Comparable, emotion: str, other: str | None = None) -> Comparison | None:
    """Compare an emotion with another one, by a permutation test over speakers.

    Args:
        quantity: What is compared.
        gathered: One of :func:`comparable`.
        emotion: Its name.
        other: The name of the other one; None takes the utterances of all others together.

    Returns:
        The comparison; None where there are too few speakers (:func:`speechshap.evaluation.compare_groups`).
    """
    of = gathered.statistic.of
    others = [name for name in of if name != emotion and other in (None, name)]
    if emotion not in of or not others:
        return None
    groups = _together([of[emotion]]), _together([of[name] for name in others])
    found = compare_speakers(*groups)
    if found is None:
        return None
    of_emotion, of_others = gathered.explained[emotion], None if other is None else gathered.explained[other]
    return Comparison(quantity, of_emotion, of_others, gathered.positions, _utterances(*groups, found.paired), found)


def _together(totals: Iterable[Totals]) -> SpeakerTotals:
    """Of several emotions, by speaker."""
    whole = Totals()
    for own in totals:
        whole.merge(own)
    return SpeakerTotals(whole.names, whole.sums, whole.counts)


def _utterances(one: SpeakerTotals, other: SpeakerTotals, paired: bool) -> tuple[int, int]:
    """Utterances of the speakers who are compared: who are in both groups, or in one of them."""
    both = set(one.names) & set(other.names)
    first, second = (
        sum(
            int(counts.max())
            for name, counts in zip(group.names, group.counts, strict=True)
            if (name in both) == paired
        )
        for group in (one, other)
    )
    return first, second


def compare_all(gathered: Mapping[str, Comparable]) -> list[Comparison]:
    """Compare each emotion with all others together, and each two with each other, wherever there are speakers enough.

    Args:
        gathered: As of :func:`comparable`.
    """
    found: list[Comparison | None] = []
    for quantity, values in gathered.items():
        emotions = sorted(values.statistic.of)
        found += [compare(quantity, values, emotion) for emotion in emotions]
        found += [compare(quantity, values, *pair) for pair in combinations(emotions, 2)]
    return [each for each in found if each is not None]


def compare_pair(gathered: Mapping[str, Comparable], emotion: str, other: str) -> list[Comparison]:
    """Compare two emotions in all quantities.

    Args:
        gathered: As of :func:`comparable`.
        emotion: Name of one.
        other: Name of the other.

    Raises:
        UserError: They are the same, there is no such emotion, or it has too few speakers.
    """
    if not gathered:
        raise UserError(
            "`compare`: speakers are compared, and no explanation of a predicted class says whose speech it is; "
            "explain again with a corpus that knows its speakers (a manifest has the column speaker)"
        )
    if emotion == other:
        raise UserError(f"`compare` takes two different classes; got {emotion} twice")
    known = sorted({name for values in gathered.values() for name in values.statistic.of})
    for name in (emotion, other):
        if name not in known:
            raise UserError(f"`compare`: the prediction {name} is never explained; there are {', '.join(known)}")
    found = [compare(quantity, values, emotion, other) for quantity, values in gathered.items()]
    enough = [each for each in found if each is not None]
    if not enough:
        values = next(iter(gathered.values()))
        raise UserError(
            f"`compare`: {emotion} and {other} need two speakers who speak both, or two each who speak one of them; "
            f"{emotion} is spoken by {_speakers(values, emotion)}, {other} by {_speakers(values, other)}"
        )
    return enough


def comparison_table(comparisons: Iterable[Comparison]) -> pa.Table:
    """All comparisons as one tidy table, one row for each position (columns: :data:`COMPARISON_SCHEMA`)."""
    rows = [
        {
            "quantity": each.quantity,
            "class": each.emotion,
            "other": each.other,
            "position": position if isinstance(position, str) else f"{position:g}",
            **{name: _or_none(getattr(each.found, name)[index]) for name in ("difference", "standard_error", "p")},
            "speakers": each.found.speakers,
            "paired": each.found.paired,
            "utterances": each.utterances[0],
            "other_utterances": each.utterances[1],
        }
        for each in comparisons
        for index, position in enumerate(each.positions.tolist())
    ]
    return pa.Table.from_pylist(rows, COMPARISON_SCHEMA)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _time_shares(row: Mapping[str, Any]) -> np.ndarray | None:
    frames = finite(row["frame_attribution"])
    return None if frames is None else _shares(spread(frames, _NUM_BINS))


def _band_shares(row: Mapping[str, Any]) -> np.ndarray | None:
    cells = finite(row["time_frequency_attribution"])
    return None if cells is None else _shares(cells.sum(-1))


def _shares(values: np.ndarray) -> np.ndarray | None:
    return values / np.abs(values).sum() if values.any() else None


def _cue_differences(row: Mapping[str, Any]) -> np.ndarray | None:
    """NaN for cues that are not defined, such as the pitch of voiceless frames."""
    evidence, rest = (np.array(row[name], dtype=np.float64) for name in ("cue_evidence", "cue_rest"))
    return evidence - rest


def _speakers(gathered: Comparable, emotion: str) -> str:
    totals = gathered.statistic.of.get(emotion)
    return name_some(sorted(totals.names) if totals else [])
