"""Batches of what the head hears, for a backbone that does not run again."""

from typing import NamedTuple

from torch import Tensor

from speechshap.models import Features


class FeatureBatch(NamedTuple):
    """Features of utterances that are trained on, or tested, together.

    Attributes:
        features: Of the utterances.
        labels: ``(batch,)`` int64 class indices.
        ids: Utterance ids.
        paths: Sound files.
        speakers: Their speakers, empty where unknown.
    """

    features: Features
    labels: Tensor
    ids: list[str]
    paths: list[str]
    speakers: list[str]

    @property
    def padding_fraction(self) -> float:
        """Share of the frames that is padding.

        Example:
            >>> import torch
            >>> features = Features(torch.zeros(3, 2, 4, 8), torch.tensor([4, 2]))
            >>> FeatureBatch(features, torch.tensor([0, 1]), ["a", "b"], ["", ""], ["", ""]).padding_fraction
            0.25
        """
        _, batch, frames, _ = self.features.values.shape
        return 1 - int(self.features.frame_lengths.sum()) / (batch * frames)
