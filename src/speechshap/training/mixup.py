"""Mixup of waveforms."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechshap.data.dataset import Batch
from speechshap.data.seeding import seed_of


class Mixing(NamedTuple):
    """How the utterances of a batch are mixed with each other.

    Attributes:
        share: Of each utterance itself.
        partners: ``(batch,)`` row of the utterance that the rest is of.
    """

    share: float
    partners: Tensor


def draw_mixing(batch: Batch, alpha: float, epoch: int) -> Mixing:
    """Draw how a batch is mixed: one share for the batch, from Beta(alpha, alpha), as the authors of mixup do it.

    It belongs to the seed of the run (``seed_everything``), the epoch and the utterances of the batch.

    Args:
        batch: Utterances.
        alpha: Above 0; the larger, the nearer to halves.
        epoch: Number of the epoch.

    Example:
        >>> batch = Batch(torch.ones(2, 4), torch.tensor([4, 2]), torch.tensor([0, 1]), ["a", "b"], ["", ""], ["", ""])
        >>> mixing = draw_mixing(batch, alpha=0.2, epoch=0)
        >>> 0 <= mixing.share <= 1, sorted(mixing.partners.tolist())
        (True, [0, 1])
    """
    seed = os.getenv("PL_GLOBAL_SEED", "0")
    generator = np.random.default_rng(seed_of("mixup", seed, epoch, *batch.ids))
    partners = torch.from_numpy(generator.permutation(len(batch.ids))).to(batch.labels.device)
    return Mixing(float(generator.beta(alpha, alpha)), partners)


def mixed(batch: Batch, mixing: Mixing) -> Batch:
    """Mix waveforms (Zhang et al. 2018), each with its partner from the first sample on; labels stay those of the rows.

    The shorter of two is followed by silence: a mixture is as long as the longer one.

    Args:
        batch: Utterances; waveforms are zero after their end.
        mixing: Shares and partners.

    Example:
        >>> waveforms = torch.tensor([[1.0, 1.0, 1.0], [4.0, 0.0, 0.0]])
        >>> batch = Batch(waveforms, torch.tensor([3, 1]), torch.tensor([0, 1]), ["a", "b"], ["", ""], ["", ""])
        >>> mixture = mixed(batch, Mixing(0.75, torch.tensor([1, 0])))
        >>> mixture.waveforms, mixture.lengths
        (tensor([[1.7500, 0.7500, 0.7500],
                 [3.2500, 0.2500, 0.2500]]), tensor([3, 3]))
    """
    share, partners = mixing
    return batch._replace(
        waveforms=share * batch.waveforms + (1 - share) * batch.waveforms[partners],
        lengths=torch.maximum(batch.lengths, batch.lengths[partners]),
    )


def mixed_loss(
    batch: Batch, mixing: Mixing, logits_of: Callable[[Batch], Tensor], loss_of: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Loss of the mixtures of a batch: that for the labels of the rows, and that for those of their partners.

    Both are mixed in the shares of the utterances (Zhang et al. 2018), whatever the loss weighs.

    Args:
        batch: Utterances.
        mixing: How they are mixed.
        logits_of: Of a batch ``(batch, classes)``.
        loss_of: From logits and labels ``(batch,)``.

    Example:
        >>> from torch.nn.functional import cross_entropy
        >>> batch = Batch(torch.ones(2, 4), torch.tensor([4, 2]), torch.tensor([0, 1]), ["a", "b"], ["", ""], ["", ""])
        >>> logits, mixing = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), Mixing(0.75, torch.tensor([1, 0]))
        >>> mixed_loss(batch, mixing, lambda mixture: logits, cross_entropy)
        tensor(0.8133)
    """
    logits = logits_of(mixed(batch, mixing))
    own, other = (loss_of(logits, labels) for labels in (batch.labels, batch.labels[mixing.partners]))
    return mixing.share * own + (1 - mixing.share) * other
