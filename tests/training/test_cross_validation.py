"""What the tests of all folds say together, and the folder that they are in."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from speechshap.training.cross_validation import CrossValidation, FoldRun, Results
from speechshap.training.predictions import AboutTest, Predictions, write_predictions
from speechshap.training.save_predictions import PREDICTIONS

CLASSES = ("calm", "angry", "sad")


def predictions(speakers: Sequence[str], seed: int, num: int = 30) -> Predictions:
    """Of a fold whose test speakers these are; the true classes are the same for every seed."""
    generator = np.random.default_rng([seed, len("".join(speakers))])
    true = np.arange(num) % 3
    return Predictions(
        CLASSES,
        tuple(f"{speakers[0]}-{place}" for place in range(num)),
        ("a.wav",) * num,
        tuple(speakers[place // 3 % len(speakers)] for place in range(num)),  # each utters all classes
        true,
        np.eye(3, dtype=np.float32)[true] + generator.random((num, 3)).astype(np.float32) * 1.4,
        AboutTest("corpus"),
    )


FOLDS = (("Anna", "Ben"), ("Carol", "Dave", "Eve"))


def results(seeds: int = 3) -> Results:
    tests = {
        FoldRun(fold + 1, seed): predictions(speakers, seed)
        for (fold, speakers), seed in itertools.product(enumerate(FOLDS), range(seeds))
    }
    return Results(2, range(seeds), tests)


def joined(found: Results, seed: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    own = [each for run, each in found.tests.items() if seed in (None, run.seed)]
    return tuple(np.concatenate([getattr(each, name) for each in own]) for name in ("true", "predicted", "speakers"))  # type: ignore[return-value]


def test_the_score_of_a_seed_is_that_of_all_its_folds_together() -> None:
    found = results()
    expected = [balanced_accuracy_score(*joined(found, seed)[:2]) for seed in range(3)]
    assert [found.scores_of_seeds[seed].uar.value for seed in range(3)] == pytest.approx(expected)
    over = found.over_seeds()["UAR"]
    assert over == pytest.approx((np.mean(expected), np.std(expected, ddof=1), 3))
    assert found.pooled_scores.uar.value == pytest.approx(np.mean(expected))  # each seed tests the same utterances


def test_the_score_of_a_fold_is_averaged_over_its_seeds() -> None:
    found = results()
    of_folds = [
        np.mean(
            [balanced_accuracy_score(each.true, each.predicted) for run, each in found.tests.items() if run[0] == n]
        )
        for n in (1, 2)
    ]
    assert found.over_folds()["UAR"] == pytest.approx((np.mean(of_folds), np.std(of_folds, ddof=1), 2))


def test_speakers_are_drawn_with_what_all_seeds_predict() -> None:
    found = results()
    true, predicted, speakers = joined(found)
    names = np.unique(speakers)
    drawn = np.random.default_rng(0).integers(len(names), size=(2000, len(names)))
    recalls = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(speakers == names[place]) for place in draw])
        recalls.append(recall_score(true[rows], predicted[rows], average="macro"))
    interval = np.quantile(recalls, [0.025, 0.975])
    assert found.pooled_scores.uar[1:] == pytest.approx(interval)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    validation = CrossValidation(tmp_path, 2, [4, 5])
    write_predictions(validation.folder_of(FoldRun(2, 4)) / PREDICTIONS, predictions(FOLDS[1], 4))
    found = validation.results()
    assert list(found.tests) == [FoldRun(2, 4)]
    assert found.missing == [FoldRun(1, 4), FoldRun(1, 5), FoldRun(2, 5)]
    assert np.isnan(found.over_seeds()["UAR"].deviation)
    np.testing.assert_array_equal(found.tests[FoldRun(2, 4)].probabilities, predictions(FOLDS[1], 4).probabilities)
