"""Nested quadrature on a path: nodes, weights, and what two rules of different size come to."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution.replicates import ReplicatePart


def fejer(num_nodes: int) -> tuple[Tensor, Tensor]:
    r"""Fejér's second rule on [0, 1]: nodes from the right to the left, and their weights, float64.

    With :math:`\theta_k = k \pi / (n + 1)`: nodes :math:`(1 + \cos \theta_k) / 2`, weights
    :math:`\frac{2 \sin \theta_k}{n + 1} \sum_{j=1}^{\lceil n / 2 \rceil} \frac{\sin((2j - 1) \theta_k)}{2j - 1}`
    (Fejér 1933; Waldvogel 2006, "Fast construction of the Fejér and Clenshaw-Curtis quadrature rules", section 2).
    It is exact for polynomials of a degree below :math:`n`, its nodes lie close to each other towards both ends, and
    every other node of a rule with :math:`2 n + 1` is one of that with :math:`n`.

    Example:
        >>> nodes, weights = fejer(3)
        >>> nodes.round(decimals=4), weights.round(decimals=4)
        (tensor([0.8536, 0.5000, 0.1464], dtype=torch.float64), tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64))
    """
    angles = torch.arange(1, num_nodes + 1, dtype=torch.float64) * math.pi / (num_nodes + 1)
    odd = torch.arange(1, num_nodes + 1, 2, dtype=torch.float64)
    sums = (torch.sin(odd * angles[:, None]) / odd).sum(1)
    return (1 + torch.cos(angles)) / 2, 2 * torch.sin(angles) / (num_nodes + 1) * sums


class NestedRules(NamedTuple):
    """Rules whose nodes contain those of the smaller ones.

    Attributes:
        sizes: Nodes of each rule; each is twice the one before, and one.
        nodes: Those of the largest, ``(nodes,)`` float64; the first ones are those of the smaller rules.
        weights: In each rule, ``(nodes, rules)`` float64; 0 for nodes that a rule does not have.

    Example:
        >>> rules = NestedRules.of([1, 3])
        >>> rules.nodes.round(decimals=4), rules.weights.round(decimals=4)
        (tensor([0.5000, 0.8536, 0.1464], dtype=torch.float64),
         tensor([[1.0000, 0.3333],
                 [0.0000, 0.3333],
                 [0.0000, 0.3333]], dtype=torch.float64))
    """

    sizes: Sequence[int]
    nodes: Tensor
    weights: Tensor

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "NestedRules":
        """Rules of these sizes, of which each is twice the one before, and one."""
        finest, _ = fejer(sizes[-1])
        order: list[int] = []  # of the nodes of the finest rule
        columns = []
        for size in sizes:
            step = (sizes[-1] + 1) // (size + 1)
            order += [place for place in range(step - 1, sizes[-1], step) if place not in order]
            columns.append(torch.zeros(sizes[-1], dtype=torch.float64).index_copy_(
                0, torch.arange(step - 1, sizes[-1], step), fejer(size)[1]
            ))  # fmt: skip
        return cls(sizes, finest[order], torch.stack(columns, 1)[order])


class NestedSums:
    """Integrals by nested rules, and the difference between the last two as their error.

    The difference is what the smaller rule errs by where the larger one errs by much less, and so a bound of that one's
    error rather than an estimate (Davis & Rabinowitz 1984, "Methods of numerical integration", section 4.9).

    Args:
        sizes: Nodes of each rule.
        num_utterances: Utterances of the batch.
        shape: Of one utterance's value, the largest of the batch.
        dtype: Of the sums.
        device: Where they are.
    """

    def __init__(
        self, sizes: Sequence[int], num_utterances: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._sizes = sizes
        self._sums = [torch.zeros(num_utterances, *shape, dtype=dtype, device=device) for _ in sizes]  # of each rule
        self._counts = [0] * num_utterances

    def add(self, values: Tensor, weights: Tensor, parts: Sequence[ReplicatePart]) -> None:
        """Add rows ``(R, ...)`` with their weights in each rule ``(R, rules)``; rows may be smaller than the shape."""
        utterances = [part.utterance for part in parts for _ in range(part.num_points)]
        where = tuple(slice(size) for size in values.shape[1:])
        for utterance, value, own_weights in zip(utterances, values, weights.tolist(), strict=True):
            self._counts[utterance] += 1
            for rule, weight in enumerate(own_weights):
                if weight:
                    self._sums[rule][utterance][where].add_(value, alpha=weight)

    @property
    def mean(self) -> Tensor:
        """Integrals by the largest rule whose nodes are all there, ``(B, ...)``."""
        return torch.stack([self._sums[rule][utterance] for utterance, rule in enumerate(self._rules)])

    @property
    def num_replicates(self) -> list[int]:
        """One for each utterance: nothing is drawn."""
        return [1] * len(self._counts)

    def difference(self) -> Tensor:
        """By how much the largest rule differs from the one before, ``(B, ...)``."""
        return torch.stack([
            self._sums[rule][utterance] - self._sums[rule - 1][utterance]
            for utterance, rule in enumerate(self._rules)
        ])  # fmt: skip

    def standard_error(self) -> Tensor:
        """Size of the difference, ``(B, ...)``."""
        return self.difference().abs()

    @property
    def _rules(self) -> list[int]:
        return [self._sizes.index(count) for count in self._counts]
