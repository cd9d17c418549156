"""Attention rollout: how much of each frame attention may have carried to the output."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.errors import NonFiniteOutputError, UtteranceError
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.scores import scores
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE


def obstacle(module: nn.Module | None) -> str | None:
    """Why attention cannot be rolled out; None where it can.

    Example:
        >>> obstacle(nn.Conv1d(1, 1, 3))
        'Conv1d has no attention (no method `attention_weights(waveforms, lengths)`)'
    """
    if module is None:
        return "it is not known; give the evaluator the `module`"
    if not hasattr(module, "attention_weights"):
        return f"{type(module).__name__} has no attention (no method `attention_weights(waveforms, lengths)`)"
    return None


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: Settings) -> Attribution:
    r"""Score a batch by attention rollout (Abnar & Zuidema 2020, section 3).

    With :math:`A_l` the attention weights of layer :math:`l`, queries by keys, as the mean over its heads, and
    :math:`F` the frames that the classifier's mean over time goes over,

    .. math:: S[k] = \frac{1}{F} \sum_{q=1}^F \Big(\hat A_L \cdots \hat A_2 \hat A_1\Big)[q, k],
        \qquad \hat A_l = \tfrac12 (A_l + I) \text{, rows divided by their sum}

    The scores sum to 1 over the frames that the model attends to. They say where information *may* have come from, and
    nothing of what became of it: not the values that were weighted, nor the layers between, nor the head, so that they
    are the same for every target, and have no sign. A model may attend to frames that it makes nothing of (Jain &
    Wallace 2019). What the convolutions before the first layer mix is not followed, and neither are weights by which a
    head sums the layers, or by which an attentive pooling sums the frames. The attention is that of the weights' own
    precision, without autocast.

    Args:
        evaluator: Has the batch, and the module with ``attention_weights(waveforms, lengths)``, which returns
            ``(batch, heads, frames, frames)`` for each layer by its number.
        targets: Get the same numbers each.
        baseline: Not used.
        settings: Of the method.

    Raises:
        UserError: The module has no attention, or none that its output depends on.
        ValueError: The model does not have the targets, or attends to fewer frames than the evaluator's grid has.
        UtteranceError: An utterance is longer than the ``window`` of the module, within which it attends; the error
            names the utterance.
        NonFiniteOutputError: A weight or an output is not finite; the error names the utterance.

    Example:
        >>> class Attending(nn.Module):
        ...     def attention_weights(self, waveforms, lengths):
        ...         return {1: torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])}  # both frames look at the second one
        >>> evaluator = Evaluator(lambda x: x[:, :2], torch.zeros(1, 800), module=Attending())
        >>> explain(evaluator, Targets.from_classes(1, 0), None, Settings()).frames
        tensor([[[0.2500, 0.7500]]])
    """
    reason = obstacle(evaluator.module)
    if reason:
        raise UserError(f"`module`: {reason}")
    targets = evaluator.targets(targets)
    frames = torch.zeros(len(evaluator), evaluator.num_frames, device=evaluator.device)
    for utterance, count in enumerate(evaluator.frame_lengths.tolist()):
        rolled = _rollout(_attention(evaluator, utterance))
        if len(rolled) < count:
            raise ValueError(f"the model attends to {len(rolled)} frames of {count}; give the grid of its frames")
        if not bool(rolled.isfinite().all()):
            raise NonFiniteOutputError(evaluator.ids[utterance])
        frames[utterance, :count] = rolled[:count]  # what follows is silence that the model adds itself
    return scores(evaluator, targets, frames, n_samples=1)


@torch.inference_mode(False)
@torch.no_grad()
def _attention(evaluator: Evaluator, utterance: int) -> list[Tensor]:
    """Attention of each layer, ``(frames, frames)`` as the mean over its heads.

    One utterance at a time: the weights of all heads take more memory than all else.
    """
    module: Any = evaluator.module
    length, window = evaluator.lengths[utterance], getattr(module, "window", None)
    if window is not None and length > window:
        raise UtteranceError(
            evaluator.ids[utterance],
            f"it lasts {length / SAMPLE_RATE:.6g} s, and attention reaches no further than a window of "
            f"{window / SAMPLE_RATE:g} s; cut it, or take another method",
        )
    dtype = next((weight.dtype for weight in module.parameters()), evaluator.inputs.dtype)
    waveform = evaluator.waveform(utterance)[None].to(dtype, copy=True)
    weights = module.attention_weights(waveform, evaluator.lengths_of([utterance]))
    if not weights:
        raise UserError("`module` has no layer of attention that its output depends on; take another `method`")
    return [weights[layer][0].float().mean(0) for layer in sorted(weights)]


def _rollout(layers: Iterable[Tensor]) -> Tensor:
    """Mean over the queries of the product of the layers ``(frames, frames)``, the first one first; ``(frames,)``.

    From the last one on, so that there are products of a vector and a matrix alone.
    """
    *before, last = layers
    share = last.new_full((len(last),), 1 / len(last))
    for weights in [last, *reversed(before)]:
        mixed = (weights + torch.eye(len(weights), device=weights.device)) / 2
        share = share @ (mixed / mixed.sum(1, keepdim=True))
    return share


METHOD = Method(Settings, explain, obstacle=obstacle, unit="attention")
