"""The classifier as a plain torch module."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models.backbone import Backbone
from speechshap.models.pooling import masked_mean
from speechshap.models.standardization import Standardization
from speechshap.models.windows import Window, split_into_windows, split_waveform
from speechshap.spaces import Space

MIN_WINDOW_SECONDS = 1.0


def mlp_head(num_features: int, num_classes: int, dropout: float = 0.1) -> nn.Sequential:
    """The default head: ``Linear(features, 256) - ReLU - Dropout(dropout) - Linear(256, classes)``."""
    return nn.Sequential(
        nn.Linear(num_features, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, num_classes)
    )  # fmt: skip


class EmotionClassifier(nn.Module):
    """Backbone, mean over time, weighted sum of the hidden states, head.

    The learnt, softmax-normalised weights over all hidden states are those of SUPERB (Yang et al. 2021, section 3).
    Before they sum them, the mean of each state over time can be standardised by the training utterances.

    A recording longer than a window goes through the backbone in overlapping windows, whose frames are joined before
    the mean: one prediction, and one differentiable function, for all of it. Each window is computed again in the
    backward pass, so that the memory is that of a single one, however long the recording is. Attention then reaches no
    further than a window, and the group norm of base models normalises over one.

    Args:
        backbone: Speech transformer.
        head: Pooled features ``(batch, hidden size)`` to logits ``(batch, classes)``.
        hidden_layer: Hidden state to pool (0 is the stem's output); None weights all of them.
        window_seconds: Length of a window, at most what the backbone takes; None splits a recording only where it must.
        classes: Names of the outputs.
        is_regression: Whether the outputs are values and not logits of classes.
        standardize: Whether each pooled state is standardised; ``standardization`` has to be fitted for this.

    Attributes:
        standardization: Of the pooled states; None without one.
        window: Samples that go through the backbone at once; None: all.
        one_by_one: False: utterances of any lengths can share a batch.

    Raises:
        UserError: The backbone has no such layer, or the window is too short.

    Example:
        >>> from speechshap.models import build_backbone
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 2,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> classifier = EmotionClassifier(backbone, mlp_head(32, 2), hidden_layer=1, classes=["calm", "angry"])
        >>> classifier(torch.zeros(2, 1200), torch.tensor([1200, 800])).shape, list(classifier.layers)
        (torch.Size([2, 2]), ['layer_1'])
    """

    one_by_one = False

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        hidden_layer: int | None = None,
        window_seconds: float | None = 20.0,
        classes: Sequence[str] | None = None,
        is_regression: bool = False,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        if hidden_layer is not None and not 0 <= hidden_layer <= backbone.num_layers:
            raise UserError(f"`hidden_layer` is {hidden_layer}; this backbone has 0 to {backbone.num_layers}")
        if window_seconds is not None and not window_seconds >= MIN_WINDOW_SECONDS:
            raise UserError(f"`window_seconds` is {window_seconds}; expected {MIN_WINDOW_SECONDS:g} at least")
        self.backbone = backbone
        self.head = head
        self.hidden_layer = hidden_layer
        self.window = backbone.window(window_seconds)
        self.classes = None if classes is None else tuple(classes)
        self.is_regression = is_regression
        num_states = backbone.num_layers + 1 if hidden_layer is None else 1
        self.standardization = Standardization(num_states, backbone.hidden_size) if standardize else None
        if hidden_layer is None:
            self.layer_weights = nn.Parameter(torch.zeros(num_states))

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers that contribute to the head's input, by name (``layer_1``)."""
        layers = self.backbone.layers
        contributing = len(layers) if self.hidden_layer is None else self.hidden_layer
        return dict(list(layers.items())[:contributing])

    @property
    def spaces(self) -> dict[str, Space]:
        """Where paths may run other than between waveforms, by name."""
        return self.backbone.spaces

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie on the waveform."""
        return self.backbone.grid

    @property
    def longest(self) -> int | None:
        """Samples that the longest utterance may have; None where it may be of any length."""
        return self.backbone.longest if self.window is None else None

    @property
    def shortest(self) -> int:
        """Samples that the shortest utterance must have."""
        return self.backbone.shortest

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the outputs beside the weights; see :class:`speechshap.models.SpeechClassifier`."""
        return {
            "backbone": self.backbone.export_config(),
            "padding": self.backbone.padding,
            "normalize_last_state": self.backbone.normalize_last_state,
            "head": repr(self.head),
            "hidden_layer": self.hidden_layer,
            "window": self.window,
            "grid": asdict(self.grid),
            "classes": None if self.classes is None else list(self.classes),
            "is_regression": self.is_regression,
            "standardize": self.standardization is not None,
        }

    @property
    def gradient_checkpointing(self) -> bool | None:
        """Whether the backbone computes activations again in the backward pass instead of keeping them."""
        return self.backbone.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool | None) -> None:
        self.backbone.gradient_checkpointing = bool(enabled)

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
        """What the head takes of each utterance, ``(batch, hidden size)``; arguments as for :meth:`forward`."""
        return self.combine(self.pool(waveforms, lengths))

    def attention_weights(self, waveforms: Tensor, lengths: Tensor) -> dict[int, Tensor]:
        """Attention weights of the layers that contribute to the head's input; arguments as for :meth:`forward`.

        Returns:
            By number of the layer, the first being 1, ``(batch, heads, frames, frames)``; empty where the head takes
            the stem's output.

        Raises:
            ValueError: A recording is longer than a window, within which the layers attend.
        """
        if self.window is not None and waveforms.shape[1] > self.window:
            raise ValueError(
                f"the waveforms have {waveforms.shape[1]} samples; attention reaches no further than a window of "
                f"{self.window}"
            )
        layers = range(1, len(self.layers) + 1)
        return self.backbone.attention_weights(waveforms, lengths, layers) if layers else {}

    def pool(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean over time of each hidden state that the head takes; arguments as for :meth:`forward`.

        Returns:
            ``(states, batch, hidden size)``, as the backbone has them.
        """
        prepared = self.backbone.prepare(waveforms, lengths)
        if self.window is None or prepared.shape[1] <= self.window:
            states, frame_lengths = self.backbone.encode(prepared, lengths, self._states)
            return torch.stack([masked_mean(state, frame_lengths) for state in states])
        rows = zip(prepared, lengths.tolist(), strict=True)
        return torch.stack([self._pool_windows(row[:length], self.window) for row, length in rows], dim=1)

    def combine(self, pooled: Tensor) -> Tensor:
        """The head's input ``(batch, hidden size)`` from pooled states ``(states, batch, hidden size)``.

        All of this is linear, as the mean over time is: pooling first keeps it small.
        """
        if self.standardization is not None:
            pooled = self.standardization(pooled)
        if self.hidden_layer is not None:
            return pooled[0]
        return torch.einsum("l,lbd->bd", self.layer_weights.softmax(0).to(pooled.dtype), pooled)

    @property
    def _states(self) -> list[int] | None:
        return None if self.hidden_layer is None else [self.hidden_layer]

    def _pool_windows(self, waveform: Tensor, window: int) -> Tensor:
        """Mean of each state over the frames of a prepared recording ``(time,)``: ``(states, hidden size)``."""
        grid = self.backbone.grid
        windows = split_into_windows(len(waveform), window, grid)
        sums = [
            checkpoint(self._sum_window, part, *pieces, use_reentrant=False, preserve_rng_state=self.training)
            if torch.is_grad_enabled()
            else self._sum_window(part, *pieces)
            for part, pieces in zip(windows, split_waveform(waveform, windows), strict=True)
        ]
        return torch.stack(sums).sum(0) / grid.num_frames(len(waveform))

    def _sum_window(self, window: Window, *pieces: Tensor) -> Tensor:
        stretch = torch.cat(pieces)[None]
        length = torch.tensor([stretch.shape[1]], device=stretch.device)
        states, _ = self.backbone.encode(stretch, length, self._states)
        return torch.stack([state[0, window.first : window.last].sum(0) for state in states])
