"""LightningModule that is the classifier in it."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from speechshap.frames import FrameGrid
from speechshap.models import Backbone, EmotionClassifier
from speechshap.spaces import Space


class DelegatingModule(pl.LightningModule):
    """LightningModule that can be explained as the classifier in it can.

    Attributes:
        classes: Names of the emotions, in the order of the class indices.
        classifier: Backbone, pooling and head.
        is_regression: False: the outputs are logits of classes.
        one_by_one: False: utterances of any lengths can share a batch.
    """

    is_regression = False
    one_by_one = False
    classes: list[str]
    classifier: EmotionClassifier

    @property
    def backbone(self) -> Backbone:
        """The speech transformer."""
        return self.classifier.backbone

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers that contribute to the head's input, by name (``layer_1``)."""
        return self.classifier.layers

    @property
    def spaces(self) -> Mapping[str, Space]:
        """Where paths may run other than between waveforms, by name."""
        return self.classifier.spaces

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie on the waveform."""
        return self.classifier.grid

    @property
    def window(self) -> int | None:
        """Samples that go through the backbone at once; a longer recording is split into windows."""
        return self.classifier.window

    @property
    def longest(self) -> int | None:
        """Samples that the longest utterance may have; None where it may be of any length."""
        return self.classifier.longest

    @property
    def shortest(self) -> int:
        """Samples that the shortest utterance must have."""
        return self.classifier.shortest

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the outputs beside the weights; see :class:`speechshap.models.SpeechClassifier`."""
        return {**self.classifier.identity, "classes": list(self.classes)}

    @property
    def gradient_checkpointing(self) -> bool | None:
        """Whether the backbone computes activations again in the backward pass instead of keeping them."""
        return self.classifier.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool | None) -> None:
        self.classifier.gradient_checkpointing = enabled

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify waveforms ``(batch, time)`` of ``lengths`` ``(batch,)`` samples: logits ``(batch, classes)``."""
        return self.classifier(waveforms, lengths)

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Pooled features of each utterance, ``(batch, pooled size)``; arguments as for :meth:`forward`."""
        return self.classifier.embed(waveforms, lengths)

    def attention_weights(self, waveforms: Tensor, lengths: Tensor) -> dict[int, Tensor]:
        """Attention weights of the layers; see :meth:`speechshap.models.EmotionClassifier.attention_weights`."""
        return self.classifier.attention_weights(waveforms, lengths)
