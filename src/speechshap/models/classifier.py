"""The classifier as a plain torch module."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models.backbone import Backbone
from speechshap.models.features import Features, map_windows
from speechshap.models.pooling import Pooling, frame_mask, join_mean_std
from speechshap.models.standardization import Standardization, merge_moments, moments_of
from speechshap.spaces import Space

MIN_WINDOW_SECONDS = 1.0


class EmotionClassifier(nn.Module):
    """Backbone, weighted sum of the hidden states, pooling over time, head.

    The learnt, softmax-normalised weights over all hidden states are those of SUPERB (Yang et al. 2021, section 3).

    A pooling that learns nothing from frames is taken of each state, and the weights sum what it gives. For the mean
    that is the same, and small. Of ``mean_std`` the deviations of the states are weighted, which is not the deviation
    of the weighted sum; but so they are exact from one small vector for each state, which need not be computed again
    while a head is trained. Any other pooling hears the frames of the weighted sum.

    What the weights sum, statistics or frames, can be standardised by the training utterances before.

    A recording longer than a window goes through the backbone in overlapping windows, whose frames are joined before
    the pooling: one prediction, and one differentiable function, for all of it. Each window is computed again in the
    backward pass, so that the memory is that of a single one, however long the recording is. Attention then reaches no
    further than a window, and the group norm of base models normalises over one.

    Args:
        backbone: Speech transformer.
        head: Pooled features ``(batch, pooled size)`` to logits ``(batch, classes)``.
        hidden_layer: Hidden state to pool (0 is the stem's output); None weights all of them.
        window_seconds: Length of a window, at most what the backbone takes; None splits a recording only where it must.
        classes: Names of the outputs.
        is_regression: Whether the outputs are values and not logits of classes.
        standardize: Whether each state is standardised; ``standardization`` has to be fitted for this.
        pooling: Of frames of the backbone; None takes the mean.

    Attributes:
        standardization: Of the features; None without one.
        window: Samples that go through the backbone at once; None: all.
        one_by_one: False: utterances of any lengths can share a batch.

    Raises:
        UserError: The backbone has no such layer, or the window is too short.

    Example:
        >>> from speechshap.models import build_backbone, mlp_head
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
        pooling: Pooling | None = None,
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
        self.pooling = Pooling("mean", backbone.hidden_size) if pooling is None else pooling
        size = backbone.hidden_size if self.hears_frames else self.pooling.size
        self.standardization = Standardization(num_states, size) if standardize else None
        if hidden_layer is None:
            self.layer_weights = nn.Parameter(torch.zeros(num_states))

    @property
    def hears_frames(self) -> bool:
        """Whether features are frames, and not a statistic of each state."""
        return self.pooling.hears_frames

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
        adapters = self.backbone.adapters
        return {
            "backbone": self.backbone.export_config(),
            **({} if adapters is None else {"adapters": adapters}),
            "padding": self.backbone.padding,
            "normalize_last_state": self.backbone.normalize_last_state,
            "pooling": repr(self.pooling),
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
        """What the head takes of each utterance, ``(batch, pooled size)``; arguments as for :meth:`forward`."""
        if not self.hears_frames:
            return self.embed_features(self.features(waveforms, lengths))
        # The states of a window are summed before the next one is heard: those of all windows could be too many.
        frames, frame_lengths = self._frames(waveforms, lengths, lambda states: self._combine(states)[None])
        return self.pooling(frames[0], frame_lengths)

    def features(self, waveforms: Tensor, lengths: Tensor) -> Features:
        """All that comes before what is trained beside a frozen backbone; arguments as for :meth:`forward`.

        Returns:
            Where the pooling learns nothing from frames, its statistic of each hidden state that the head takes, as
            the only frame of an utterance, ``(states, batch, 1, pooled size)``; else the frames of these states.
        """
        if self.hears_frames:
            return Features(*self._frames(waveforms, lengths, lambda states: states))
        values = self._statistics(waveforms, lengths)
        return Features(values[:, :, None], torch.ones_like(lengths))

    def embed_features(self, features: Features) -> Tensor:
        """What the head takes of each utterance, ``(batch, pooled size)``."""
        frames = self._combine(features.values)
        return self.pooling(frames, features.frame_lengths) if self.hears_frames else frames[:, 0]

    def classify(self, features: Features) -> Tensor:
        """Logits ``(batch, classes)`` of features, the same that :meth:`forward` gives for their waveforms."""
        return self.head(self.embed_features(features))

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

    @property
    def _states(self) -> list[int] | None:
        return None if self.hidden_layer is None else [self.hidden_layer]

    def _combine(self, values: Tensor) -> Tensor:
        """Weighted sum ``(batch, frames, size)`` of states ``(states, batch, frames, size)``, standardised before."""
        if self.standardization is not None:
            values = self.standardization(values)
        if self.hidden_layer is not None:
            return values[0]
        return torch.einsum("l,lbfd->bfd", self.layer_weights.softmax(0).to(values.dtype), values)

    def _frames(
        self, waveforms: Tensor, lengths: Tensor, function: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What a function makes of states, both ``(..., batch, frames, size)``, and the frames of each utterance."""
        prepared = self.backbone.prepare(waveforms, lengths)
        if self.window is None or prepared.shape[1] <= self.window:
            states, frame_lengths = self.backbone.encode(prepared, lengths, self._states)
            outside = ~frame_mask(states[0].shape[1], frame_lengths)[..., None]
            # Zeros, so that what is undefined after an utterance reaches no gradient of a weight either.
            return function(torch.stack([state.masked_fill(outside, 0) for state in states])), frame_lengths
        rows = [
            torch.cat(map_windows(function, self.backbone, row[:length], self.window, self._states), 2)[:, 0]
            for row, length in zip(prepared, lengths.tolist(), strict=True)
        ]
        frame_lengths = torch.tensor([row.shape[1] for row in rows], device=lengths.device)
        padded = pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True)  # (batch, frames, states, size)
        return padded.permute(2, 0, 1, 3), frame_lengths

    def _statistics(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The pooling of each state, ``(states, batch, pooled size)``."""
        prepared = self.backbone.prepare(waveforms, lengths)
        if self.window is None or prepared.shape[1] <= self.window:
            states, frame_lengths = self.backbone.encode(prepared, lengths, self._states)
            return torch.stack([self.pooling(state, frame_lengths) for state in states])
        rows = []
        for row, length in zip(prepared, lengths.tolist(), strict=True):
            parts = map_windows(
                lambda states: moments_of(states[:, 0]), self.backbone, row[:length], self.window, self._states
            )
            count, mean, squares = reduce(merge_moments, parts)
            rows.append(mean if self.pooling.kind == "mean" else join_mean_std(mean, squares / count))
        return torch.stack(rows, dim=1)
