"""LightningModule for prediction only."""

from typing import cast

import pytorch_lightning as pl
from torch import Tensor, nn

from speechshap.data import Batch
from speechshap.models import EmotionClassifier, SpeechClassifier
from speechshap.training.precision import refuse_half_precision


class ClassifierModule(pl.LightningModule):
    """LightningModule around a trained classifier of speech that knows nothing of Lightning.

    Args:
        classifier: For instance of :func:`speechshap.models.load_classifier`.
    """

    def __init__(self, classifier: SpeechClassifier) -> None:
        super().__init__()
        self.classifier = cast(nn.Module, classifier)

    def setup(self, stage: str) -> None:
        """Refuse a precision in which the activations of the backbone overflow."""
        if isinstance(self.classifier, EmotionClassifier):
            refuse_half_precision(self.classifier.backbone, self.trainer.precision)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Outputs ``(batch, classes)`` for waveforms ``(batch, time)`` of ``lengths`` ``(batch,)`` samples."""
        return self.classifier(waveforms, lengths)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """What :func:`predict` gives."""
        return predict(cast(SpeechClassifier, self.classifier), batch)


def predict(classifier: SpeechClassifier, batch: Batch) -> Tensor | None:
    """Outputs ``(batch, classes)``; None of utterances that must not share a batch, or where one is too long.

    Who explains these asks the model for each that it can hear.
    """
    is_too_long = classifier.longest is not None and int(batch.lengths.max()) > classifier.longest
    return None if classifier.one_by_one or is_too_long else classifier(batch.waveforms, batch.lengths)
