"""How far attributions are from summing to what they explain."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from speechshap.attribution.quadrature import NestedSums
from speechshap.attribution.replicates import PathPoint, ReferenceKey, parts_of


class RunningGap(Protocol):
    """Completeness gap of all utterances, to which one chunk after the other is added."""

    def add_rows(self, points: Sequence[PathPoint], sums: Tensor, weights: Tensor) -> None:
        """Add the sums ``(R, K)`` of the attributions of points with their weights."""

    def add_references(self, keys: Sequence[ReferenceKey], outputs: Tensor) -> None:
        """Add the explained outputs ``(R, K)`` at references."""

    def gap(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gap and its error, ``(B, K)`` each, of utterances with the explained outputs ``(B, K)``."""


class Completeness:
    """Gap between the sum of the attributions and ``f(x) - E[f(b)]``, with its standard error.

    The output may be known at some of the references alone, two at least.

    Args:
        num_utterances: Utterances of the batch.
    """

    def __init__(self, num_utterances: int) -> None:
        self._sums: list[dict[int, Tensor]] = [{} for _ in range(num_utterances)]
        self._references: list[dict[int, list[Tensor]]] = [{} for _ in range(num_utterances)]

    def add_rows(self, points: Sequence[PathPoint], sums: Tensor, weights: Tensor) -> None:
        """Add the sums ``(R, K)`` of the attributions of points with their weights ``(R,)``."""
        weighted = sums.cpu().double() * weights[:, None]
        for (utterance, replicate, _), value in zip(points, weighted, strict=True):
            own = self._sums[utterance]
            own[replicate] = own[replicate] + value if replicate in own else value

    def add_references(self, keys: Sequence[ReferenceKey], outputs: Tensor) -> None:
        """Add the explained outputs ``(R, K)`` at references; of several of a replicate the mean counts."""
        for (utterance, replicate, _), value in zip(keys, outputs.cpu().double(), strict=True):
            self._references[utterance].setdefault(replicate, []).append(value)

    def gap(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        r"""Gap and standard error, ``(B, K)`` each, of utterances with the explained outputs ``(B, K)``.

        There is no standard error where an utterance has fewer than two replicates.

        With sums :math:`A_r` of ``n`` replicates and :math:`f(b_r)` of ``m`` of the same references, the gap is
        :math:`\bar A + \bar f(b) - f(x)`; its variance
        :math:`\mathrm{Var}(A)/n + \mathrm{Var}(f(b))/m + 2\,\mathrm{Cov}(A, f(b))/n`.
        """
        gaps, errors = zip(*(self._gap(row, output) for row, output in enumerate(outputs.cpu().double())), strict=True)
        known = [error for error in errors if error is not None]
        return torch.stack(gaps), torch.stack(known) if len(known) == len(errors) else None

    def _gap(self, utterance: int, output: Tensor) -> tuple[Tensor, Tensor | None]:
        sums = torch.stack(list(self._sums[utterance].values()))  # (n, K)
        references = torch.stack([torch.stack(own).mean(0) for own in self._references[utterance].values()])  # (m, K)
        n, m = len(sums), len(references)
        gap = sums.mean(0) + references.mean(0) - output
        if n < 2:
            return gap, None
        paired = torch.stack([self._sums[utterance][replicate] for replicate in self._references[utterance]])
        covariance = ((paired - paired.mean(0)) * (references - references.mean(0))).sum(0) / (m - 1)
        variance = sums.var(0) / n + references.var(0) / m + 2 * covariance / n
        return gap, variance.clamp_min(0).sqrt()


class FixedCompleteness:
    """The same for one fixed reference and nested rules: the error is the difference of the last two.

    Args:
        sizes: Nodes of each rule.
        num_utterances: Utterances of the batch.
        num_targets: Outputs that are explained of each.
    """

    def __init__(self, sizes: Sequence[int], num_utterances: int, num_targets: int) -> None:
        self._sums = NestedSums(sizes, num_utterances, (num_targets,), torch.float64, torch.device("cpu"))
        self._references = torch.zeros(num_utterances, num_targets, dtype=torch.float64)

    def add_rows(self, points: Sequence[PathPoint], sums: Tensor, weights: Tensor) -> None:
        """Add the sums ``(R, K)`` of the attributions of points with their weights ``(R, rules)``."""
        self._sums.add(sums.cpu().double(), weights, parts_of(points, 0))

    def add_references(self, keys: Sequence[ReferenceKey], outputs: Tensor) -> None:
        """Take the explained outputs ``(R, K)`` at the references."""
        for (utterance, *_), output in zip(keys, outputs.cpu().double(), strict=True):
            self._references[utterance] = output

    def gap(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Gap and error, ``(B, K)`` each, of utterances with the explained outputs ``(B, K)``."""
        return self._sums.mean + self._references - outputs.cpu().double(), self._sums.standard_error()
