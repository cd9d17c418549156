"""Gradients at the sound itself, or at copies of it: what saliency, gradient x input and SmoothGrad share."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.errors import NonFiniteGradientError, ZeroGradientError
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.scores import scores
from speechshap.attribution.targets import Targets

Kept = TypeVar("Kept")


def gradient_scores(
    evaluator: Evaluator, targets: Targets, factors: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Attribution:
    """Score frames by the gradient at the sound itself.

    Args:
        evaluator: Has the batch and the model.
        targets: What is explained.
        factors: Makes two factors of the sounds ``(R, time)`` and their gradients ``(R, time)``, whose products are
            summed over the samples of each frame.

    Raises:
        ValueError: The model does not have the targets.
        GradientError: An utterance's gradients are all 0, or one is not finite; the error names the utterance.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: 3 * waveforms[:, :2], torch.full((1, 800), 2.0))
        >>> gradient_scores(evaluator, Targets.from_classes(1, 0), lambda sounds, gradients: (sounds, gradients)).frames
        tensor([[[6., 0.]]])
    """
    targets = evaluator.targets(targets)
    frames = torch.zeros(*targets.classes.shape, evaluator.num_frames, device=evaluator.device)

    def keep(sounds: Tensor, gradients: Tensor, utterances: list[int]) -> Tensor:
        return evaluator.sum_frames(*factors(sounds, gradients), utterances)

    for rows, parts in input_gradients(evaluator, targets, range(len(evaluator)), evaluator.waveform, keep):
        frames[rows] = torch.stack(parts, 1).to(frames)
    return scores(evaluator, targets, frames, n_samples=1)


def input_gradients(
    evaluator: Evaluator,
    targets: Targets,
    utterances: Sequence[int],
    waveform: Callable[[int], Tensor],
    keep: Callable[[Tensor, Tensor, list[int]], Kept],
) -> Iterator[tuple[list[int], list[Kept]]]:
    """Gradients of rows in chunks, all targets from the same forward pass.

    Args:
        evaluator: Has the batch and the model.
        targets: As :meth:`Evaluator.targets` returns them.
        utterances: Batch index of the utterance that each row is made of.
        waveform: Makes the row of a number, ``(time,)`` as its utterance.
        keep: Makes what is kept of rows ``(R, time)``, their gradients to one target ``(R, time)``, 0 in the padding,
            and the utterances that they are made of. It must change nothing: it is tried again with fewer rows when
            memory runs out.

    Yields:
        The numbers of the rows of a chunk, and what is kept for each target.

    Raises:
        NonFiniteGradientError: A gradient is not finite.
        ZeroGradientError: Those of all rows of an utterance are 0.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def evaluate(rows: list[int]) -> tuple[list[Kept], Tensor]:
        own = [utterances[row] for row in rows]
        points = pad_sequence([waveform(row).to(evaluator.inputs) for row in rows], batch_first=True)
        outside = torch.arange(points.shape[1], device=points.device) >= evaluator.lengths_of(own)[:, None]
        kept, has_gradient = [], torch.zeros(len(rows), dtype=torch.bool, device=points.device)
        for found in evaluator.gradients(points, own, targets):
            gradients = found.inputs.masked_fill(outside, 0)
            finite = gradients.isfinite().all(1).tolist()
            if not all(finite):
                raise NonFiniteGradientError(evaluator.ids[own[finite.index(False)]])
            has_gradient |= gradients.any(1)
            kept.append(keep(points, gradients, own))
        return kept, has_gradient

    without = set(utterances)
    for rows, (kept, has_gradient) in evaluator.evaluate_with_gradients(utterances, evaluate):
        without -= {utterances[row] for row, has in zip(rows, has_gradient.tolist(), strict=True) if has}
        yield rows, kept
    for utterance in sorted(without):
        raise ZeroGradientError(evaluator.ids[utterance])
