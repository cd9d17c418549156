"""A part of the utterances to explain, so that many machines share a corpus without a word to each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from speechshap.data.utterance import Utterance
from speechshap.errors import UserError


class EmptyShardError(UserError):
    """A part has no utterance, because there are more parts than utterances."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a list of utterances.

    Utterances are shuffled by a hash of their ids and dealt out in turn. So each is in one part, whatever their order,
    and parts differ by one utterance at most. No file has to be heard for it; the sums of their lengths differ as those
    of random draws do: of parts of n utterances, by a share of about 1/√n of the spread of a single length.

    Attributes:
        number: Which of them, from 1 on.
        count: How many there are.

    Example:
        >>> from pathlib import Path
        >>> utterances = [Utterance(name, Path(name)) for name in ("a", "b", "c", "d", "e")]
        >>> [[utterance.id for utterance in Shard(number, 2).of(utterances)] for number in (1, 2)]
        [['c', 'd', 'e'], ['a', 'b']]
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``number/count``.

        Raises:
            UserError: It is none.

        Example:
            >>> print(Shard.parse("3/64"))
            3/64
        """
        found = re.fullmatch(r"(\d+)/(\d+)", str(text).strip())
        shard = None if found is None else cls(int(found[1]), int(found[2]))
        if shard is None or not 1 <= shard.number <= shard.count:
            raise UserError(
                f"`shard` is {text}; expected which part, counted from 1, and of how many: from 1/4 to 4/4, say"
            )
        return shard

    def of(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """The utterances of this part, in their order."""
        hashes = [blake2b(u.id.encode("utf-8", "surrogateescape"), digest_size=16).digest() for u in utterances]
        dealt = sorted(range(len(utterances)), key=lambda place: (hashes[place], place))
        return [utterances[place] for place in sorted(dealt[self.number - 1 :: self.count])]

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"


class Portion(NamedTuple):
    """A part, and of what.

    Attributes:
        shard: Which part.
        num_utterances: Those of all parts together, files that cannot be used included.
        utterances: Fingerprint of their ids.
    """

    shard: Shard
    num_utterances: int
    utterances: str

    def share_of(self, number: int) -> int:
        """How many this part has of so many things that all parts have together.

        Example:
            >>> [Portion(Shard(part, 3), 30, "").share_of(100) for part in (1, 2, 3)]
            [34, 33, 33]
        """
        return number // self.shard.count + (self.shard.number <= number % self.shard.count)
