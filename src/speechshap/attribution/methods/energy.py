"""Energy: how loud each frame is, whatever the model."""

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.scores import scores
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: Settings) -> Attribution:
    r"""Score a batch by the energy of its frames, a null that methods are to be compared with.

    .. math:: S[k] = \sum_{t \in k} x[t]^2

    It looks at no model and no target: whatever it finds is in the sound. A method that does not point at evidence
    better than this has not shown that it explains anything; where evidence is loud, few do. Its seed and its output
    have no effect, and the completeness gap is not a number.

    Args:
        evaluator: Has the batch.
        targets: Get the same numbers each.
        baseline: Not used.
        settings: Of the method.

    Raises:
        ValueError: The model does not have the targets.
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> import torch
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda x: x[:, :2], torch.tensor([[1.0, 2.0, 0.0, -3.0]]), grid=FrameGrid(2, 2))
        >>> explain(evaluator, Targets.from_classes(1, 0), None, Settings()).frames
        tensor([[[5., 9.]]])
    """
    frames = evaluator.sum_frames(evaluator.inputs, evaluator.inputs, range(len(evaluator)))
    return scores(evaluator, evaluator.targets(targets), frames, n_samples=0)


METHOD = Method(Settings, explain, unit="energy")
