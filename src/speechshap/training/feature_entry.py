"""Features of a recording in the form in which they are stored."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class FeatureEntry(NamedTuple):
    """Features ``(states, frames, size)``: exact, or frames as their mean and, in half precision, the rest.

    Some features are hundreds of times larger than they vary, so that half precision alone would lose what they say.

    Attributes:
        features: The features, or what each frame differs from their mean, ``(states, frames, size)``.
        mean: Over time, ``(states, 1, size)``; None where features are exact.

    Example:
        >>> entry = FeatureEntry.of(torch.tensor([[[400.1], [400.3]]]), are_frames=True)
        >>> entry.features.dtype, entry.restored().flatten()
        (torch.float16, tensor([400.1000, 400.3000]))
    """

    features: Tensor
    mean: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, are_frames: bool) -> "FeatureEntry":
        """What is stored of features.

        Args:
            features: ``(states, frames, size)``.
            are_frames: Whether they are frames, and not statistics. Where a frame differs from the mean by more than
                half precision holds, the entry is exact, too.
        """
        exact = features.to(torch.promote_types(features.dtype, torch.float32)).contiguous()
        if are_frames:
            mean = exact.mean(1, keepdim=True)
            deviation = (exact - mean).half()
            if bool(deviation.isfinite().all()):
                return cls(deviation, mean)
        return cls(exact)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "FeatureEntry":
        """What :attr:`tensors` gave."""
        return cls(**tensors)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {name: tensor for name, tensor in self._asdict().items() if tensor is not None}

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what is restored: single, or double where it was given."""
        return (self.features if self.mean is None else self.mean).dtype

    @property
    def nbytes(self) -> int:
        """Size of the numbers."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def clone(self) -> "FeatureEntry":
        """A copy, such as one in memory of what is mapped from a file."""
        return FeatureEntry.from_tensors({name: tensor.clone() for name, tensor in self.tensors.items()})

    def write_to(self, target: Tensor) -> None:
        """Write the features into a tensor of their shape, in one pass over what may be a file."""
        target.copy_(self.features)
        if self.mean is not None:
            target += self.mean

    def restored(self) -> Tensor:
        """The features ``(states, frames, size)``."""
        target = torch.empty(self.features.shape, dtype=self.dtype)
        self.write_to(target)
        return target
