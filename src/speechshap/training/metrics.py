"""The metrics of validation and test."""

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassRecall

RECALL = "val/uar"
"""The metric that chooses epochs and trials: the higher, the better."""


class UnweightedAverageRecall(MulticlassRecall):
    """Mean recall over the classes that occur among the true ones, as scikit-learn's balanced accuracy.

    The macro average of torchmetrics counts a class that is predicted but never true as a recall of 0.

    Example:
        >>> import torch
        >>> metric = UnweightedAverageRecall(3)
        >>> metric(torch.tensor([0, 2, 1, 1]), torch.tensor([0, 0, 1, 1]))
        tensor(0.7500)
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none")

    def compute(self) -> Tensor:
        """The mean."""
        recalls, (hits, _, _, misses) = super().compute(), self._final_state()
        return recalls[hits + misses > 0].mean()


def classification_metrics(num_classes: int, stage: str) -> MetricCollection:
    """Unweighted average recall, accuracy (weighted average recall), and macro F1.

    Args:
        num_classes: Outputs of the model.
        stage: Their names start with it.

    Example:
        >>> list(classification_metrics(4, "val"))
        ['val/f1', 'val/uar', 'val/wa']
    """
    return MetricCollection(
        {
            "uar": UnweightedAverageRecall(num_classes),
            "wa": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
        },
        prefix=f"{stage}/",
    )
