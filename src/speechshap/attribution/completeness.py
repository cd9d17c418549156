"""How far attributions are from summing to what they explain."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Completeness:
    """Gap between the sum of the attributions and ``f(x) - E[f(b)]``, with its standard error.

    The output at the references varies much less than a row's sum: a twentieth as many references as points, two at
    least, suffice for its mean, and cost a fortieth of the gradients.

    Args:
        num_utterances: Utterances of the batch.
    """

    def __init__(self, num_utterances: int) -> None:
        self._sums: list[dict[int, Tensor]] = [{} for _ in range(num_utterances)]
        self._references: list[dict[int, Tensor]] = [{} for _ in range(num_utterances)]

    @staticmethod
    def needs_reference(replicate: int, points_per_replicate: int) -> bool:
        """Whether the output at the reference of a replicate is to be evaluated."""
        return 0 <= replicate < 2 or replicate * points_per_replicate % 20 < points_per_replicate

    def add_rows(self, keys: Sequence[tuple[int, int]], sums: Tensor) -> None:
        """Add the weighted sums ``(R, K)`` of the attributions of rows of (utterance, replicate)."""
        for (utterance, replicate), value in zip(keys, sums.cpu().double(), strict=True):
            own = self._sums[utterance]
            own[replicate] = own[replicate] + value if replicate in own else value

    def add_references(self, keys: Sequence[tuple[int, int]], outputs: Tensor) -> None:
        """Add the explained outputs ``(R, K)`` at the references of (utterance, replicate)."""
        for (utterance, replicate), value in zip(keys, outputs.cpu().double(), strict=True):
            self._references[utterance][replicate] = value

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
        references = torch.stack(list(self._references[utterance].values()))  # (m, K)
        n, m = len(sums), len(references)
        gap = sums.mean(0) + references.mean(0) - output
        if n < 2:
            return gap, None
        paired = torch.stack([self._sums[utterance][replicate] for replicate in self._references[utterance]])
        covariance = ((paired - paired.mean(0)) * (references - references.mean(0))).sum(0) / (m - 1)
        variance = sums.var(0) / n + references.var(0) / m + 2 * covariance / n
        return gap, variance.clamp_min(0).sqrt()
