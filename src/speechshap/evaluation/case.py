"""What explanations are judged on, and an explanation that is judged: all that the metrics ask for."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechshap.attribution import Attribution, Baseline, Evaluator, Targets, UtteranceError
from speechshap.data import Stretch
from speechshap.evaluation.deletion import Curves, deletion_curves, insertion_curves
from speechshap.evaluation.infidelity import Perturbations, perturb
from speechshap.evaluation.localization import frames_inside
from speechshap.evaluation.replacement import draw_references
from speechshap.spaces import Bands


class Case:
    """Utterances that explanations are judged on, with what all explanations of them have in common.

    Args:
        evaluator: Has the batch and the model.
        targets: One for each utterance.
        operators: What replaced frames are taken from, by name.
        stretches: Where the evidence of each utterance is known to be; None, or an empty list, where it is not.
        speech: Stretch of each utterance within which explanations are compared with the known evidence; None takes
            whole utterances.
        seed: Of all draws.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        targets: Targets,
        operators: Mapping[str, Baseline],
        stretches: Sequence[Sequence[Stretch]] | None = None,
        speech: Sequence[Stretch | None] | None = None,
        seed: int = 0,
    ) -> None:
        self.evaluator = evaluator
        self.targets = targets
        self.operators = operators
        self.stretches = [()] * len(evaluator) if stretches is None else stretches
        self.speech = [None] * len(evaluator) if speech is None else speech
        self.seed = seed
        self._perturbations: dict[str, Perturbations] = {}

    @cached_property
    def output(self) -> Tensor:
        """Explained outputs, ``(batch,)``."""
        return self.evaluator.targets(self.targets)(self.evaluator.logits)[:, 0]

    @cached_property
    def references(self) -> dict[str, list[Tensor]]:
        """A reference for each utterance, by operator."""
        return {name: draw_references(self.evaluator, draw, self.seed) for name, draw in self.operators.items()}

    @cached_property
    def valid(self) -> Tensor:
        """Frames of the utterances, ``(batch, frames)`` bool."""
        lengths = self.evaluator.frame_lengths[:, None]
        return torch.arange(self.evaluator.num_frames, device=self.evaluator.device) < lengths

    @cached_property
    def truth(self) -> Tensor:
        """Frames of the known evidence, ``(batch, frames)`` bool."""
        return self._padded([self._inside(row, own) for row, own in enumerate(self.stretches)])

    @cached_property
    def judged(self) -> Tensor:
        """Frames that are compared with the known evidence, ``(batch, frames)`` bool."""
        own = [self._inside(row, [speech]) if speech else None for row, speech in enumerate(self.speech)]
        everywhere = [torch.ones(length, dtype=torch.bool) for length in self.evaluator.frame_lengths.tolist()]
        return self._padded([whole if part is None else part for part, whole in zip(own, everywhere, strict=True)])

    def perturbations(self, operator: str) -> Perturbations:
        """Falls of the output without stretches, for this operator."""
        if operator not in self._perturbations:
            self._perturbations[operator] = perturb(
                self.evaluator, self.targets, self.references[operator], seed=self.seed
            )
        return self._perturbations[operator]

    def _inside(self, utterance: int, stretches: Sequence[Stretch]) -> Tensor:
        length, name = self.evaluator.lengths[utterance], self.evaluator.ids[utterance]
        try:
            return frames_inside(stretches, self.evaluator.grid, length)
        except ValueError as error:
            raise UtteranceError(name, f"{name}: {error}") from error

    def _padded(self, rows: Sequence[Tensor]) -> Tensor:
        return pad_sequence(list(rows), batch_first=True).to(self.evaluator.device)


class Judged:
    """An explanation of the utterances of a case.

    Args:
        case: The utterances.
        attribution: Their explanation, of the case's targets.
        explain: Explains once more: another evaluator of the same utterances, with draws of this seed.
        seed: Of the draws of the explanation.
        bands: Of its time-frequency attributions, if it has any.

    Raises:
        UtteranceError: An attribution is not finite; the error names the utterance.
    """

    def __init__(
        self,
        case: Case,
        attribution: Attribution,
        explain: Callable[[Evaluator, int], Attribution],
        seed: int = 0,
        bands: Bands | None = None,
    ) -> None:
        self.case = case
        self.attribution = attribution
        self.frames = attribution.frames[:, 0]
        self.seed = seed
        self.bands = bands
        self._explain = explain
        self._curves: dict[tuple[str, str], Curves] = {}
        finite = self.frames.isfinite().all(1).tolist()
        if not all(finite):
            name = case.evaluator.ids[finite.index(False)]
            raise UtteranceError(name, f"an attribution of {name} is not finite")

    def again(self, evaluator: Evaluator, seed: int | None = None) -> Tensor:
        """Frames ``(batch, frames)`` of another explanation; with the same draws unless a seed is given."""
        return self._explain(evaluator, self.seed if seed is None else seed).frames[:, 0]

    def curves(self, kind: Literal["deletion", "insertion"], operator: str) -> Curves:
        """Curves of this kind, for this operator."""
        if (kind, operator) not in self._curves:
            draw = deletion_curves if kind == "deletion" else insertion_curves
            case = self.case
            curves = draw(case.evaluator, case.targets, self.frames, case.references[operator])
            self._curves[kind, operator] = curves
        return self._curves[kind, operator]
