"""The classifier as a plain torch module."""

import torch
from torch import Tensor, nn

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone
from speechshap.models.pooling import masked_mean


def mlp_head(num_features: int, num_classes: int) -> nn.Sequential:
    """The default head: ``Linear(features, 256) - ReLU - Dropout(0.1) - Linear(256, classes)``."""
    return nn.Sequential(
        nn.Linear(num_features, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, num_classes)
    )  # fmt: skip


class EmotionClassifier(nn.Module):
    """Backbone, weighted sum of its hidden states, mean over time, head.

    The learnt, softmax-normalised weights over all hidden states are those of SUPERB (Yang et al. 2021, section 3).

    Args:
        backbone: Speech transformer.
        head: Pooled features ``(batch, hidden size)`` to logits ``(batch, classes)``.
        hidden_layer: Hidden state to pool (0 is the stem's output); None weights all of them.

    Raises:
        UserError: The backbone has no such layer.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, hidden_layer: int | None = None) -> None:
        super().__init__()
        if hidden_layer is not None and not 0 <= hidden_layer <= backbone.num_layers:
            raise UserError(f"--model.hidden_layer is {hidden_layer}; this backbone has 0 to {backbone.num_layers}")
        self.backbone = backbone
        self.head = head
        self.hidden_layer = hidden_layer
        if hidden_layer is None:
            self.layer_weights = nn.Parameter(torch.zeros(backbone.num_layers + 1))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify.

        Args:
            waveforms: ``(batch, time)`` float32 as read from the files, zero-padded.
            lengths: ``(batch,)`` int64 samples of each utterance.

        Returns:
            Logits ``(batch, classes)``.
        """
        return self.head(self.embed(waveforms, lengths))

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Pooled features of each utterance, ``(batch, hidden size)``; arguments as for :meth:`forward`."""
        hidden_states, frame_lengths = self.backbone(waveforms, lengths)
        if self.hidden_layer is not None:
            return masked_mean(hidden_states[self.hidden_layer], frame_lengths)
        # The mean over time is linear: pooling first keeps the sum over layers small.
        pooled = torch.stack([masked_mean(state, frame_lengths) for state in hidden_states])  # (layers, batch, size)
        return torch.einsum("l,lbd->bd", self.layer_weights.softmax(0).to(pooled.dtype), pooled)
