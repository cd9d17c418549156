"""Lightning hooks that tie the rooms together."""

from speechshap.callbacks.confusion_matrix import ConfusionMatrixCallback

__all__ = ["ConfusionMatrixCallback"]
