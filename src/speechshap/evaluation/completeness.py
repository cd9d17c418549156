"""How much is missing from the sum that attributions must come to."""

from torch import Tensor


def relative_gap(totals: Tensor, gaps: Tensor) -> Tensor:
    """Completeness gap relative to the change that the attributions must sum to, from 0, lower is better.

    Args:
        totals: Sums of the attributions of all frames.
        gaps: Their completeness gaps (:attr:`speechshap.attribution.Attribution.completeness_gap`); NaN stays.

    Example:
        >>> import torch
        >>> relative_gap(torch.tensor([5.0]), torch.tensor([1.0]))
        tensor([0.2500])
    """
    return gaps.abs() / (totals - gaps).abs()
