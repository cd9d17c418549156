"""Does an explanation point to where the evidence is known to be?

``scores`` are attributions of frames, or of bands and frames in any order, ``(batch, units)``; ``truth`` marks those of
the planted evidence and ``valid`` those that are judged (an utterance without its padding, or its speech alone), both
``(batch, units)`` bool. Every measure returns one number for each utterance, ``(batch,)``, and NaN where the evidence
is nowhere or everywhere: then there is nothing to point at.

The truth is that of whoever planted it. Whether a model relies on it is another question, which
:func:`speechshap.evaluation.reliance.reliance` answers: a model that found a short cut has an honest explanation that
scores badly here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from speechshap.data import Stretch
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.spaces import Bands


def frames_inside(stretches: Sequence[Stretch], grid: FrameGrid, num_samples: int) -> Tensor:
    """Frames of an utterance most of whose samples lie in one of the stretches, ``(frames,)`` bool.

    Raises:
        ValueError: A stretch ends after the utterance.

    Example:
        >>> frames_inside([Stretch(0.25, 0.5)], FrameGrid(hop=2000, receptive_field=2000), 16000)
        tensor([False, False,  True,  True, False, False, False, False])
    """
    seconds = num_samples / SAMPLE_RATE
    inside = torch.zeros(num_samples)
    for stretch in stretches:
        if stretch.end > seconds:
            raise ValueError(f"a stretch ends at {stretch.end:g} s, and the utterance at {seconds:g} s")
        inside[round(stretch.start * SAMPLE_RATE) : round(stretch.end * SAMPLE_RATE)] = 1
    owner = grid.owner(num_samples)
    count = max(1, grid.num_frames(num_samples))
    samples = torch.bincount(owner, minlength=count)
    return torch.bincount(owner, inside, minlength=count) * 2 > samples


def cells_inside(stretches: Sequence[Stretch], bands: Bands, num_samples: int) -> Tensor:
    """Bands and columns of a time-frequency attribution that lie in one of the stretches, ``(bands, columns)`` bool.

    A column lies in it with its centre, a band with its own. A stretch whose frequencies are not known marks nothing.

    Example:
        >>> from speechshap.attribution import SpectralGrid
        >>> bands = SpectralGrid(window=8, hop=4, sample_rate=16000).bands  # of 0, 2, 4, 6 and 8 kHz
        >>> cells_inside([Stretch(0.00025, 0.0005, 3000, 6500)], bands, 12).int()
        tensor([[0, 0, 0, 0],
                [0, 0, 0, 0],
                [0, 1, 0, 0],
                [0, 1, 0, 0],
                [0, 0, 0, 0]], dtype=torch.int32)
    """
    frequencies = bands.frequencies[:, None]
    seconds = torch.arange(bands.columns.num_frames(num_samples)) * bands.columns.hop_seconds
    inside = torch.zeros(len(frequencies), len(seconds), dtype=torch.bool)
    for stretch in stretches:
        if stretch.low_hz is not None and stretch.high_hz is not None:
            in_band = (frequencies >= stretch.low_hz) & (frequencies <= stretch.high_hz)
            inside |= in_band & (seconds >= stretch.start) & (seconds < stretch.end)
    return inside


def read_over(frames: Tensor, valid: Tensor, width: int) -> Tensor:
    """Mean over the ``width`` frames around each, those of the utterance alone: what is seen at a coarser resolution.

    Signed frames cancel before anything is made absolute, as they do in the attribution of a stretch.

    Args:
        frames: ``(batch, frames)``.
        valid: ``(batch, frames)`` bool, frames of the utterances.
        width: Frames; an even one reaches one frame further to the right.

    Example:
        >>> read_over(torch.tensor([[3.0, 0.0, 3.0, 9.0]]), torch.tensor([[True, True, True, False]]), 3)
        tensor([[1.5000, 2.0000, 1.5000, 0.0000]])
    """
    around = ((width - 1) // 2, width // 2)
    both = torch.stack([frames.masked_fill(~valid, 0), valid.to(frames)], 1).flatten(0, 1)[:, None]  # (2 batch, 1, F)
    total, count = conv1d(pad(both, around), frames.new_ones(1, 1, width)).view(len(frames), 2, -1).unbind(1)
    return (total / count.clamp_min(1)).masked_fill(~valid, 0)


def area_under_curve(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Area under the receiver operating characteristic: how often a unit of the evidence outranks one of the rest.

    The Mann-Whitney statistic of all pairs, where a tie counts half. From 0 to 1, higher is better; scores that know
    nothing of the evidence have the expectation 0.5. It sees ranks alone: neither how strong the evidence is, nor
    whether a few frames far off are the strongest of all (:func:`points_inside`).

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> area_under_curve(torch.tensor([[0.1, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth))
        tensor([0.8750])
    """
    inside, outside = _sides(truth, valid)
    others = scores.masked_fill(~outside, torch.inf).sort(1).values
    lower = torch.searchsorted(others, scores.contiguous())
    not_higher = torch.searchsorted(others, scores.contiguous(), right=True)
    wins = (lower + not_higher).to(scores) / 2
    return (wins * inside).sum(1) / (inside.sum(1) * outside.sum(1))  # 0 / 0 where there are no pairs


def points_inside(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Pointing game (Zhang et al. 2018): whether the highest score lies in the evidence, 1 or 0.

    Higher is better; by chance it is the share of the units that the evidence has. Of equal highest scores each counts
    alike. It looks at a single unit, and says nothing of all others.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> points_inside(torch.tensor([[0.1, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth))
        tensor([1.])
    """
    highest = valid & (scores == scores.masked_fill(~valid, -torch.inf).amax(1, keepdim=True))
    return _where_known(truth, valid, (highest & truth).sum(1) / highest.sum(1))


def mass_inside(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Share of the positive mass that lies in the evidence.

    From 0 to 1, higher is better; by chance it is the share of the units that the evidence has. Negative scores count
    as 0; NaN where none is positive. It grows with the length of the evidence, so that it does not compare between
    corpora.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> mass_inside(torch.tensor([[-2.0, 2.0, 1.0, 1.0]]), truth, torch.ones_like(truth))
        tensor([0.7500])
    """
    positive = scores.clamp_min(0) * valid
    return _where_known(truth, valid, (positive * truth).sum(1) / positive.sum(1))


def precision_at_length(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Share of the n highest scores that lie in the evidence, where the evidence has n units.

    From 0 to 1, higher is better; by chance it is the share of the units that the evidence has. At this number
    precision and recall are one. Where several equal scores compete for the last places, it is the mean over all ways
    to fill them.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> precision_at_length(torch.tensor([[0.3, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth))
        tensor([0.6667])
    """
    inside, _ = _sides(truth, valid)
    length = inside.sum(1, keepdim=True)
    own = scores.masked_fill(~valid, -torch.inf)
    last = own.sort(1, descending=True).values.gather(1, (length - 1).clamp_min(0))
    above, equal = own > last, valid & (own == last)
    places = length[:, 0] - above.sum(1)
    hits = (above & inside).sum(1) + places * (equal & inside).sum(1) / equal.sum(1)
    return _where_known(truth, valid, hits / length[:, 0])


def _sides(truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return truth & valid, ~truth & valid


def _where_known(truth: Tensor, valid: Tensor, values: Tensor) -> Tensor:
    inside, outside = _sides(truth, valid)
    return values.masked_fill(~(inside.any(1) & outside.any(1)), torch.nan)
