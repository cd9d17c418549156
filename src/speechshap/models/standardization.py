"""Features at mean 0 and variance 1 over the training utterances."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechshap.models.pooling import at_least_single

_RESOLUTION = 1e-6
"""Deviation, as a share of the mean, that single precision cannot tell from rounding."""


class Moments(NamedTuple):
    """Moments of each feature over utterances, or over frames.

    Attributes:
        num_values: How many these are.
        mean: ``(states, size)``.
        squares: Sum of the squared differences from the mean, ``(states, size)``.
    """

    num_values: int
    mean: Tensor
    squares: Tensor


def moments_of(values: Tensor) -> Moments:
    """Moments of values ``(states, count, size)``, differentiably.

    Example:
        >>> moments = moments_of(torch.tensor([[[1.0], [3.0]]]))
        >>> moments.num_values, moments.mean.item(), moments.squares.item()
        (2, 2.0, 2.0)
    """
    mean = values.mean(1)
    return Moments(values.shape[1], mean, (at_least_single(values) - mean[:, None]).square().sum(1))


def merge_moments(one: Moments, other: Moments) -> Moments:
    """Moments of two sets taken together (Chan, Golub and LeVeque 1979), differentiably.

    Example:
        >>> values = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> merge_moments(moments_of(values[:, :2]), moments_of(values[:, 2:])) == moments_of(values)
        True
    """
    total = one.num_values + other.num_values
    difference = other.mean - one.mean
    mean = one.mean + difference * (other.num_values / total)
    between = difference.square() * (one.num_values * other.num_values / total)
    return Moments(total, mean, one.squares + other.squares + between)


class Standardization(nn.Module):
    """Subtracts the mean of each feature and divides by its standard deviation; changes nothing until it is fitted.

    A feature that does not vary beyond rounding is divided by 1 (as scikit-learn's StandardScaler does): it says
    nothing, and noise must not be blown up.

    Args:
        num_states: Hidden states that the head hears.
        size: Features of each.

    Attributes:
        num_utterances: Utterances, or frames, that it was fitted to; 0 before.
        mean: Their mean, ``(states, size)``.
        deviation: Their standard deviation (of the population), ``(states, size)``.

    Example:
        >>> values = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
        >>> standardization = Standardization(num_states=1, size=2)
        >>> standardization.fit(moments_of(values))
        >>> standardization(values)
        tensor([[[-1.,  0.],
                 [ 1.,  0.]]])
    """

    num_utterances: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, num_states: int, size: int) -> None:
        super().__init__()
        self.register_buffer("num_utterances", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(num_states, size))
        self.register_buffer("deviation", torch.ones(num_states, size))

    @property
    def is_fitted(self) -> bool:
        """Whether it has moments."""
        return bool(self.num_utterances)

    def fit(self, moments: Moments) -> None:
        """Take over the moments of the training utterances, or of their frames."""
        deviation = (moments.squares / moments.num_values).sqrt()
        is_constant = deviation <= _RESOLUTION * moments.mean.abs()
        self.num_utterances.fill_(moments.num_values)
        self.mean.copy_(moments.mean)
        self.deviation.copy_(deviation.masked_fill(is_constant, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Standardise values ``(states, ..., size)``."""
        shape = (len(values), *[1] * (values.ndim - 2), -1)
        return (values - self.mean.view(shape)) / self.deviation.view(shape)
