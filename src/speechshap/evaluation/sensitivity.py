"""How far an explanation changes when the sound hardly does."""

from collections.abc import Callable

import torch
from torch import Tensor

from speechshap.attribution import Evaluator
from speechshap.attribution.draws import draw_generator

Explain = Callable[[Evaluator], Tensor]
"""Attributions ``(batch, frames)`` of the utterances of an evaluator, always with the same random draws."""


def max_sensitivity(
    evaluator: Evaluator,
    explain: Explain,
    *,
    radius: float = 0.02,
    n_perturbations: int = 4,
    seed: int = 0,
    original: Tensor | None = None,
) -> Tensor:
    r"""Largest relative change of an explanation when a little noise is added to the sound, ``(batch,)``.

    .. math:: \max_{\lVert r \rVert_\infty \le \epsilon}
              \frac{\lVert \phi(x + r) - \phi(x) \rVert}{\lVert \phi(x) \rVert}

    (Yeh et al. 2019, definition 2.3) over random :math:`r`, with :math:`\epsilon` a share of the utterance's standard
    deviation. From 0, lower is better. Both explanations have the same random draws (those of the utterance's id), so
    that the error of a Monte Carlo estimate is not taken for sensitivity: :func:`rank_correlation` between seeds
    measures that one.

    An explanation that looks at nothing is not sensitive at all: low values prove nothing by themselves.

    Args:
        evaluator: Has the batch and the model.
        explain: The method.
        radius: :math:`\epsilon`, relative to the standard deviation.
        n_perturbations: How many :math:`r`.
        seed: Of these.
        original: What the method says of the sound as it is, where that is known already.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: waveforms, torch.tensor([[3.0, -4.0]]))
        >>> float(max_sensitivity(evaluator, lambda same: same.inputs)) < 0.02
        True
    """
    original = explain(evaluator) if original is None else original
    deviations = [evaluator.waveform(utterance).std(correction=0) for utterance in range(len(evaluator))]
    changes = []
    for number in range(n_perturbations):
        noisy = evaluator.inputs.clone()
        for utterance, (name, length) in enumerate(zip(evaluator.ids, evaluator.lengths, strict=True)):
            noise = torch.rand(length, generator=draw_generator(seed, name, number)).to(noisy) * 2 - 1
            noisy[utterance, :length] += radius * deviations[utterance] * noise
        changes.append((explain(evaluator.with_inputs(noisy)) - original).norm(dim=1))
    return torch.stack(changes).amax(0) / original.norm(dim=1)
