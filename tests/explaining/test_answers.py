"""What the model says to the evidence, against a model whose answer is known."""

from dataclasses import replace

import numpy as np
import torch
from helpers import make_explanation

from speechshap.attribution import Evaluator, Target
from speechshap.explaining.answers import NUM_RANDOM, answer, with_answers
from speechshap.frames import SAMPLE_RATE
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation

CLASSES = ("loud", "quiet")


def logits_of(waveforms: torch.Tensor) -> torch.Tensor:
    """Logit of "loud": seconds of the sound that are not silent, whatever else."""
    seconds = (waveforms.abs() > 0.05).sum(1) / SAMPLE_RATE
    return torch.stack([seconds, torch.zeros_like(seconds)], 1)


def explained(values: np.ndarray, **fields: object) -> Explanation:
    frames = Estimate(values, np.full_like(values, 0.01), 16)
    return make_explanation(targets=("loud", "quiet"), prediction="loud", frames=frames, **fields)


def evaluator(count: int = 1) -> Evaluator:
    return Evaluator(logits_of, torch.full((count, SAMPLE_RATE), 0.5))


def test_answers_are_those_of_the_model_to_what_is_heard() -> None:
    values = np.zeros((2, 49), np.float32)
    values[0, 10:15] = 1.0  # 100 ms that speak for "loud"; nothing speaks for "quiet"
    (found,) = with_answers([explained(values)], evaluator(), CLASSES, seed=0)
    assert found.evidence is not None
    ((start, end),), nothing = found.evidence.windows
    assert nothing.shape == (0, 2)
    assert 0.1 - 1e-9 <= end - start < 0.11
    sigmoid = lambda seconds: 1 / (1 + np.exp(-seconds))  # noqa: E731
    # Fades of 10 ms on both sides, 90 % of whose samples are above the threshold.
    np.testing.assert_allclose(found.evidence.whole, [sigmoid(1.0), 1 - sigmoid(1.0)], atol=1e-4)
    np.testing.assert_allclose(found.evidence.alone[0], sigmoid(end - start + 0.018), atol=2e-4)
    np.testing.assert_allclose(found.evidence.without[0], sigmoid(1 - (end - start) - 0.002), atol=2e-4)
    assert np.isnan([found.evidence.alone[1], found.evidence.without[1]]).all()
    assert found.evidence.random_alone.shape == (2, NUM_RANDOM)
    np.testing.assert_allclose(found.evidence.random_alone[0], found.evidence.alone[0], atol=5e-3)
    np.testing.assert_allclose(found.evidence.random_without[0], found.evidence.without[0], atol=5e-3)


def test_other_utterances_change_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(2, 49)).astype(np.float32)
    (alone,) = with_answers([explained(values)], evaluator(), CLASSES, seed=3)
    _, beside = with_answers([explained(-values), explained(values)], evaluator(2), CLASSES, seed=3)
    assert alone.evidence is not None
    assert beside.evidence is not None
    np.testing.assert_array_equal(alone.evidence.random_alone, beside.evidence.random_alone)
    np.testing.assert_array_equal(alone.evidence.windows[0], beside.evidence.windows[0])


def test_where_nothing_is_significant_the_model_is_asked_nothing() -> None:
    own = explained(np.zeros((2, 49), np.float32))
    (found,) = with_answers([own], evaluator(), CLASSES, seed=0)
    assert found.evidence is not None
    assert [len(windows) for windows in found.evidence.windows] == [0, 0]
    assert np.isnan(found.evidence.alone).all()


def test_what_is_heard_later_is_what_the_model_was_asked_about() -> None:
    values = np.random.default_rng(0).normal(size=(2, 49)).astype(np.float32)
    own = explained(values)
    (found,) = with_answers([own], evaluator(), CLASSES, seed=0)
    np.testing.assert_array_equal(own.evidence_windows(1), found.evidence_windows(1))
    known_worse = replace(found, frames=replace(found.frames, n_replicates=2))
    np.testing.assert_array_equal(known_worse.evidence_windows(1), found.evidence_windows(1))


def test_an_answer_is_a_probability_or_the_output_of_a_regression() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    assert answer(logits, Target("b"), "abc").item() == torch.softmax(logits, 1)[0, 1].item()
    torch.testing.assert_close(answer(logits, Target("a", "c"), "abc"), torch.tensor([1.0]).sigmoid())
    assert answer(logits, Target("a"), "abc", is_regression=True).item() == 2.0
    assert answer(logits, Target("a", "c"), "abc", is_regression=True).item() == 1.0
