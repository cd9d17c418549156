"""Batches of utterances of like length."""

import math
import random
from collections.abc import Iterator, Sequence

from torch import distributed
from torch.utils.data import DistributedSampler

_BUCKET_RATIO = 1.1
"""Utterances whose lengths differ by less than this are shuffled with each other."""

_BATCH_RATIO = 1.5
"""Longest to shortest utterance of a batch, at most: beside a lone long one, short ones would be mostly padding."""


class LengthBatchSampler(DistributedSampler[list[int]]):
    """Indices of utterances, batch by batch, for a DataLoader with ``batch_size=None``.

    Utterances of like length come together, so that little of a batch is padding. Several processes take the batches in
    turn, and those of one step are of like length; the largest are halved until each process has equally many.

    Being a DistributedSampler it is left alone by Lightning, which cannot make other batch samplers fit for several
    processes, and told each epoch.

    Args:
        lengths: Of the utterances, in seconds.
        batch_size: Utterances that a batch has at most.
        batch_seconds: Longest utterance of a batch times their number, at most; one that is longer is alone. None for
            no limit.
        shuffle: Draw anew in each epoch what comes together, and in which order the batches come. Without it the
            longest come first: what does not fit into memory is known at once.
        seed: Of the shuffling.
        repeat: Whether single utterances come twice where halving does not make the processes' shares equal. Where that
            would be wrong (each utterance is to be explained once) they may differ by one batch.

    Example:
        >>> sampler = LengthBatchSampler([1.0, 4.0, 1.0, 4.1, 9.0], batch_size=2, batch_seconds=10)
        >>> list(sampler)
        [[4], [3, 1], [0, 2]]
    """

    def __init__(
        self,
        lengths: Sequence[float],
        batch_size: int,
        batch_seconds: float | None = None,
        shuffle: bool = False,
        seed: int = 0,
        repeat: bool = False,
    ) -> None:
        # Not that of the base class, which wants the processes to be there already.
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.batch_seconds = math.inf if batch_seconds is None else batch_seconds
        self.shuffle = shuffle
        self.seed = seed
        self.repeat = repeat
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of this process, as indices of utterances."""
        return iter(self._share())

    def __len__(self) -> int:
        """Batches of this process."""
        return len(self._share())

    def _share(self) -> list[list[int]]:
        count, rank = 1, 0
        if distributed.is_available() and distributed.is_initialized():
            count, rank = distributed.get_world_size(), distributed.get_rank()
        batches = self.batches(count)
        if self.repeat and batches:
            batches += [batches[number % len(batches)] for number in range(-len(batches) % count)]
        return batches[rank::count]

    def batches(self, count: int = 1) -> list[list[int]]:
        """All batches of the epoch, so many of them for each of ``count`` processes as can be had."""
        generator = random.Random(f"{self.seed} {self.epoch}")  # noqa: S311 - not for secrets
        order = list(range(len(self.lengths)))
        lengths = self.lengths
        if self.shuffle:
            generator.shuffle(order)
            # All lengths of a bucket count as its longest, so that every epoch has equally many batches: Lightning
            # asks once how many there are.
            lengths = [_BUCKET_RATIO ** math.ceil(math.log(max(length, 1e-3), _BUCKET_RATIO)) for length in lengths]
        order.sort(key=lambda index: -lengths[index])
        batches = self._cut(order, lengths)
        while len(batches) % count and len(batches) < len(order):
            largest = max(range(len(batches)), key=lambda number: len(batches[number]))
            half = math.ceil(len(batches[largest]) / 2)
            batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
        if self.shuffle:
            steps = [batches[start : start + count] for start in range(0, len(batches), count)]
            # A last step that is short stays last, or the processes would take turns differently behind it.
            short = [steps.pop()] if len(batches) % count else []
            generator.shuffle(steps)
            batches = [batch for step in [*steps, *short] for batch in step]
        return batches

    def _cut(self, order: list[int], lengths: Sequence[float]) -> list[list[int]]:
        """Cut indices, the longest utterance first, into batches."""
        batches: list[list[int]] = []
        for index in order:
            last = batches[-1] if batches else []
            longest = lengths[last[0]] if last else 0.0
            fits = len(last) < self.batch_size and longest * (len(last) + 1) <= self.batch_seconds
            if last and fits and longest <= _BATCH_RATIO * lengths[index]:
                last.append(index)
            else:
                batches.append([index])
        return batches
