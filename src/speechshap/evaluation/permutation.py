"""Where do two groups of utterances differ? A permutation test whose unit is the speaker."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from math import comb
from typing import NamedTuple

import numpy as np

from speechshap.attribution.intervals import interval_reach

LEVEL = 0.05
"""Largest p that counts as significant."""

_MOST_PERMUTATIONS = 10_000
"""All of them are taken where there are no more than this."""

_TIES = 1e-9
"""Statistics that differ by less are the same: sums in another order are rounded otherwise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How two groups of utterances differ at each position.

    Attributes:
        difference: Mean of the first group over its speakers minus that of the second, ``(positions,)``.
        standard_error: Of the difference, from the spread between speakers, ``(positions,)``.
        p: Probability that a difference as clear as this one arises at any position where there is none at all,
            ``(positions,)``.
        speakers: Number of speakers.
        paired: Whether each speaker is in both groups, and compared with itself.
        smallest_p: What p can be at least with these speakers.
    """

    difference: np.ndarray
    standard_error: np.ndarray
    p: np.ndarray
    speakers: int
    paired: bool
    smallest_p: float

    @property
    def significant(self) -> np.ndarray:
        """Positions that differ, ``(positions,)`` bool."""
        return self.p <= LEVEL

    @property
    def can_be_significant(self) -> bool:
        """Whether any difference can be, with these speakers."""
        return self.smallest_p <= LEVEL

    @property
    def half_interval(self) -> np.ndarray:
        """Half the 95 % interval of each position for itself, from Student's t, ``(positions,)``."""
        return interval_reach(self.speakers - (1 if self.paired else 2)) * self.standard_error


def compare_groups(
    first: np.ndarray, second: np.ndarray, first_speakers: Sequence[str], second_speakers: Sequence[str], seed: int = 0
) -> Difference | None:
    r"""Test at which positions two groups of utterances differ.

    Utterances of one speaker are alike, so that their mean counts as one observation. Of speakers who are in both
    groups, the differences of the two means are tested: were there none, each could as well have the other sign. Of
    speakers who are in one group, the means are tested: were there no difference, each could as well belong to the
    other group. The design with more speakers is taken (the paired one, if they are as many), and other speakers are
    left out.

    The statistic is Student's :math:`t`, that of the differences or that of two groups with their pooled variance. The
    share of permutations in which its largest absolute value over *all* positions reaches the observed one is p, so
    that the probability of any false alarm among the positions stays at the level (Nichols & Holmes 2002, Hum. Brain
    Mapp. 15:1-25; with clusters instead of the maximum, Maris & Oostenveld 2007, J. Neurosci. Methods 164:177-190). All
    permutations are taken; of more than 10,000, the observed one and 10,000 random ones (Phipson & Smyth 2010, Stat.
    Appl. Genet. Mol. Biol. 9:39). With :math:`n` speakers in both groups p is :math:`2/2^n` at least, so that fewer
    than 6 cannot differ significantly.

    Args:
        first: Values of each utterance, ``(utterances, positions)``. NaN is left out of a speaker's mean. A position
            where a group has nothing else is NaN in the result; speakers without one of the others are left out.
        second: Likewise, with the same positions.
        first_speakers: Speaker of each utterance.
        second_speakers: Likewise.
        seed: Of the random permutations.

    Returns:
        The differences; None unless two speakers are in both groups, or two in each who are not in the other.

    Example:
        >>> first = np.array([[3.0, 1.0], [4.0, 2.0], [5.0, 2.0]])
        >>> second = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 2.0]])
        >>> found = compare_groups(first, second, ["Anna", "Bert", "Cleo"], ["Anna", "Bert", "Cleo"])
        >>> found.difference, found.p, found.smallest_p
        (array([3., 0.]), array([0.25, 1.  ]), 0.25)
    """
    return compare_speakers(_totals(first, first_speakers), _totals(second, second_speakers), seed)


class SpeakerTotals(NamedTuple):
    """Values of a group of utterances, summed up by speaker.

    Attributes:
        names: Of the speakers, each once.
        sums: Sums of the values that are finite, ``(speakers, positions)``.
        counts: How many these are, ``(speakers, positions)``.
    """

    names: Sequence[str]
    sums: np.ndarray
    counts: np.ndarray


