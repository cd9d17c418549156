"""Which utterances a page shows, of any number."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechshap.report.draw import Draw
from speechshap.report.selection import outcome
from speechshap.results.folder import ResultsFolder

MOST_SHOWN = 1_000
"""Utterances of a page unless more are asked for: some minutes to write, and some 200 MB with their sounds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Utterances to show.

    Attributes:
        places: Parts that hold the explanations of each, in the order in which they were explained.
        num_utterances: Of how many.
    """

    places: dict[str, list[Path]]
    num_utterances: int

    @classmethod
    def of(cls, results: ResultsFolder, most: int) -> "Choice":
        """All utterances, or a draw with as many of each class as possible, right and wrong ones.

        Args:
            results: Explanations of any number.
            most: How many are chosen at most.
        """
        draws: dict[tuple[str, str], Draw[int]] = defaultdict(lambda: Draw(most))
        found: set[int] = set()  # hashes take less room than names
        for number, (utterance, label, prediction) in enumerate(_rows(results)):
            found.add(hash(utterance))
            row = {"label": label, "prediction": prediction}
            draws[label or prediction or "", outcome(row)].add(utterance, number)
        sizes = [len(draw) for draw in draws.values()]
        # Predictions of several models may put an utterance into several draws.
        shares = sizes if len(found) <= most else _shares(sizes, most)
        chosen = [entry for draw, share in zip(draws.values(), shares, strict=True) for entry in draw.smallest(share)]
        names = dict.fromkeys(utterance for utterance, _ in sorted(chosen, key=lambda entry: entry[1]))
        places = results.places(names.keys())
        return cls({name: places[name] for name in names if name in places}, len(found))

    def __str__(self) -> str:
        """What is shown, and of how many; empty where it is all of them.

        Example:
            >>> print(Choice({"a.wav": [], "b.wav": []}, 1_000_000))
            2 of 1,000,000 utterances are shown: a random draw with as many of each class, right and wrong, as there are
        """
        if len(self.places) >= self.num_utterances:
            return ""
        return (
            f"{len(self.places):,} of {self.num_utterances:,} utterances are shown: a random draw with as many of each "
            "class, right and wrong, as there are"
        )


def _rows(results: ResultsFolder) -> Iterator[tuple[str, str | None, str | None]]:
    columns = ("utterance", "label", "prediction")
    for _, batch in results.batches(columns):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def _shares(sizes: list[int], most: int) -> list[int]:
    """How many are taken of groups of these sizes: equally many, and all of those that are smaller.

    Example:
        >>> _shares([1, 10, 10], 7), _shares([1, 2], 7)
        ([1, 3, 3], [1, 2])
    """
    shares, left = [0] * len(sizes), most
    order = sorted(range(len(sizes)), key=lambda group: sizes[group])
    for place, group in enumerate(order):
        shares[group] = min(sizes[group], left // (len(order) - place))
        left -= shares[group]
    return shares
