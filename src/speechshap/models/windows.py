"""Long recordings, window by window."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from speechshap.frames import FrameGrid


class Window(NamedTuple):
    """A stretch of a recording that goes through the model by itself.

    Attributes:
        start: First sample.
        stop: One past the last sample.
        first: First of its frames that is kept.
        last: One past the last frame that is kept.
    """

    start: int
    stop: int
    first: int
    last: int


OVERLAP = 0.1
"""Share of a window that the next one covers too."""


def split_into_windows(num_samples: int, window: int, grid: FrameGrid) -> list[Window]:
    """Cover a recording with overlapping windows whose kept frames are all of its frames, each once.

    Where two windows overlap each keeps the frames of its own half, so that no frame that is kept lies at an edge which
    is not the recording's. The windows are of about the same length: there is no short one at the end.

    Args:
        num_samples: Length of the recording.
        window: Longest window in samples; the last one may be up to a hop longer. A recording that is no longer is a
            single window.
        grid: Where the frames lie.

    Example:
        >>> grid = FrameGrid(hop=2, receptive_field=2)
        >>> [tuple(window) for window in split_into_windows(40, 20, grid)]
        [(0, 16, 0, 7), (12, 28, 1, 7), (24, 40, 1, 8)]
    """
    frames, longest = grid.num_frames(num_samples), grid.num_frames(window)
    if num_samples <= window:
        return [Window(0, num_samples, 0, frames)]
    margin = max(1, round(OVERLAP * longest / 2))  # frames at an inner edge that are not kept
    count = math.ceil((frames - 2 * margin) / (longest - 2 * margin))
    # Inner borders between the frames that are kept, evenly spread.
    borders = [round(number * (frames - 2 * margin) / count) + margin for number in range(1, count)]
    windows = []
    for left, right in zip([0, *borders], [*borders, frames], strict=True):
        first, last = max(0, left - margin), min(frames, right + margin)
        # The last window takes in the samples after the last whole frame, too.
        stop = num_samples if last == frames else (last - 1) * grid.hop + grid.shortest
        windows.append(Window(first * grid.hop, stop, left - first, right - first))
    return windows


def split_waveform(waveform: Tensor, windows: Sequence[Window]) -> list[list[Tensor]]:
    """Cut a waveform ``(time,)`` at the borders of all windows; returns the pieces of each window, in their order.

    A slice for each window would be simpler, but each slice has a gradient as long as the whole waveform.

    Example:
        >>> import torch
        >>> windows = [Window(0, 5, 0, 2), Window(3, 8, 1, 3)]
        >>> [[piece.tolist() for piece in pieces] for pieces in split_waveform(torch.arange(8), windows)]
        [[[0, 1, 2], [3, 4]], [[3, 4], [5, 6, 7]]]
    """
    borders = sorted({border for window in windows for border in (window.start, window.stop)})
    pieces = waveform.split([right - left for left, right in pairwise(borders)])
    return [list(pieces[borders.index(window.start) : borders.index(window.stop)]) for window in windows]
