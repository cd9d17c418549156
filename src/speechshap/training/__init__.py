"""Training with Lightning: the module, the data module and their callbacks."""

from speechshap.training.checkpoint_io import WholeCheckpointIO
from speechshap.training.checkpoints import find_checkpoint, load_checkpoint, read_checkpoint
from speechshap.training.classifier_module import ClassifierModule
from speechshap.training.confusion_matrix import ConfusionMatrixCallback
from speechshap.training.datamodule import AudioDataModule
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.epoch_seed import EpochSeed
from speechshap.training.hyperparameters import Hyperparameters
from speechshap.training.run_checkpoint import RunCheckpoint
from speechshap.training.save_card import SaveModelCard
from speechshap.training.save_predictions import SavePredictions

__all__ = [
    "AudioDataModule",
    "ClassifierModule",
    "ConfusionMatrixCallback",
    "EmotionModule",
    "EpochSeed",
    "Hyperparameters",
    "RunCheckpoint",
    "SaveModelCard",
    "SavePredictions",
    "WholeCheckpointIO",
    "find_checkpoint",
    "load_checkpoint",
    "read_checkpoint",
]
