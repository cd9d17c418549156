"""Outputs of a model for utterances some of whose frames are taken from a reference: silence, noise, another clip.

What a model makes of such a sound depends on what is put in the place of the frames (the masking operator), and no one
operator leaves the sound as natural as it was: compare several, and the control of a random order beside each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from speechshap.attribution import Baseline, Evaluator, Targets


def draw_references(evaluator: Evaluator, baseline: Baseline, seed: int = 0) -> list[Tensor]:
    """A reference ``(time,)`` for each utterance of a batch, the first one that seed and id draw.

    Raises:
        ValueError: It has another shape than the utterance, or is not finite.

    Example:
        >>> from speechshap.attribution import silence
        >>> draw_references(Evaluator(lambda waveforms: waveforms, torch.ones(1, 3)), silence)
        [tensor([0., 0., 0.])]
    """
    return [evaluator.reference(baseline, utterance, seed) for utterance in range(len(evaluator))]


def replaced_outputs(
    evaluator: Evaluator, targets: Targets, references: Sequence[Tensor], masks: Sequence[Tensor]
) -> Tensor:
    """Explained outputs for utterances with frames replaced, ``(batch, masks)``.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        references: ``(time,)`` for each utterance, as long as it.
        masks: Frames to replace, ``(masks, frames)`` bool for each utterance without its padding; equally many for all.

    Raises:
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> masks = [torch.tensor([[False, False], [False, True], [True, True]])]
        >>> replaced_outputs(evaluator, Targets.from_classes(1, 1), [torch.zeros(2)], masks)
        tensor([[6., 1., 0.]])
    """
    targets = evaluator.targets(targets)
    count = len(masks[0])
    owners = [evaluator.grid.owner(length) for length in evaluator.lengths]

    def replaced(row: int) -> Tensor:
        utterance, number = divmod(row, count)
        waveform = evaluator.waveform(utterance)
        of_samples = masks[utterance][number].cpu()[owners[utterance]]
        return torch.where(of_samples.to(waveform.device), references[utterance].to(waveform), waveform)

    utterances = [utterance for utterance in range(len(evaluator)) for _ in range(count)]
    outputs = targets(evaluator.evaluate(utterances, replaced), evaluator.indices(utterances))
    evaluator.check_finite(outputs, utterances)
    return outputs[:, 0].view(len(evaluator), count)
