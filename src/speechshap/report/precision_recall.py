"""Precision and recall at every threshold, of any number of utterances."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

THRESHOLDS = 127
"""As many as TensorBoard takes."""


class PrecisionRecall:
    """Curves of utterances whose label is known, taken in one after the other.

    Where the probabilities of all classes are known, each class has a curve: of the utterances with at least this
    probability of ``happy``, how many are ``happy`` (precision), and how many of all that are ``happy`` are among them
    (recall). Where only that of the prediction is, there is one curve: of the predictions with at least this
    probability, how many are right, and how many of all that are right are among them.
    """

    def __init__(self) -> None:
        self._counts: dict[str, np.ndarray] = {}  # (thresholds, wrong and right)
        self._of_predictions = np.zeros((THRESHOLDS, 2), np.int64)
        self._lacks_classes = False

    def take(self, row: Mapping[str, Any]) -> None:
        """Take in an utterance: a row with label, prediction, and probabilities as far as they are known."""
        label, prediction, probability = row["label"], row["prediction"], row["probability"]
        if label is None or prediction is None or probability is None or not np.isfinite(probability):
            return
        self._of_predictions[_bin(probability), int(prediction == label)] += 1
        names, probabilities = row["class_names"], row["class_probabilities"]
        if names is None or probabilities is None or not np.isfinite(probabilities).all():
            self._lacks_classes = True
            return
        for name, own in zip(names, probabilities, strict=True):
            counts = self._counts.setdefault(name, np.zeros((THRESHOLDS, 2), np.int64))
            counts[_bin(own), int(name == label)] += 1

    def summaries(self) -> list["Summary"]:
        """As TensorBoard shows them; a class that no utterance is labelled with has no curve."""
        # A curve of some of the utterances would be taken for one of all.
        if self._lacks_classes:
            curves = {"explain/the prediction is right": self._of_predictions}
        else:
            curves = {f"explain/the label is {name}": counts for name, counts in self._counts.items()}
        return [_curve(tag, counts) for tag, counts in curves.items() if counts[:, 1].any()]


def _bin(probability: float) -> int:
    """The last of the equally spaced thresholds from 0 to 1 that a probability reaches."""
    return int(np.clip(probability, 0, 1) * (THRESHOLDS - 1))


def _curve(tag: str, counts: np.ndarray) -> "Summary":
    from torch.utils.tensorboard.summary import pr_curve_raw

    false_positive, true_positive = counts[::-1].cumsum(0)[::-1].T  # that reach each threshold
    negatives, positives = counts.sum(0)
    precision = true_positive / np.maximum(1, true_positive + false_positive)
    return pr_curve_raw(
        tag, true_positive, false_positive, negatives - false_positive, positives - true_positive,
        precision, true_positive / positives, THRESHOLDS,
    )  # fmt: skip
