"""Scores of frames: numbers that sum to nothing in particular."""

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.targets import Targets


def scores(evaluator: Evaluator, targets: Targets, frames: Tensor, n_samples: int) -> Attribution:
    """The attribution that scores of frames make.

    There are no standard errors, and the completeness gap is not a number.

    Args:
        evaluator: Has the batch and the model.
        targets: As :meth:`Evaluator.targets` returns them.
        frames: ``(batch, targets, frames)``, or ``(batch, frames)`` where they are the same for all targets; 0 beyond
            the end of an utterance.
        n_samples: Evaluations of the model that they were made of, for each utterance.

    Raises:
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2], torch.ones(1, 800))
        >>> result = scores(evaluator, evaluator.targets(Targets.from_classes(1, [[0, 1]])), torch.ones(1, 2), 0)
        >>> result.frames, result.completeness_gap
        (tensor([[[1., 1.], [1., 1.]]]), tensor([[nan, nan]]))
    """
    outputs = targets(evaluator.logits)  # (batch, targets)
    evaluator.check_finite(outputs, range(len(evaluator)))
    if frames.ndim == 2:
        frames = frames[:, None].expand(-1, outputs.shape[1], -1)
    counts = torch.full((len(evaluator),), n_samples, device=evaluator.device)
    return Attribution(
        frames=frames.to(outputs),
        frame_lengths=evaluator.frame_lengths,
        targets=targets,
        logits=evaluator.logits,
        outputs=outputs,
        completeness_gap=torch.full_like(outputs, torch.nan),
        n_samples=counts,
        n_replicates=counts,
    )
