"""What the model says to the evidence alone, to the sound without it, and to as much at random."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from speechshap.attribution import Evaluator, Target
from speechshap.explaining.cues import measured_cues
from speechshap.frames import SAMPLE_RATE
from speechshap.report.sound import kept, removed
from speechshap.results.evidence import Evidence, evidence_windows, random_windows
from speechshap.results.explanation import Explanation

NUM_RANDOM = 4
"""Random choices of windows that the evidence is compared with."""


def with_answers(
    explanations: Sequence[Explanation], evaluator: Evaluator, classes: Sequence[str], seed: int
) -> list[Explanation]:
    """Explanations with their evidence, which the model is asked about: ten forward passes for each target.

    Args:
        explanations: Of the utterances of the evaluator, in their order.
        evaluator: Has the batch and the model.
        classes: Names of the model's outputs.
        seed: Of the random choices, which do not depend on the other utterances.
    """
    windows = [
        [evidence_windows(own.evidence_weights(target), own.frame_edges) for target in range(len(own.targets))]
        for own in explanations
    ]
    utterances: list[int] = []
    envelopes = []
    for utterance, (own, of_targets) in enumerate(zip(explanations, windows, strict=True)):
        sound = evaluator.waveform(utterance)
        is_speech = measured_cues(sound, own.grid)["pause"] == 0
        for target, chosen in enumerate(of_targets):
            if not len(chosen):
                continue
            generator = np.random.default_rng((seed, target))
            draws = [random_windows(chosen, own.frame_edges, is_speech, generator) for _ in range(NUM_RANDOM)]
            parts = [chosen, *draws]
            envelopes += [each(part, own.duration) for each in (kept, removed) for part in parts]
            utterances += [utterance] * 2 * len(parts)

    def heard(row: int) -> Tensor:
        sound = evaluator.waveform(utterances[row])
        return sound * torch.from_numpy(envelopes[row].at(len(sound), SAMPLE_RATE)).to(sound)

    logits = evaluator.evaluate(utterances, heard).double().cpu() if utterances else torch.zeros(0, len(classes))
    rows = iter(logits.split(2 * (1 + NUM_RANDOM)))
    result = []
    for utterance, (own, of_targets) in enumerate(zip(explanations, windows, strict=True)):
        is_regression = own.prediction is None
        unknown = torch.full((2 * (1 + NUM_RANDOM),), torch.nan, dtype=torch.float64)
        answers = torch.stack(
            [
                answer(next(rows), target, classes, is_regression) if len(chosen) else unknown
                for target, chosen in zip(own.targets, of_targets, strict=True)
            ]
        )
        whole = evaluator.logits[utterance, None].double().cpu()
        alone, without = answers.float().numpy().reshape(len(own.targets), 2, -1).swapaxes(0, 1)
        evidence = Evidence(
            tuple(of_targets),
            np.array([answer(whole, target, classes, is_regression)[0] for target in own.targets], np.float32),
            alone[:, 0], without[:, 0], alone[:, 1:], without[:, 1:],
        )  # fmt: skip
        result.append(replace(own, evidence=evidence))
    return result


def answer(logits: Tensor, target: Target, classes: Sequence[str], is_regression: bool = False) -> Tensor:
    """What a model says of a target: the probability of a class, ``(rows,)``.

    Of a contrast, that of the class if it is one of the two; of a regression, the output or the difference of two.

    Args:
        logits: ``(rows, classes)``.
        target: Class or contrast.
        classes: Names of the outputs.
        is_regression: Whether the outputs are no classes.

    Example:
        >>> logits = torch.tensor([[0.2, 0.2, 0.6]]).log()
        >>> answer(logits, Target("c"), "abc"), answer(logits, Target("c", "a"), "abc")
        (tensor([0.6000]), tensor([0.7500]))
    """
    own = classes.index(target.label)
    if target.against is not None:
        difference = logits[:, own] - logits[:, classes.index(target.against)]
        return difference if is_regression else difference.sigmoid()
    return logits[:, own] if is_regression else logits.softmax(1)[:, own]
