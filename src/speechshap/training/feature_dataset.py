"""Batches of features that are kept, for the loaders of training and evaluation."""

from collections.abc import Mapping, Sequence

import torch
from torch.utils.data import Dataset

from speechshap.data.dataset import UtteranceDataset
from speechshap.data.utterance import Utterance
from speechshap.models.features import Features
from speechshap.training.feature_batches import FeatureBatch
from speechshap.training.feature_cache import FeatureCache
from speechshap.training.feature_entry import FeatureEntry

MOST_HELD_BYTES = 5 * 10**8
"""Features of a run that are larger on disk are read from there, batch by batch."""


class StoredFeatures:
    """Features of the recordings of a run: held in memory where they are small, else mapped file by file.

    Args:
        cache: That has them.
        sizes: Bytes of each entry that the run needs, by the digest of its recording.
        digests: Of the recording of each utterance, by the utterance's id.
    """

    def __init__(self, cache: FeatureCache, sizes: Mapping[str, int], digests: Mapping[str, str]) -> None:
        self.cache = cache
        self.num_bytes = sum(sizes.values())
        self.digests = dict(digests)
        is_held = self.num_bytes <= MOST_HELD_BYTES
        self._held = {digest: cache.read(digest).clone() for digest in sizes} if is_held else {}

    def of(self, utterance: Utterance) -> FeatureEntry:
        """Features of an utterance."""
        digest = self.digests[utterance.id]
        held = self._held.get(digest)
        return self.cache.read(digest) if held is None else held


class FeatureDataset(Dataset[FeatureBatch]):
    """Batches of stored features, for a DataLoader whose sampler yields the indices of each batch.

    Args:
        source: The utterances and their classes.
        features: Of all of them.
    """

    def __init__(self, source: UtteranceDataset, features: StoredFeatures) -> None:
        self.source = source
        self.features = features

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: Sequence[int]) -> FeatureBatch:
        utterances = [self.source.utterances[index] for index in indices]
        return FeatureBatch(
            features=join_features([self.features.of(utterance) for utterance in utterances]),
            labels=torch.tensor([self.source.label(utterance) for utterance in utterances]),
            ids=[utterance.id for utterance in utterances],
            paths=[str(utterance.path) for utterance in utterances],
            speakers=[utterance.speaker or "" for utterance in utterances],
        )


def join_features(entries: Sequence[FeatureEntry]) -> Features:
    """Pad features of utterances with zeros to the longest of them.

    Returns:
        In single precision, or in double where they have it.

    Example:
        >>> join_features([FeatureEntry(torch.ones(1, 1, 2)), FeatureEntry(torch.ones(1, 2, 2))]).values
        tensor([[[[1., 1.],
                  [0., 0.]],
        <BLANKLINE>
                 [[1., 1.],
                  [1., 1.]]]])
    """
    frame_lengths = [entry.features.shape[1] for entry in entries]
    states, _, size = entries[0].features.shape
    values = torch.empty(states, len(entries), max(frame_lengths), size, dtype=entries[0].dtype)
    for row, (entry, length) in enumerate(zip(entries, frame_lengths, strict=True)):
        entry.write_to(values[:, row, :length])
        values[:, row, length:] = 0
    return Features(values, torch.tensor(frame_lengths))
