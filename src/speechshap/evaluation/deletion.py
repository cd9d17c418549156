"""What happens to an output when the frames that an explanation names first are taken away, or are all that is left."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution.baselines import Baseline, draw_reference
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.targets import Targets


class Curves(NamedTuple):
    """Outputs of utterances whose frames are replaced step by step, in the order of their scores.

    Attributes:
        fractions: Share of each utterance's frames that is replaced (:func:`deletion_curves`) or kept
            (:func:`insertion_curves`), ``(batch, steps + 1)``, from 0 to 1.
        outputs: Explained outputs there, ``(batch, steps + 1)``.
    """

    fractions: Tensor
    outputs: Tensor

    @property
    def area(self) -> Tensor:
        """Area under each curve, end points included, ``(batch,)``: the mean output over the fractions."""
        return torch.trapezoid(self.outputs, self.fractions, dim=1)


def deletion_curves(
    evaluator: Evaluator, targets: Targets, scores: Tensor, baseline: Baseline, *, seed: int = 0, steps: int = 10
) -> Curves:
    r"""Replace the frames of highest scores first (Petsiuk et al. 2018).

    The samples of a frame are taken from a reference of the same length: silence, noise, or another clip. At 0 stands
    the output for the utterance, at 1 that for the reference. A good order makes the output fall early: the lower the
    area, the better. It has no range of its own; an order drawn at random is what to compare it with.

    It does not show that the model relied on what was replaced: it shows what the model makes of a sound with holes,
    which it was never trained on, and how much a class has to lose.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        scores: Of the frames, ``(batch, frames)``; equal ones are taken as they come.
        baseline: Draws the reference, the first one of the seed and the utterance's id.
        seed: Of the draw.
        steps: Into which each utterance is divided; a step is one frame at least.

    Example:
        >>> from speechshap.attribution import silence
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> targets = Targets.from_classes(1, 1)
        >>> deletion_curves(evaluator, targets, torch.tensor([[1.0, 5.0]]), silence, steps=2)
        Curves(fractions=tensor([[0.0000, 0.5000, 1.0000]]), outputs=tensor([[6., 1., 0.]]))
    """
    order = _order(evaluator, scores)
    return _curves(evaluator, targets, order, baseline, seed, steps)


def insertion_curves(
    evaluator: Evaluator, targets: Targets, scores: Tensor, baseline: Baseline, *, seed: int = 0, steps: int = 10
) -> Curves:
    """Start from the reference and put back the frames of highest scores first (Petsiuk et al. 2018).

    The higher the area, the better; all else as for :func:`deletion_curves`.

    Example:
        >>> from speechshap.attribution import silence
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> targets = Targets.from_classes(1, 1)
        >>> insertion_curves(evaluator, targets, torch.tensor([[1.0, 5.0]]), silence, steps=2)
        Curves(fractions=tensor([[0.0000, 0.5000, 1.0000]]), outputs=tensor([[0., 5., 6.]]))
    """
    # What remains when the frames of lowest scores are replaced first.
    order = [own.flip(0) for own in _order(evaluator, scores)]
    deleted = _curves(evaluator, targets, order, baseline, seed, steps)
    return Curves(1 - deleted.fractions.flip(1), deleted.outputs.flip(1))


def mean_drop(curves: Curves, output: Tensor, largest: float = 0.5) -> Tensor:
    r"""Mean of the output less that of the steps up to a fraction, without the first, ``(batch,)``.

    *Comprehensiveness* (DeYoung et al. 2020) from :func:`deletion_curves`, the higher the better; *sufficiency* from
    :func:`insertion_curves`, the lower the better.

    Args:
        curves: Of the utterances.
        output: Explained outputs for the utterances, ``(batch,)``.
        largest: Fraction of the frames up to which steps count.

    Example:
        >>> curves = Curves(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[6.0, 1.0, 0.0]]))
        >>> mean_drop(curves, torch.tensor([6.0]))
        tensor([5.])
    """
    counted = (curves.fractions > 0) & (curves.fractions <= largest + 1e-6)
    drops = (output[:, None] - curves.outputs) * counted
    return drops.sum(1) / counted.sum(1)


def replaced(evaluator: Evaluator, utterance: int, frames: Tensor, reference: Tensor) -> Tensor:
    """An utterance ``(time,)`` with the samples of some frames from a reference.

    Args:
        evaluator: Has the utterance.
        utterance: Its number in the batch.
        frames: Which ones, ``(frames,)`` bool.
        reference: ``(time,)``.
    """
    waveform = evaluator.waveform(utterance)
    return torch.where(frames[evaluator.owner(utterance)], reference.to(waveform), waveform)


def _order(evaluator: Evaluator, scores: Tensor) -> list[Tensor]:
    """Frames of each utterance, those of highest scores first."""
    return [
        scores[utterance, :length].argsort(descending=True, stable=True)
        for utterance, length in enumerate(evaluator.frame_lengths.tolist())
    ]


def _curves(
    evaluator: Evaluator, targets: Targets, order: Sequence[Tensor], baseline: Baseline, seed: int, steps: int
) -> Curves:
    targets = evaluator.targets(targets)
    references = [
        draw_reference(baseline, evaluator.waveform(utterance).cpu(), name, draw_generator(seed, name, 0))
        for utterance, name in enumerate(evaluator.ids)
    ]
    shares = torch.linspace(0, 1, steps + 1)
    counts = [(shares * len(own)).round().long() for own in order]
    rows = [(utterance, int(count)) for utterance, own in enumerate(counts) for count in own]

    def deleted(row: int) -> Tensor:
        utterance, count = rows[row]
        frames = torch.zeros(len(order[utterance]), dtype=torch.bool, device=evaluator.device)
        frames[order[utterance][:count]] = True
        return replaced(evaluator, utterance, frames, references[utterance])

    utterances = [utterance for utterance, _ in rows]
    logits = evaluator.evaluate(utterances, deleted)
    outputs = targets(logits, evaluator.indices(utterances))[:, 0].view(len(order), steps + 1)
    fractions = torch.stack([own / len(frames) for own, frames in zip(counts, order, strict=True)])
    return Curves(fractions.to(outputs), outputs)
