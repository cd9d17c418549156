from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score
from torch.utils.tensorboard.summary import pr_curve

from speechshap.report.precision_recall import THRESHOLDS, PrecisionRecall

CLASSES = ("happy", "sad", "calm")


def rows(count: int = 200, has_classes: bool = True) -> list[dict[str, Any]]:
    """Predictions that are right more often than not; nobody is calm."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, count)
    logits = generator.normal(size=(count, 3)) + np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [
        {
            "label": CLASSES[label], "prediction": CLASSES[own.argmax()], "probability": own.max(),
            "class_names": list(CLASSES) if has_classes else None, "class_probabilities": own if has_classes else None,
        }
        for label, own in zip(labels, probabilities, strict=True)
    ]  # fmt: skip


def curves(of: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Curves ``(6, thresholds)`` by tag: true and false positives, true and false negatives, precision, recall."""
    found = PrecisionRecall()
    for row in of:
        found.take(row)
    values = [value for part in found.summaries() for value in part.value]
    return {value.tag: np.reshape(value.tensor.float_val, (6, THRESHOLDS)) for value in values}


def test_curves_of_classes_are_those_of_summary_writer_and_a_class_without_utterances_has_none() -> None:
    made = rows()
    found = curves(made)
    assert list(found) == ["explain/the label is happy", "explain/the label is sad"]
    for number, (tag, curve) in enumerate(found.items()):
        labels = np.array([row["label"] == CLASSES[number] for row in made])
        scores = np.array([row["class_probabilities"][number] for row in made])
        (expected,) = pr_curve(tag, labels, scores).value
        np.testing.assert_allclose(curve, np.reshape(expected.tensor.float_val, curve.shape), atol=1e-6)


def test_without_the_other_probabilities_the_curve_is_of_right_predictions_as_scikit_learn_has_it() -> None:
    made = rows(has_classes=False)
    (curve,) = curves([*made, made[0] | {"label": None}, made[0] | {"probability": None}]).values()
    is_right = [row["label"] == row["prediction"] for row in made]
    for threshold in (0, 50, 70, 90):
        reaches = [row["probability"] >= threshold / (THRESHOLDS - 1) for row in made]
        assert curve[4, threshold] == pytest.approx(precision_score(is_right, reaches, zero_division=0))
        assert curve[5, threshold] == pytest.approx(recall_score(is_right, reaches))


def test_some_utterances_without_the_other_probabilities_give_no_curves_of_classes() -> None:
    assert list(curves([*rows(5), *rows(5, has_classes=False)])) == ["explain/the prediction is right"]


def test_without_labels_there_is_no_curve() -> None:
    assert curves([row | {"label": None} for row in rows(5)]) == {}
