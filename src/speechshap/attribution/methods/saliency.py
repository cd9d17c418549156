"""Saliency: how steep an output is at the sound itself."""

import torch

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.input_gradients import gradient_scores
from speechshap.attribution.methods import Method
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: Settings) -> Attribution:
    r"""Score a batch by saliency (Simonyan et al. 2013, section 3).

    .. math:: S_c[k] = \sum_{t \in k} \left| \frac{\partial f_c}{\partial x[t]}(x) \right|

    It is in units of the output for a unit of amplitude, and says how the output *would* react to a tiny change, not
    what made it what it is: a loud frame to which the model is used up scores 0, and silence may score most. It has no
    sign, so that it does not tell what speaks for the target from what speaks against it, and sums to nothing in
    particular: the completeness gap is not a number.

    Args:
        evaluator: Has the batch and the model.
        targets: What is explained.
        baseline: Not used.
        settings: Of the method.

    Raises:
        ValueError: The model does not have the targets.
        GradientError: An utterance's gradients are all 0, or one is not finite; the error names the utterance.
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> weight = torch.tensor([[1.0], [-2.0], [0.0], [3.0]])
        >>> evaluator = Evaluator(lambda waveforms: waveforms @ weight, torch.ones(1, 4), grid=FrameGrid(2, 2))
        >>> explain(evaluator, Targets.from_classes(1, 0), None, Settings()).frames
        tensor([[[3., 3.]]])
    """
    return gradient_scores(
        evaluator, targets, lambda _, gradients: (gradients.abs(), torch.ones_like(gradients))
    )  # fmt: skip


METHOD = Method(Settings, explain, unit="|gradient|")
