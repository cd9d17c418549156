"""Do the attributions of the frames predict what happens to an output when some of them are replaced?"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution import Evaluator, Targets
from speechshap.attribution.draws import draw_generator
from speechshap.evaluation.replacement import replaced_outputs


class Perturbations(NamedTuple):
    """Stretches that were replaced, and how far outputs fell: the same for all explanations of the utterances.

    Attributes:
        masks: Replaced frames, ``(batch, perturbations, frames)`` bool; False in the padding.
        falls: Of the explained outputs, ``(batch, perturbations)``.
    """

    masks: Tensor
    falls: Tensor


def perturb(
    evaluator: Evaluator,
    targets: Targets,
    references: Sequence[Tensor],
    *,
    n_perturbations: int = 32,
    seed: int = 0,
) -> Perturbations:
    """Replace stretches of any length between a twentieth and a half of each utterance, anywhere in it.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        references: What takes the place of the frames, ``(time,)`` for each utterance.
        n_perturbations: Stretches, one at a time.
        seed: Of their places, which depend on the utterance's id beside it.

    Raises:
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.
    """
    masks = []
    for name, length in zip(evaluator.ids, evaluator.frame_lengths.tolist(), strict=True):
        generator = draw_generator(seed, name, 0)
        shares = 0.05 + 0.45 * torch.rand(n_perturbations, 1, generator=generator)
        sizes = (shares * length).ceil().clamp_max(length)
        starts = (torch.rand(n_perturbations, 1, generator=generator) * length).floor()
        # One that reaches over the end goes on at the start, so that all frames are replaced equally often.
        masks.append((torch.arange(length) - starts) % length < sizes)
    outputs = replaced_outputs(evaluator, targets, references, masks)
    padded = outputs.new_zeros(*outputs.shape, evaluator.num_frames, dtype=torch.bool)
    for own, mask in zip(padded, masks, strict=True):
        own[:, : mask.shape[1]] = mask
    return Perturbations(padded, evaluator.targets(targets)(evaluator.logits) - outputs)


def infidelity(frames: Tensor, perturbations: Perturbations) -> Tensor:
    r"""Share of the falls that attributions leave unexplained, ``(batch,)``.

    .. math:: \min_{c \ge 0} \frac{\sum_m \big(c \sum_{k \in S_m} \phi_k - d_m\big)^2}{\sum_m d_m^2}

    with the fall :math:`d_m` of the output when the stretch :math:`S_m` is replaced: infidelity (Yeh et al. 2019,
    definition 2.1) with the best scale :math:`c`, as methods differ in units, relative to that of attributions that are
    all 0. From 0 to 1, lower is better; NaN where no replacement changes anything.

    It does not say that the falls are those of a natural sound, and it favours methods that replace stretches
    themselves, such as occlusion.

    Args:
        frames: Attributions, ``(batch, frames)``, of the same targets.
        perturbations: Of the same utterances.

    Example:
        >>> masks = torch.tensor([[[True, False], [False, True]]])
        >>> infidelity(torch.tensor([[1.0, 3.0]]), Perturbations(masks, torch.tensor([[2.0, 6.0]])))
        tensor([0.])
        >>> infidelity(torch.tensor([[3.0, 1.0]]), Perturbations(masks, torch.tensor([[0.0, 6.0]])))
        tensor([0.9000])
    """
    predicted = torch.einsum("bpf,bf->bp", perturbations.masks.to(frames), frames)
    falls = perturbations.falls
    scale = ((predicted * falls).sum(1) / predicted.square().sum(1)).nan_to_num(0).clamp_min(0)
    return (scale[:, None] * predicted - falls).square().sum(1) / falls.square().sum(1)
