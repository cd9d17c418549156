"""SmoothGrad: saliency of the mean gradient over noisy copies of the sound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.input_gradients import input_gradients
from speechshap.attribution.methods import Method
from speechshap.attribution.replicates import sum_dtype
from speechshap.attribution.scores import scores
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError, require_at_least


@dataclass(frozen=True, kw_only=True)
class SmoothGradSettings(Settings):
    """Settings of SmoothGrad.

    Attributes:
        n_samples: Noisy copies of each utterance.
        noise_level: Standard deviation of the noise, as a share of the utterance's own (0.1 is 20 dB below it).

    Raises:
        UserError: A value is not legal.
    """

    n_samples: int = 50
    noise_level: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, n_samples=self.n_samples)
        if not 0 <= self.noise_level < math.inf:
            raise UserError(f"`noise_level` is {self.noise_level}; expected a share of the level, 0 at least")


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: SmoothGradSettings) -> Attribution:
    r"""Score a batch by SmoothGrad (Smilkov et al. 2017).

    .. math::
        S_c[k] = \sum_{t \in k} \left| \frac{1}{n} \sum_{i=1}^n \frac{\partial f_c}{\partial x[t]}(x + \epsilon_i)
        \right|, \qquad \epsilon_i[t] \sim N(0, \sigma^2)

    The paper has :math:`\sigma` as a share of the range of the input, which a single click decides in a waveform; here
    it is one of the standard deviation. It is the saliency of a smoother function, and says no more than
    :mod:`speechshap.attribution.methods.saliency` does: no sign, no sum. There are no standard errors: with few copies
    all scores are too large, since what noise is left counts by its size.

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
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :1].relu(), torch.tensor([[0.0, 2.0]]), ids=["a"])
        >>> settings = SmoothGradSettings(n_samples=1000)
        >>> explain(evaluator, Targets.from_classes(1, 0), None, settings).frames.round(decimals=1)
        tensor([[[0.5000]]])
    """
    targets = evaluator.targets(targets)
    count = settings.n_samples
    utterances = [utterance for utterance in range(len(evaluator)) for _ in range(count)]

    def noisy(row: int) -> Tensor:
        utterance, number = divmod(row, count)
        waveform = evaluator.waveform(utterance)
        generator = draw_generator(settings.seed, evaluator.ids[utterance], number)
        noise = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
        return waveform + settings.noise_level * waveform.std(correction=0) * noise.to(waveform)

    def by_utterance(_: Tensor, gradients: Tensor, own: list[int]) -> dict[int, Tensor]:
        """Sum ``(time,)`` over the copies of each utterance."""
        index = evaluator.indices(own)
        return {
            utterance: gradients[index == utterance, : evaluator.lengths[utterance]].sum(
                0, dtype=sum_dtype(evaluator.device)
            )
            for utterance in dict.fromkeys(own)
        }

    sums: list[dict[int, Tensor]] = [{} for _ in range(targets.classes.shape[1])]
    for _, parts in input_gradients(evaluator, targets, utterances, noisy, by_utterance):
        for so_far, part in zip(sums, parts, strict=True):
            for utterance, gradients in part.items():
                so_far[utterance] = so_far[utterance] + gradients if utterance in so_far else gradients
    frames = torch.zeros(*targets.classes.shape, evaluator.num_frames, device=evaluator.device)
    for target, so_far in enumerate(sums):
        for utterance, gradients in so_far.items():
            size = gradients[None].abs() / count
            frames[utterance, target] = evaluator.sum_frames(size, torch.ones_like(size), [utterance])[0].to(frames)
    return scores(evaluator, targets, frames, count)


METHOD = Method(SmoothGradSettings, explain, unit="|gradient|")
