"""Random: a number for each frame that nothing but chance decides."""

import torch

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.methods import Method
from speechshap.attribution.scores import scores
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets

_NO_REFERENCE = -1
"""Number of a draw that references and their points never have: their noise would be the same numbers."""


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: Settings) -> Attribution:
    r"""Score a batch at random, a null that methods are to be compared with.

    .. math:: S[k] \sim N(0, 1)

    It looks at neither sound nor model nor target. The numbers depend on the seed and the utterance's id alone; other
    seeds show how well chance does. The completeness gap is not a number.

    Args:
        evaluator: Has the batch.
        targets: Get the same numbers each.
        baseline: Not used.
        settings: Of the method.

    Raises:
        ValueError: The model does not have the targets.
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2], torch.zeros(1, 8000), ids=["a.wav"])
        >>> explain(evaluator, Targets.from_classes(1, 0), None, Settings(seed=3)).frames.shape
        torch.Size([1, 1, 24])
    """
    frames = torch.zeros(len(evaluator), evaluator.num_frames)
    for row, name, count in zip(frames, evaluator.ids, evaluator.frame_lengths.tolist(), strict=True):
        row[:count] = torch.randn(count, generator=draw_generator(settings.seed, name, _NO_REFERENCE))
    return scores(evaluator, evaluator.targets(targets), frames, n_samples=0)


METHOD = Method(Settings, explain, unit="score")
