"""What a backbone is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from speechshap.frames import FrameGrid

Padding = Literal["masked", "published"]
"""``masked``: no result depends on padding. ``published``: the model runs without a mask, as its authors ran it."""


ORIGIN_FIELDS = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Fields of a configuration that tell where it comes from, and not what the model computes."""


class Backbone(nn.Module, ABC):
    """A pretrained speech encoder: waveforms in, hidden states out.

    An implementation is found by the ``model_type`` of transformers in :data:`speechshap.models.backbones.BACKBONES`.

    Args:
        model: Base model of transformers; it may be changed in place.
        normalize: Whether the checkpoint expects each waveform at mean 0 and variance 1.
        padding: ``masked`` or ``published``.

    Attributes:
        grid: Where the frames lie on the waveform.
        shortest: Samples that the shortest utterance must have.
        num_layers: Transformer layers; there is one more hidden state than that.
        hidden_size: Features of a frame.
        supports_float16: Whether the activations stay within the range of half precision (up to 65504).
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them, in eval mode
            too: a third more time for a fraction of the memory.
        normalize_last_state: Whether the last hidden state is taken after the encoder's final layer norm, or before it,
            where the encoder has one.
    """

    grid: FrameGrid
    shortest: int
    num_layers: int
    hidden_size: int
    supports_float16: bool = True

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        super().__init__()
        self.model: Any = model
        self.normalize = normalize
        self.padding: Padding = padding
        self.gradient_checkpointing = False
        self.normalize_last_state = True

    def forward(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model on waveforms as read from the files; arguments and results as for :meth:`encode`."""
        return self.encode(self.prepare(waveforms, lengths), lengths, states)

    @abstractmethod
    def prepare(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``(batch, time)`` as the model expects them, differentiably: normalised, for instance."""

    @abstractmethod
    def encode(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model on prepared waveforms.

        Args:
            waveforms: ``(batch, time)``, zero-padded.
            lengths: ``(batch,)`` samples of each utterance, at least ``shortest`` each.
            states: Numbers of the hidden states to return; None for all. Layers after the last one do not run.

        Returns:
            Hidden states, ``(batch, frames, hidden size)`` each, 0 being the input of the first layer and the last one
            the output of the encoder; and the number of frames of each utterance ``(batch,)``. Values after the end of
            an utterance are undefined.

        Raises:
            ValueError: There is no such state.
        """

    @abstractmethod
    def attention_weights(
        self, waveforms: Tensor, lengths: Tensor, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Attention weights of each head.

        Args:
            waveforms: ``(batch, time)`` as read from the files, zero-padded.
            lengths: ``(batch,)`` samples of each utterance.
            layers: Numbers of the layers, the first being 1; None for all.

        Returns:
            By layer ``(batch, heads, frames, frames)``; a row sums to 1 over the frames that the query attends to.

        Raises:
            ValueError: There is no such layer.
        """

    @property
    @abstractmethod
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` to ``layer_<num_layers>``."""

    @abstractmethod
    def freeze(self) -> None:
        """Take all parameters out of training, and with them what training does at random (SpecAugment, LayerDrop)."""

    @abstractmethod
    def freeze_stem(self) -> None:
        """Take the parameters of the convolutional stem out of training."""

    def export_config(self) -> dict[str, Any]:
        """What :func:`speechshap.models.build_backbone` needs to make the same architecture, in plain types."""
        config = self.model.config
        # Files on the hub carry fields of other programs too, which the architecture does not depend on.
        known = vars(type(config)())
        fields = {name: value for name, value in architecture(config).items() if name in known}
        return {**fields, "model_type": config.model_type, "do_normalize": self.normalize}


def architecture(config: Any) -> dict[str, Any]:
    """Fields of a configuration of transformers that the outputs may depend on, in plain types."""
    return {name: value for name, value in config.to_diff_dict().items() if name not in ORIGIN_FIELDS}
