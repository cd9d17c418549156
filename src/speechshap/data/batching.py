"""Batches of utterances of similar length."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler

_BUCKET_RATIO = 1.1
"""Utterances whose lengths differ by less than this factor are shuffled with each other."""

_BATCH_RATIO = 1.5
"""Largest ratio of the longest to the shortest utterance of a batch; beyond it, short ones would be mostly padding."""


class LengthBatchSampler(DistributedSampler[list[int]]):
    """Indices of utterances, batch by batch, for a DataLoader with ``batch_size=None``.

    A batch holds utterances of similar length, so that little of it is padding. Several processes take the batches in
    turn, and those of one step have similar lengths; the largest are halved until each process has the same number.

    It is a DistributedSampler because Lightning leaves these as they are and calls their ``set_epoch``, while it cannot
    adapt other batch samplers to several processes.

    Args:
        lengths: Of the utterances, in seconds.
        batch_size: Largest number of utterances in a batch.
        batch_seconds: Largest length of a padded batch (longest utterance times number of utterances); a longer
            utterance makes a batch of its own. None for no limit.
        shuffle: Draw the batches and their order anew in each epoch. Without it the longest come first, so that a lack
            of memory shows at once.
        seed: Of the shuffling.
        repeat: Whether batches may be repeated to give each process the same number, as far as they share each step.
            Otherwise (when each utterance is to be explained exactly once) processes may differ by one batch.

    Attributes:
        num_own: Batches of this process without those that are repeated, which come last; known once it is iterated.

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
        # The initialiser of the base class needs the process group, which may not exist yet.
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.batch_seconds = math.inf if batch_seconds is None else batch_seconds
        self.shuffle = shuffle
        self.seed = seed
        self.repeat = repeat
        self.epoch = 0
        self.num_own = 0
        self._made: tuple[tuple[int, int, int], list[list[int]]] | None = None

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
        made_for = self.epoch, count, rank
        if self._made is None or self._made[0] != made_for:  # their number is asked for time and again
            batches = self.batches(count)
            self.num_own = len(batches[rank::count])
            if self.repeat and batches:
                batches += [batches[number % len(batches)] for number in range(-len(batches) % count)]
            self._made = made_for, batches[rank::count]
        return self._made[1]

    def batches(self, count: int = 1) -> list[list[int]]:
        """All batches of the epoch; their number is a multiple of ``count`` where that is possible."""
        generator = random.Random(f"{self.seed} {self.epoch}")  # noqa: S311 - not for secrets
        order = list(range(len(self.lengths)))
        lengths = self.lengths
        if self.shuffle:
            generator.shuffle(order)
            # Lengths are rounded up to those of their bucket, so that every epoch has the same number of batches:
            # Lightning asks for it once.
            lengths = [_BUCKET_RATIO ** math.ceil(math.log(max(length, 1e-3), _BUCKET_RATIO)) for length in lengths]
        order.sort(key=lambda index: -lengths[index])
        batches = self._cut(order, lengths)
        while len(batches) % count and len(batches) < len(order):
            largest = max(range(len(batches)), key=lambda number: len(batches[number]))
            half = math.ceil(len(batches[largest]) / 2)
            batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
        if self.shuffle:
            steps = [batches[start : start + count] for start in range(0, len(batches), count)]
            # An incomplete last step stays last; elsewhere it would shift the turns of the processes.
            short = [steps.pop()] if len(batches) % count else []
            generator.shuffle(steps)
            batches = [batch for step in [*steps, *short] for batch in step]
        return batches

    def _cut(self, order: list[int], lengths: Sequence[float]) -> list[list[int]]:
        """Cut indices, sorted from the longest utterance to the shortest, into batches."""
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


class EpochLoader(DataLoader[Any]):
    """DataLoader that draws the order of an epoch, and starts its workers, when the first batch is asked for.

    Lightning asks for the iterator of a resumed training before it tells the sampler which epoch it is. A dataset that
    has an ``epoch`` is told, too.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches of an epoch."""
        if hasattr(self.dataset, "epoch"):
            self.dataset.epoch = getattr(self.sampler, "epoch", 0)  # another sampler is that of overfit_batches
        yield from super().__iter__()

    def is_repeated(self, number: int) -> bool:
        """Whether a batch of the epoch is there only to give each process as many, so that others count it.

        Args:
            number: Of the batch in this process, from 0 on.
        """
        return isinstance(self.sampler, LengthBatchSampler) and number >= self.sampler.num_own
