"""Scores of a classifier against scikit-learn and a bootstrap in loops."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

from speechshap.training.classification_scores import (
    ClassificationScores,
    classification_scores,
    count_by_speaker,
    pooled,
)

Utterances = tuple[np.ndarray, np.ndarray, np.ndarray]

SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "uar": balanced_accuracy_score,
    "wa": accuracy_score,
    "f1": lambda true, predicted: f1_score(true, predicted, average="macro", zero_division=0),
}


def utterances(num: int = 120, classes: int = 4, speakers: int = 6, seed: int = 0) -> Utterances:
    """True and predicted classes, the latter right more often than not, and speakers with unlike numbers of them."""
    generator = np.random.default_rng(seed)
    true = generator.choice(classes, num, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    predicted = np.where(generator.random(num) < 0.6, true, generator.integers(classes, size=num))
    return true, predicted, np.array([f"s{int(n)}" for n in speakers * generator.random(num) ** 2])


def scores(true: np.ndarray, predicted: np.ndarray, speakers: np.ndarray, classes: int = 4) -> ClassificationScores:
    counts = count_by_speaker(list(true), list(predicted), list(speakers), classes)
    return classification_scores(counts, n_resamples=300, seed=3)


@pytest.mark.parametrize("missing", [(), (2,), (0, 3)], ids=["all", "one class missing", "two classes missing"])
def test_scores_are_those_of_scikit_learn(missing: tuple[int, ...]) -> None:
    """Also where nobody utters a class that is predicted."""
    true, predicted, speakers = utterances()
    there = ~np.isin(true, missing)
    true, predicted, speakers = true[there], predicted[there], speakers[there]
    found = scores(true, predicted, speakers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*y_pred contains classes not in y_true.*")
        for name, score in SCORES.items():
            assert getattr(found, name).value == pytest.approx(score(true, predicted), rel=1e-12)
    recall = recall_score(true, predicted, labels=range(4), average=None, zero_division=np.nan)
    np.testing.assert_allclose([mean.value for mean in found.recall], recall, rtol=1e-12)


def test_intervals_are_those_of_a_bootstrap_in_loops() -> None:
    """With a class that some resamples lack: it is left out of their means."""
    true, predicted, speakers = utterances(num=40, speakers=5)
    true[true == 0] = 1
    true[speakers == "s2"] = 0
    names = sorted(set(speakers))
    drawn = np.random.default_rng(3).integers(len(names), size=(300, len(names)))
    resampled: dict[str, list[float]] = {name: [] for name in (*SCORES, "recall")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*y_pred contains classes not in y_true.*")
        for draw in drawn:
            rows = np.concatenate([np.flatnonzero(speakers == names[place]) for place in draw])
            for name, score in SCORES.items():
                resampled[name].append(score(true[rows], predicted[rows]))
            own = rows[true[rows] == 0]
            resampled["recall"].append(float((predicted[own] == 0).mean()) if len(own) else np.nan)
    found = scores(true, predicted, speakers)
    assert np.isnan(resampled["recall"]).any()
    for name, values in resampled.items():
        mean = found.recall[0] if name == "recall" else getattr(found, name)
        assert (mean.low, mean.high) == pytest.approx(tuple(np.nanquantile(values, [0.025, 0.975])), rel=1e-12)


@pytest.mark.parametrize("names", [["Anna"], ["Anna", ""]], ids=["one speaker", "an unknown speaker"])
def test_there_is_no_interval_where_speakers_cannot_be_drawn(names: list[str]) -> None:
    true, predicted, _ = utterances()
    found = scores(true, predicted, np.resize(names, len(true)))
    assert found.uar.value == pytest.approx(balanced_accuracy_score(true, predicted))
    for mean in (found.uar, found.wa, found.f1, *found.recall):
        assert np.isnan([mean.low, mean.high]).all()


def test_pooled_counts_are_those_of_all_utterances_at_once() -> None:
    parts = [utterances(seed=seed, speakers=speakers) for seed, speakers in ((0, 3), (1, 7))]
    counts = [count_by_speaker(list(t), list(p), list(s), 4) for t, p, s in parts]
    true, predicted, speakers = (np.concatenate(each) for each in zip(*parts, strict=True))
    expected = count_by_speaker(list(true), list(predicted), list(speakers), 4)
    assert pooled(counts).speakers == expected.speakers
    np.testing.assert_array_equal(pooled(counts).counts, expected.counts)
