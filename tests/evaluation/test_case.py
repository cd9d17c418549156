import pytest
import torch
from evaluation.toys import SAMPLES

from speechshap.attribution import Evaluator, Targets, UtteranceError, silence
from speechshap.data import Stretch
from speechshap.evaluation.case import Case
from speechshap.frames import SAMPLE_RATE, FrameGrid


def case(stretches: list[list[Stretch]] | None = None, speech: list[Stretch | None] | None = None) -> Case:
    """Two utterances of five and three frames of 1 ms, whose output is the sum of their samples."""
    evaluator = Evaluator(
        lambda waveforms, lengths: torch.stack([0 * waveforms.sum(1), waveforms.sum(1)], 1),
        torch.ones(2, 80), [80, 48], ["a", "b"], grid=FrameGrid(16, 16),
    )  # fmt: skip
    return Case(evaluator, Targets.from_classes(2, 1), {"silence": silence}, stretches, speech)


def test_frames_of_the_evidence_and_of_the_utterances() -> None:
    own = case([[Stretch(0.001, 0.003)], []])
    assert own.truth.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert own.valid.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert own.judged.int().tolist() == own.valid.int().tolist()
    assert own.output.tolist() == [80.0, 48.0]


def test_explanations_are_compared_within_the_speech() -> None:
    own = case([[Stretch(0.001, 0.002)], []], [Stretch(0.001, 0.004), None])
    assert own.judged.int().tolist() == [[0, 1, 1, 1, 0], [1, 1, 1, 0, 0]]


def test_evidence_that_ends_after_the_utterance_names_it() -> None:
    with pytest.raises(UtteranceError, match=r"^b: a stretch ends at 0\.004 s, and the utterance at 0\.003 s$") as told:
        _ = case([[], [Stretch(0.001, 0.004)]]).truth
    assert told.value.utterance_id == "b"


def test_stretches_that_are_replaced_are_the_same_for_all_explanations() -> None:
    calls: list[int] = []

    def model(waveforms: torch.Tensor) -> torch.Tensor:
        calls.append(len(waveforms))
        return waveforms[:, :2]

    evaluator = Evaluator(model, torch.ones(1, SAMPLE_RATE // 100), grid=SAMPLES)
    own = Case(evaluator, Targets.from_classes(1, 1), {"silence": silence})
    first = own.perturbations("silence")
    count = sum(calls)
    assert own.perturbations("silence") is first
    assert sum(calls) == count
