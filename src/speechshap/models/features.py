"""What the head of a classifier hears of utterances, and long recordings, heard window by window."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from speechshap.models.backbone import Backbone
from speechshap.models.pooling import frame_mask
from speechshap.models.windows import Window, split_into_windows, split_waveform

Result = TypeVar("Result")


class Features(NamedTuple):
    """What the head hears of utterances, before anything that is trained beside a frozen backbone.

    Attributes:
        values: ``(states, batch, frames, size)``; zeros follow the frames of an utterance.
        frame_lengths: ``(batch,)`` int64 frames of each utterance.
    """

    values: Tensor
    frame_lengths: Tensor

    @property
    def without_padding(self) -> Tensor:
        """The frames of all utterances one after the other, ``(states, frames, size)``.

        Example:
            >>> values = torch.tensor([1.0, 2.0, 3.0, 0.0]).view(1, 2, 2, 1)
            >>> Features(values, torch.tensor([2, 1])).without_padding.flatten()
            tensor([1., 2., 3.])
        """
        return self.values[:, frame_mask(self.values.shape[2], self.frame_lengths)]


def map_windows(
    function: Callable[[Tensor], Result],
    backbone: Backbone,
    waveform: Tensor,
    window: int,
    states: Sequence[int] | None = None,
) -> list[Result]:
    """Apply a function to the hidden states of each window of a recording.

    Where gradients are asked for, a window is computed again in the backward pass, so that the memory is that of a
    single one and of the results.

    Args:
        function: Takes the frames that a window keeps, ``(states, 1, frames, hidden size)``.
        backbone: Speech transformer.
        waveform: Prepared recording ``(time,)``.
        window: Longest window in samples.
        states: Numbers of the hidden states; None for all.
    """

    def run(part: Window, *pieces: Tensor) -> Result:
        stretch = torch.cat(pieces)[None]
        length = torch.tensor([stretch.shape[1]], device=stretch.device)
        found, _ = backbone.encode(stretch, length, states)
        return function(torch.stack([state[:, part.first : part.last] for state in found]))

    windows = split_into_windows(len(waveform), window, backbone.grid)
    return [
        checkpoint(run, part, *pieces, use_reentrant=False, preserve_rng_state=backbone.training)
        if torch.is_grad_enabled()
        else run(part, *pieces)
        for part, pieces in zip(windows, split_waveform(waveform, windows), strict=True)
    ]
