"""What happens to an output when the frames that an explanation names first are taken away, or are all that is left."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution import Evaluator, Targets
from speechshap.evaluation.replacement import replaced_outputs


class Curves(NamedTuple):
    """Outputs of utterances whose frames are replaced step by step, in the order of their scores.

    Attributes:
        fractions: Share of each utterance's frames that is replaced (deletion) or kept (insertion),
            ``(batch, steps + 1)``, from 0 to 1.
        outputs: Explained outputs there, ``(batch, steps + 1)``.
    """

    fractions: Tensor
    outputs: Tensor

    @property
    def area(self) -> Tensor:
        """Area under each curve, end points included, ``(batch,)``: the mean output over the fractions."""
        return torch.trapezoid(self.outputs, self.fractions, dim=1)

    @property
    def flipped(self) -> "Curves":
        """Of the deletion in the opposite order the insertion, and the other way round."""
        return Curves(1 - self.fractions.flip(1), self.outputs.flip(1))


def deletion_curves(
    evaluator: Evaluator, targets: Targets, scores: Tensor, references: Sequence[Tensor], steps: int = 10
) -> Curves:
    """Replace the frames of highest scores first (Petsiuk et al. 2018).

    At 0 stands the output for the utterance, at 1 that for the reference. A good order makes the output fall early: the
    lower the area, the better. It has the unit of the output and no range of its own; an order drawn at random is what
    to compare it with.

    It does not show that the model relied on what was replaced: it shows what the model makes of a sound with holes,
    which it was never trained on, and how much a class has to lose.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        scores: Of the frames, ``(batch, frames)``; equal ones are taken as they come.
        references: What takes the place of the frames, ``(time,)`` for each utterance.
        steps: Into which each utterance is divided; a step is one frame at least.

    Raises:
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> targets = Targets.from_classes(1, 1)
        >>> deletion_curves(evaluator, targets, torch.tensor([[1.0, 5.0]]), [torch.zeros(2)], steps=2)
        Curves(fractions=tensor([[0.0000, 0.5000, 1.0000]]), outputs=tensor([[6., 1., 0.]]))
    """
    shares = torch.linspace(0, 1, steps + 1)
    masks, fractions = [], []
    for own, length in zip(scores.cpu(), evaluator.frame_lengths.tolist(), strict=True):
        order = own[:length].argsort(descending=True, stable=True)
        counts = (shares * length).round().long()
        masks.append(order.argsort() < counts[:, None])  # (steps + 1, frames)
        fractions.append(counts / length)
    outputs = replaced_outputs(evaluator, targets, references, masks)
    return Curves(torch.stack(fractions).to(outputs), outputs)


def insertion_curves(
    evaluator: Evaluator, targets: Targets, scores: Tensor, references: Sequence[Tensor], steps: int = 10
) -> Curves:
    """Start from the reference and put back the frames of highest scores first (Petsiuk et al. 2018).

    The higher the area, the better; all else as for :func:`deletion_curves`.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> targets = Targets.from_classes(1, 1)
        >>> insertion_curves(evaluator, targets, torch.tensor([[1.0, 5.0]]), [torch.zeros(2)], steps=2)
        Curves(fractions=tensor([[0.0000, 0.5000, 1.0000]]), outputs=tensor([[0., 5., 6.]]))
    """
    # What is left when the frames of lowest scores are replaced first.
    return deletion_curves(evaluator, targets, -scores, references, steps).flipped


def mean_drop(curves: Curves, output: Tensor, largest: float = 0.5) -> Tensor:
    """Mean of ``output`` less the outputs of the curve, over its steps up to a fraction but the first, ``(batch,)``.

    *Comprehensiveness* (DeYoung et al. 2020) from the deletion, the higher the better: what is lost without the frames
    that an explanation names. *Sufficiency* from the insertion, the lower the better: what is lost with these frames
    alone. Both have the unit of the output, and share what deletion cannot show.

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
