"""Pictures: plain arrays in, matplotlib figures out, no global state."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def confusion_matrix_figure(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how often each class is taken for each other one.

    Args:
        counts: ``(true classes, predicted classes)``.
        classes: Their names.

    Returns:
        The figure; colours show each row's share (recall on the diagonal), numbers the counts.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.5 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    recall = np.diagonal(share)[counts.sum(1) > 0].mean() if counts.any() else 0.0
    axes.set_title(f"unweighted average recall {recall:.3f}")
    for row in range(len(classes)):
        for column in range(len(classes)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure
