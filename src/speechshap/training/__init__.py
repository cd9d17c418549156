"""Training with Lightning: the module, the data module and their callbacks."""

from speechshap.training.confusion_matrix import ConfusionMatrixCallback
from speechshap.training.datamodule import AudioDataModule
from speechshap.training.emotion_module import EmotionModule

__all__ = ["AudioDataModule", "ConfusionMatrixCallback", "EmotionModule"]
