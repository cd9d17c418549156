"""A random draw of things that come one after the other, of any number."""

import heapq
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass
class Draw(Generic[T]):
    """Things with the smallest hashes of their names, which stay the same in whatever order, and when others come.

    Attributes:
        most: How many are kept.

    Example:
        >>> draw = Draw(2)
        >>> for place, name in enumerate(("a.wav", "b.wav", "a.wav", "c.wav")):
        ...     draw.add(name, place)
        >>> len(draw), draw.smallest(1)
        (2, [('c.wav', 3)])
    """

    most: int
    _heap: list[tuple[int, str]] = field(default_factory=list)
    _things: dict[str, T] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, name: str, thing: T) -> None:
        """Take in a thing, unless one of this name is there."""
        if name in self._things:
            return
        self._keep((-int.from_bytes(blake2b(_bytes(name), digest_size=8).digest()), name), thing)

    def merge(self, other: Self) -> None:
        """Take in what another one has taken in, of other names."""
        for entry in other._heap:
            self._keep(entry, other._things[entry[1]])

    def smallest(self, count: int) -> list[tuple[str, T]]:
        """So many of them with their names."""
        return [(name, self._things[name]) for _, name in heapq.nlargest(count, self._heap)]

    def _keep(self, entry: tuple[int, str], thing: T) -> None:
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            del self._things[heapq.heapreplace(self._heap, entry)[1]]
        else:
            return
        self._things[entry[1]] = thing


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
