"""Lightning hooks that tie the rooms together."""

from speechshap.callbacks.confusion_matrix import ConfusionMatrixCallback
from speechshap.callbacks.gradient_shap import GradientSHAPCallback

__all__ = ["ConfusionMatrixCallback", "GradientSHAPCallback"]
