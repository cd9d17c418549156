"""The metrics of validation and test."""

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassRecall


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
            "uar": MulticlassRecall(num_classes, average="macro"),
            "wa": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
        },
        prefix=f"{stage}/",
    )
