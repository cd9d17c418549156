"""Gradient x input: the gradient at the sound itself, times the sound."""

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.input_gradients import gradient_scores
from speechshap.attribution.methods import Method
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: Settings) -> Attribution:
    r"""Attribute a batch by gradient x input (Shrikumar et al. 2016).

    .. math:: \Phi_c[k] = \sum_{t \in k} x[t] \frac{\partial f_c}{\partial x[t]}(x)

    To first order, this is the drop of the output when the frame goes silent. The order counts: where the model is
    saturated the gradient is 0 though the frame decides, and a model that brings its input to one level has a sum of 0
    over all frames, whatever it hears. In general the sum is nothing in particular, so that the completeness gap is not
    a number; it is :math:`f_c(x)` for a network of ReLUs without biases alone.

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
        >>> import torch
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda waveforms: waveforms ** 2, torch.tensor([[1.0, -3.0]]), grid=FrameGrid(1, 1))
        >>> explain(evaluator, Targets.from_classes(1, 1), None, Settings()).frames
        tensor([[[ 0., 18.]]])
    """
    return gradient_scores(evaluator, targets, lambda sounds, gradients: (sounds, gradients))


METHOD = Method(Settings, explain)
