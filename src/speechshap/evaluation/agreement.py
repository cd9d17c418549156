"""Whether two explanations of an utterance put its frames in the same order."""

import torch
from torch import Tensor


def rank_correlation(one: Tensor, other: Tensor, valid: Tensor) -> Tensor:
    """Spearman's correlation of the frames of two explanations, ``(batch,)``.

    Between seeds of the draws, or of the training, it is their agreement (Shen et al. 2025): 1 for the same order of
    frames, 0 for none. Between a model and one with random weights it should be near 0 (Adebayo et al. 2018). Agreement
    does not make an explanation right: that which looks at no model agrees with itself. NaN where all frames of one are
    equal.

    Args:
        one: Attributions, ``(batch, frames)``.
        other: Likewise.
        valid: Frames that count, ``(batch, frames)`` bool.

    Example:
        >>> one, other = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.1, 0.3, 0.2]])
        >>> rank_correlation(one, other, torch.ones(1, 3, dtype=torch.bool))
        tensor([0.5000])
    """
    ranks = [_ranks(values, valid) for values in (one, other)]
    count = valid.sum(1, keepdim=True)
    first, second = ((rank - (rank * valid).sum(1, keepdim=True) / count) * valid for rank in ranks)
    correlation = (first * second).sum(1) / (first.square().sum(1) * second.square().sum(1)).sqrt()
    return correlation.to(one)


def _ranks(values: Tensor, valid: Tensor) -> Tensor:
    """Rank of each valid value among the valid ones of its row, equal ones sharing the mean of theirs."""
    own = values.masked_fill(~valid, torch.inf).contiguous()
    ordered = own.sort(1).values
    first, last = torch.searchsorted(ordered, own), torch.searchsorted(ordered, own, right=True)
    return (first + last).double() / 2