def compare_speakers(first: SpeakerTotals, second: SpeakerTotals, seed: int = 0) -> Difference | None:
    """Test at which positions two groups differ, as :func:`compare_groups` does, of any number of utterances.

    Args:
        first: Of one group.
        second: Of the other one, with the same positions.
        seed: Of the random permutations.

    Returns:
        The differences; None as of :func:`compare_groups`.

    Example:
        >>> first = SpeakerTotals(["Anna", "Bert"], np.array([[6.0], [4.0]]), np.array([[2], [1]]))
        >>> second = SpeakerTotals(["Anna", "Bert"], np.array([[1.0], [1.0]]), np.array([[1], [1]]))
        >>> compare_speakers(first, second).difference
        array([2.5])
    """
    known = (first.counts.sum(0) > 0) & (second.counts.sum(0) > 0)
    one, other = _means(first, known), _means(second, known)
    both, one_only, other_only = one.keys() & other.keys(), one.keys() - other.keys(), other.keys() - one.keys()
    unpaired = len(one_only) + len(other_only) if min(len(one_only), len(other_only)) >= 2 else 0
    if not known.any() or (len(both) < 2 and not unpaired):
        return None
    if len(both) >= max(2, unpaired):
        differences = np.stack([one[name] - other[name] for name in sorted(both)])
        return _tested(_sign_flips(len(both), seed) / len(both), differences, known, paired=True)
    means = np.stack([one[name] for name in sorted(one_only)] + [other[name] for name in sorted(other_only)])
    weights = np.where(_exchanges(len(one_only), len(means), seed), 1 / len(one_only), -1 / len(other_only))
    return _tested(weights, means - means.mean(0), known, paired=False)


def _totals(values: np.ndarray, speakers: Sequence[str]) -> SpeakerTotals:
    names, places = np.unique(np.array(speakers, dtype=object), return_inverse=True)
    known = np.isfinite(values)
    totals = SpeakerTotals(
        names.tolist(), np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]), np.int64)
    )
    np.add.at(totals.sums, places, np.where(known, values, 0))
    np.add.at(totals.counts, places, known)
    return totals


def _means(totals: SpeakerTotals, known: np.ndarray) -> dict[str, np.ndarray]:
    """Mean over the utterances of each speaker, ``(known positions,)``, of those who have one at each of these."""
    sums, counts = totals.sums[:, known], totals.counts[:, known]
    return {name: total / count for name, total, count in zip(totals.names, sums, counts, strict=True) if count.all()}


def _sign_flips(count: int, seed: int) -> np.ndarray:
    """Signs ``(permutations, count)``, the first row without a flip."""
    if 2 ** (count - 1) <= _MOST_PERMUTATIONS:
        # All signs the other way round give the same size, so that the first one is never flipped.
        return np.array(list(product([1], *[[1, -1]] * (count - 1))))
    random = np.random.default_rng(seed).choice([1, -1], (_MOST_PERMUTATIONS, count))
    return np.concatenate([np.ones((1, count), dtype=int), random])


def _exchanges(size: int, count: int, seed: int) -> np.ndarray:
    """Which of ``count`` speakers are in a group of this size, ``(permutations, count)`` bool; at first the first."""
    # Two groups of one size that change places give the same size, so that the first one is always in the same group.
    number = comb(count - 1, size - 1) if 2 * size == count else comb(count, size)
    if number <= _MOST_PERMUTATIONS:
        chosen = np.array(list(islice(combinations(range(count), size), number)))
    else:
        order = np.tile(np.arange(count), (_MOST_PERMUTATIONS, 1))
        np.random.default_rng(seed).permuted(order, axis=1, out=order)
        chosen = np.concatenate([np.arange(size)[None], order[:, :size]])
    groups = np.zeros((len(chosen), count), dtype=bool)
    np.put_along_axis(groups, chosen, True, axis=1)
    return groups


def _tested(weights: np.ndarray, values: np.ndarray, known: np.ndarray, *, paired: bool) -> Difference:
    """Test the sum of ``values`` over speakers, weighted by the first row of ``weights``.

    The cosine between weights and values, from 0 to 1, grows with the absolute t, and needs no spread that is not 0.

    Args:
        weights: Of each permutation, ``(permutations, speakers)``; all rows have the same norm.
        values: Differences within speakers, or centred means, ``(speakers, known positions)``.
        known: Which positions these are, ``(positions,)`` bool.
        paired: Which of these they are.
    """
    difference = weights[0] @ values
    norm = np.linalg.norm(weights[0]) * np.linalg.norm(values, axis=0)
    cosine = np.abs(weights @ values) / np.where(norm > 0, norm, 1)
    largest = cosine.max(1)  # of each permutation
    p = (largest[:, None] >= cosine[0] * (1 - _TIES)).mean(0)
    freedom = len(values) - (1 if paired else 2)
    spread = np.maximum(norm**2 - difference**2, 0)
    filled = np.full((3, len(known)), np.nan)
    filled[:, known] = difference, np.sqrt(spread / freedom), p
    return Difference(filled[0], filled[1], filled[2], len(values), paired, smallest_p=1 / len(weights))
