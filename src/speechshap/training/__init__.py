"""Training with Lightning: the module, the data module and their callbacks."""

from speechshap.training.checkpoints import load_checkpoint, read_checkpoint
from speechshap.training.classifier_module import ClassifierModule
from speechshap.training.confusion_matrix import ConfusionMatrixCallback
from speechshap.training.datamodule import AudioDataModule
from speechshap.training.emotion_module import EmotionModule

__all__ = [
    "AudioDataModule",
    "ClassifierModule",
    "ConfusionMatrixCallback",
    "EmotionModule",
    "load_checkpoint",
    "read_checkpoint",
]
