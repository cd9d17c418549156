"""Recordings that are opened when they are trained on, and not before: those that cannot be used are left out then."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.data.batching import EpochLoader
from speechshap.data.catalogue import Catalogue
from speechshap.data.dataset import Batch, UtteranceDataset, collate
from speechshap.data.utterance import Skipped, Utterance

_SAME_DURATION = 0.1
"""Share of the duration in a manifest by which a recording may be longer or shorter, or seconds, whichever is more."""

_MOST_TRIED = 100
"""Bad files without a good one after which it is no use to try others."""


class Decoded(NamedTuple):
    """What was decoded of a batch.

    Attributes:
        batch: Of the recordings that can be used; None where none can.
        skipped: The others.
    """

    batch: Batch | None
    skipped: list[Skipped]


class UncheckedDataset(UtteranceDataset):
    """Batches of utterances whose files nobody has opened, for a :class:`SkippingLoader`; arguments as of the base."""

    def __getitem__(self, indices: Sequence[int] | int) -> Decoded:  # type: ignore[override]
        examples, skipped = [], []
        for index in [indices] if isinstance(indices, int) else indices:
            try:
                examples.append(self.example(index))
            except AudioFileError as error:
                skipped.append(Skipped(error.path, error.reason))
        return Decoded(collate(examples) if examples else None, skipped)

    def waveform(self, utterance: Utterance) -> Tensor:
        """Decode an utterance, ``(time,)``.

        Raises:
            AudioFileError: It cannot be used, or has another duration than in the manifest.
        """
        samples = load_audio(utterance.path, self.sample_rate)
        seconds, listed = len(samples) / self.sample_rate, utterance.duration
        if listed is not None and abs(seconds - listed) > _SAME_DURATION * max(1.0, listed):
            reason = f"lasts {seconds:.4g} s, while the manifest says {listed:.4g} s; correct its duration, or the file"
            raise AudioFileError(utterance.path, reason)
        return torch.from_numpy(samples)


class SkippingLoader(EpochLoader):
    """Batches of an :class:`UncheckedDataset`, without what cannot be used.

    Lightning asks once how many batches an epoch has, and several processes take as many steps. So a batch of which
    nothing can be used is replaced by the one before it, which does not count once more in an evaluation.

    Args:
        dataset: The utterances.
        catalogue: That is told what was left out.
        options: As of a DataLoader.

    Raises:
        AudioFileError: While batches are read, if nothing can be used of the first hundred files, or of all.
    """

    def __init__(self, dataset: UncheckedDataset, catalogue: Catalogue, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.catalogue = catalogue
        self._replaced: set[int] = set()

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches of an epoch."""
        number, count = -1, len(self)
        tried: list[Skipped] = []
        previous: Batch | None = None
        self._replaced = set()
        try:
            for number, (batch, skipped) in enumerate(super().__iter__()):
                if skipped:
                    self.catalogue.leave_out(skipped)
                    tried += skipped if previous is None else []
                is_last = number == count - 1
                is_hopeless = batch is None and previous is None and (len(tried) >= _MOST_TRIED or is_last)
                if is_hopeless or is_last:  # what comes after the last batch is not asked for
                    self.catalogue.tell_left_out(none_of=tried if is_hopeless else ())
                if batch is None:
                    self._replaced.add(number)
                elif previous is None:
                    yield from [batch] * number  # in place of those before it, which had none to be replaced by
                previous = batch or previous
                if previous is not None:
                    yield previous
        finally:
            if number < count - 1:
                self.catalogue.tell_left_out()

    def is_repeated(self, number: int) -> bool:
        """Whether a batch of the epoch takes the place of another."""
        return number in self._replaced or super().is_repeated(number)
