import copy

import numpy as np
import pytest
import torch

from speechshap.evaluation import MeanOverUtterances, area_under_curve, mean_of_speakers, mean_with_interval
from speechshap.evaluation.sparseness import gini


def test_the_interval_covers_the_mean_of_new_speakers() -> None:
    """Utterances of a speaker have half of their variance in common, which intervals over utterances would not see."""
    generator = np.random.default_rng(0)
    covered = []
    speakers = np.repeat([f"speaker {number}" for number in range(20)], 10)
    for _ in range(300):
        values = np.repeat(generator.standard_normal(20), 10) + generator.standard_normal(200)
        mean = mean_with_interval(values, list(speakers), n_resamples=400)
        covered.append(mean.low <= 0 <= mean.high)
    assert 0.89 <= np.mean(covered) <= 0.98


def test_unknown_values_are_left_out() -> None:
    mean = mean_with_interval(np.array([1.0, np.nan, 3.0]), ["a", "b", "c"])
    assert mean.value == 2
    assert all(np.isnan(mean_with_interval(np.array([np.nan]), ["a"])))
    one_speaker = mean_with_interval(np.array([1.0, 2.0]), ["a", "a"])
    assert one_speaker.value == 1.5
    assert np.isnan(one_speaker.low)


def test_of_very_many_speakers_the_interval_is_that_of_a_long_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 9, 2000)
    sums = counts * generator.normal(3, 1, 2000)
    drawn = mean_of_speakers(sums, counts, n_resamples=10_000)
    monkeypatch.setattr("speechshap.evaluation.scores._MANY_SPEAKERS", 2000)
    found = mean_of_speakers(sums, counts)
    assert found.value == drawn.value == pytest.approx(sums.sum() / counts.sum())
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.05)
    assert found.low == pytest.approx(drawn.low, abs=0.1 * (drawn.high - drawn.low))


def test_batches_are_gathered() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, truth = torch.randn(7, 20, generator=generator), torch.rand(7, 20, generator=generator) < 0.5
    valid, speakers = torch.ones_like(truth), list("aabbccd")
    metric = MeanOverUtterances(area_under_curve)
    for part in (slice(0, 4), slice(4, 7)):
        metric.update(scores[part], truth[part], valid[part], speakers=speakers[part])
    expected = mean_with_interval(area_under_curve(scores, truth, valid).double().numpy(), speakers)
    found = copy.deepcopy(metric).compute()
    assert found.value == pytest.approx(expected.value)
    assert found.low < found.value < found.high


def test_it_starts_anew_after_reset() -> None:
    metric = MeanOverUtterances(gini)
    metric.update(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool), speakers=["a"])
    metric.reset()
    metric.update(torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 4, dtype=torch.bool), speakers=["a"])
    assert metric.compute().value == 0.75
