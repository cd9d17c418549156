"""Does a model rely on the evidence that was planted for it?"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution import Evaluator, Targets
from speechshap.attribution.draws import draw_generator
from speechshap.evaluation.replacement import replaced_outputs


class Reliance(NamedTuple):
    """How far outputs fall when parts of utterances are replaced, ``(batch,)`` each, NaN where nothing is planted.

    Attributes:
        on_evidence: Fall without the planted evidence.
        on_rest: Fall without as many of the other frames, the mean over several places.
    """

    on_evidence: Tensor
    on_rest: Tensor


def reliance(
    evaluator: Evaluator,
    targets: Targets,
    truth: Tensor,
    valid: Tensor,
    references: Sequence[Tensor],
    *,
    n_draws: int = 4,
    seed: int = 0,
) -> Reliance:
    """Replace the planted evidence, and as much of the rest, by neutral speech of the same speaker.

    Where the first does not fall far further than the second, the model decides by something else, and no explanation
    can be judged by the planted evidence. The rest that is replaced is one run of frames that begins anywhere and skips
    the evidence; where the rest is shorter than the evidence, all of it is replaced. Falls have the unit of the output.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        truth: Frames of the evidence, ``(batch, frames)`` bool.
        valid: Frames that the rest is taken from, ``(batch, frames)`` bool.
        references: ``(time,)`` for each utterance; what they sound like decides what the falls mean.
        n_draws: Places of the rest.
        seed: Of these.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x.cumsum(1)[:, -2:], torch.tensor([[1.0, 5.0]]), grid=FrameGrid(1, 1))
        >>> truth = torch.tensor([[False, True]])
        >>> reliance(evaluator, Targets.from_classes(1, 1), truth, torch.ones_like(truth), [torch.zeros(2)])
        Reliance(on_evidence=tensor([5.]), on_rest=tensor([1.]))
    """
    masks, is_known = [], []
    for utterance, length in enumerate(evaluator.frame_lengths.tolist()):
        inside = truth[utterance, :length].cpu()
        rest = (valid[utterance, :length].cpu() & ~inside).nonzero()[:, 0]
        count = min(int(inside.sum()), len(rest))
        is_known.append(count > 0)
        own = torch.zeros(2 + n_draws, length, dtype=torch.bool)
        own[1] = inside
        generator = draw_generator(seed, evaluator.ids[utterance], 0)
        for row in own[2:] if count else ():
            first = int(torch.randint(len(rest), (), generator=generator))
            row[rest.roll(-first)[:count]] = True
        masks.append(own)
    outputs = replaced_outputs(evaluator, targets, references, masks)
    falls = outputs[:, :1] - outputs
    falls = falls.masked_fill(~torch.tensor(is_known, device=falls.device)[:, None], torch.nan)
    return Reliance(falls[:, 1], falls[:, 2:].mean(1))
