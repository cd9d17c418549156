"""The map between samples, frames of the backbone, and seconds."""

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
"""Sampling rate of the input of every model (Hz)."""


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Where the frames of a convolutional stem lie on the waveform.

    Attributes:
        hop: Samples from one frame to the next (320 for WavLM, 20 ms).
        receptive_field: Samples that one frame sees (400 for WavLM, 25 ms).
        padding_before: Samples that the model itself adds before the waveform.
        padding_after: Samples that it adds after the waveform.

    Example:
        >>> grid = FrameGrid()
        >>> grid.num_frames(16000), grid.hop_seconds
        (49, 0.02)
        >>> padded = FrameGrid(hop=320, receptive_field=1039, padding_before=519, padding_after=360)
        >>> padded.num_frames(16000), padded.first_center, padded.shortest
        (50, 0.0, 160)
    """

    hop: int = 320
    receptive_field: int = 400
    padding_before: int = 0
    padding_after: int = 0

    @classmethod
    def from_convolutions(cls, kernels: tuple[int, ...], strides: tuple[int, ...]) -> "FrameGrid":
        """Grid of a stack of convolutions without padding.

        Example:
            >>> FrameGrid.from_convolutions((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
            FrameGrid(hop=320, receptive_field=400, padding_before=0, padding_after=0)
        """
        hop, receptive_field = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            receptive_field += (kernel - 1) * hop
            hop *= stride
        return cls(hop, receptive_field)

    @property
    def hop_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / SAMPLE_RATE

    @property
    def shortest(self) -> int:
        """Samples of the shortest utterance that has a frame."""
        return max(1, self.receptive_field - self.padding_before - self.padding_after)

    @property
    def first_center(self) -> float:
        """Centre of the first frame's receptive field in samples from the start of the utterance."""
        return (self.receptive_field - 1) / 2 - self.padding_before

    @property
    def first_edge(self) -> int:
        """First sample that is nearer to the second frame's centre than to the first's, or as near."""
        return (self.hop + self.receptive_field) // 2 - self.padding_before  # half a hop after the first centre

    def num_frames(self, num_samples: int) -> int:
        """Frames of an utterance of ``num_samples`` samples."""
        padded = num_samples + self.padding_before + self.padding_after
        return max(0, (padded - self.receptive_field) // self.hop + 1)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of utterances of ``lengths`` samples, ``shortest`` at least: both ``(batch,)``.

        Example:
            >>> FrameGrid().frame_lengths(torch.tensor([16000, 400]))
            tensor([49,  1])
        """
        return (lengths - self.shortest) // self.hop + 1

    def center_seconds(self, num_samples: int) -> Tensor:
        """Centres of the receptive fields of an utterance's frames, in seconds from its start, ``(frames,)``.

        Example:
            >>> FrameGrid().center_seconds(1200)
            tensor([0.0125, 0.0325, 0.0525])
        """
        centers = self.hop * torch.arange(self.num_frames(num_samples)) + self.first_center
        return centers / SAMPLE_RATE

    def edges(self, num_samples: int) -> Tensor:
        """Bounds in samples of the stretches that the frames own, ``(frames + 1,)``.

        Frame ``k`` owns the samples ``edges[k] <= t < edges[k + 1]``: those whose nearest frame centre is its own.
        The stretches cover the utterance without overlap and without remainder; a frame that is centred far outside of
        it owns nothing.

        Example:
            >>> FrameGrid().edges(1200)
            tensor([   0,  360,  680, 1200])
        """
        right = self.first_edge + self.hop * torch.arange(max(0, self.num_frames(num_samples) - 1))
        return torch.cat([torch.tensor([0]), right.clamp(0, num_samples), torch.tensor([num_samples])])

    def owner(self, num_samples: int) -> Tensor:
        """Frame that owns each sample, ``(num_samples,)`` int64; all 0 where the utterance has one frame or none."""
        boundaries = self.edges(num_samples)[1:-1]
        return torch.bucketize(torch.arange(num_samples), boundaries, right=True)


STRETCHES = FrameGrid(hop=320, receptive_field=320)
"""Plain stretches of 20 ms, for models that have no frames of their own."""
