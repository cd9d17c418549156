"""Does an explanation point to where the evidence is known to be?

Scores are attributions of frames, ``(batch, frames)``; ``truth`` marks the frames of the planted stretch and ``valid`` those
that are judged (an utterance without its padding, or its speech alone), both ``(batch, frames)`` bool. Every function
returns one number for each utterance, ``(batch,)``, NaN where ``truth`` has no valid frame, or no other: then nothing can
be pointed at.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad


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
    """Area under the receiver operating characteristic: how often a frame of the stretch outranks one of the rest.

    The Mann-Whitney statistic of all pairs, where a tie counts half. From 0 to 1, higher is better; scores that know
    nothing of the stretch have the expectation 0.5. It sees ranks alone: neither how strong the evidence is, nor whether
    a few frames far off are the strongest of all (:func:`points_inside`).

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> area_under_curve(torch.tensor([[0.1, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth))
        tensor([0.8750])
    """
    inside, outside = _sides(truth, valid)
    difference = scores[:, :, None] - scores[:, None, :]  # (batch, frames, frames)
    wins = (difference > 0).to(scores) + (difference == 0).to(scores) / 2
    pairs = (inside[:, :, None] & outside[:, None, :]).to(scores)
    return (wins * pairs).sum((1, 2)) / pairs.sum((1, 2))  # 0 / 0 where there are no pairs


def points_inside(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Pointing game (Zhang et al. 2018): whether the highest score lies in the stretch, 1 or 0.

    Higher is better; by chance it is the share of the frames that the stretch has. Of equal highest scores each counts
    alike. It looks at a single frame, and says nothing of all others.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> points_inside(torch.tensor([[0.1, 0.9, 0.3, 0.3]]), truth, torch.ones_like(truth))
        tensor([1.])
    """
    inside, outside = _sides(truth, valid)
    highest = valid & (scores == scores.masked_fill(~valid, -torch.inf).amax(1, keepdim=True))
    return _where_known(inside, outside, (highest & truth).sum(1) / highest.sum(1))


def mass_inside(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Share of the positive mass that lies in the stretch.

    From 0 to 1, higher is better; by chance it is the share of the frames that the stretch has. Negative scores count
    as 0; NaN where none is positive. It grows with the length of the stretch, so that it does not compare between
    corpora.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> mass_inside(torch.tensor([[-2.0, 2.0, 1.0, 1.0]]), truth, torch.ones_like(truth))
        tensor([0.7500])
    """
    inside, outside = _sides(truth, valid)
    positive = scores.clamp_min(0) * valid
    return _where_known(inside, outside, (positive * truth).sum(1) / positive.sum(1))


def precision_at_length(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Share of the n highest scores that lie in the stretch, where the stretch has n frames.

    From 0 to 1, higher is better; by chance it is the share of the frames that the stretch has. At this number of frames
    precision and recall are one. Among equal scores, those that come first in time are taken.

    Example:
        >>> truth = torch.tensor([[False, True, True, False]])
        >>> precision_at_length(torch.tensor([[0.5, 0.9, 0.3, 0.1]]), truth, torch.ones_like(truth))
        tensor([0.5000])
    """
    inside, outside = _sides(truth, valid)
    order = scores.masked_fill(~valid, -torch.inf).argsort(1, descending=True, stable=True)
    length = inside.sum(1, keepdim=True)
    taken = torch.arange(scores.shape[1], device=scores.device) < length
    return _where_known(inside, outside, (inside.gather(1, order) & taken).sum(1) / length[:, 0])


def _sides(truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return truth & valid, ~truth & valid


def _where_known(inside: Tensor, outside: Tensor, values: Tensor) -> Tensor:
    return values.masked_fill(~(inside.any(1) & outside.any(1)), torch.nan)
