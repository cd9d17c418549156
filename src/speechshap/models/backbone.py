"""What a backbone is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.data.audio import normalize_waveforms
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.models.attention_kernels import without_cudnn_attention
from speechshap.spaces import Space

Padding = Literal["masked", "published"]
"""``masked``: no result depends on padding. ``published``: the model runs with padding as its authors ran it."""

ORIGIN_FIELDS = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Fields of a configuration that tell where it comes from, and not what the model computes."""


class Backbone(nn.Module, ABC):
    """A pretrained speech encoder: waveforms in, hidden states out.

    An implementation is found by the ``model_type`` of transformers in :data:`speechshap.models.backbones.BACKBONES`.
    It runs the parts of the model one by one (:meth:`_states`); what follows from that is done here.

    Args:
        model: Base model of transformers; it may be changed in place.
        normalize: Whether the checkpoint expects each waveform at mean 0 and variance 1.
        padding: ``masked`` or ``published``, which means something of its own in each family.

    Attributes:
        grid: Where the frames lie on the waveform.
        shortest: Samples that the shortest utterance must have.
        longest: Samples of the longest utterance that goes through the model at once; None: any.
        num_layers: Transformer layers; there is one more hidden state than that.
        hidden_size: Features of a frame.
        supports_float16: Whether the activations stay within the range of half precision (up to 65504).
        depends_on_batch: Whether the states of an utterance change with those that share its batch.
        padding_of_transformers: Padding with which an utterance alone comes out as it does in transformers.
        published_use: How the published use differs from masked padding, for messages.
        key_mapping: Names of weights in checkpoints of larger models (regular expressions), and what stands for them in
            those of ``model_class``; None: they have the same.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them, in eval mode
            too: a third more time for a fraction of the memory.
        normalize_last_state: Whether the last hidden state is taken after the encoder's final layer norm, or before it,
            where the encoder has one.
        adapters: What low-rank adapters compute beside their weights, in plain types; None: there are none.
    """

    grid: FrameGrid
    shortest: int
    longest: int | None = None
    num_layers: int
    hidden_size: int
    supports_float16: bool = True
    depends_on_batch: bool = False
    padding_of_transformers: ClassVar[Padding] = "masked"
    published_use: ClassVar[str]
    key_mapping: ClassVar[dict[str, str] | None] = None
    _layerdrop: ClassVar[str] = "layerdrop"  # field of the configuration that holds the rate of LayerDrop

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        super().__init__()
        self.model: Any = model
        self.normalize = normalize
        self.padding: Padding = padding
        self.gradient_checkpointing = False
        self.normalize_last_state = True
        self.adapters: dict[str, Any] | None = None
        self._trained_layers: range | None = None  # numbers of the layers that are trained alone; None: no such choice

    @staticmethod
    def model_class(config: Any) -> Any:
        """Class of transformers that a model with this configuration has."""
        from transformers import MODEL_MAPPING

        return MODEL_MAPPING[type(config)]

    @classmethod
    @abstractmethod
    def normalizes(cls, config: Any, extractor: Any, parameter: str) -> bool:
        """Whether waveforms are normalised for a checkpoint.

        Args:
            config: Its configuration.
            extractor: Feature extractor of transformers; None: waveforms are not normalised.
            parameter: Whose value the checkpoint is, for messages.

        Raises:
            UserError: The feature extractor is not one for this model.
        """

    def window(self, seconds: float | None) -> int | None:
        """Samples that go through the model at once where windows of ``seconds`` are asked for; None: all of them."""
        return None if seconds is None else round(seconds * SAMPLE_RATE)

    def forward(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model on waveforms as read from the files; arguments and results as for :meth:`encode`."""
        return self.encode(self.prepare(waveforms, lengths), lengths, states)

    def prepare(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``(batch, time)`` as the model expects them, differentiably: normalised, for instance."""
        return normalize_waveforms(waveforms, lengths) if self.normalize else waveforms

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
        wanted = _numbers("state", states, 0, self.num_layers)
        found: dict[int, Tensor] = {}
        for number, state in enumerate(self._states(waveforms, lengths, max(wanted))):
            if number in wanted:
                found[number] = state
        return [found[number] for number in wanted], self._frame_lengths(lengths)

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

        Example:
            >>> from speechshap.models import build_backbone
            >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 2,
            ...                            "num_attention_heads": 2, "conv_dim": [8] * 7}).eval()
            >>> backbone.attention_weights(torch.zeros(1, 1200), torch.tensor([1200]), [2])[2].shape
            torch.Size([1, 2, 3, 3])
        """
        wanted = _numbers("layer", layers, 1, self.num_layers)
        caught: dict[int, Tensor] = {}
        attentions = [self._attention(layer) for layer in self._encoder.layers]
        handles = [
            attentions[number - 1].register_forward_hook(
                lambda _, __, output, number=number: caught.update({number: output[1]})
            )
            for number in wanted
        ]
        try:
            with self._explicit_attention():
                for _ in self._states(self.prepare(waveforms, lengths), lengths, max(wanted), output_attentions=True):
                    pass
        finally:
            for handle in handles:
                handle.remove()
        return {number: caught[number] for number in wanted}

    @abstractmethod
    def probe(self) -> Tensor:
        """Noise that transformers' own forward pass of the model takes."""

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` to ``layer_<num_layers>``."""
        return {f"layer_{number}": layer for number, layer in enumerate(self._encoder.layers, start=1)}

    @property
    @abstractmethod
    def spaces(self) -> dict[str, Space]:
        """What all that the layers hear passes through, by name: features of the stem, for instance."""

    def freeze(self) -> None:
        """Take all parameters out of training, and with them what training does at random (SpecAugment, LayerDrop).

        What is frozen stays in eval mode.
        """
        self._train_layers_alone(range(0))

    def freeze_outside(self, layers: range) -> None:
        """Take all out of training but for some layers, which keep their dropout; see :meth:`freeze`.

        Args:
            layers: Numbers of the layers that are trained, the first being 1.
        """
        self._train_layers_alone(layers)
        for parameter, depth in self.depths.items():
            parameter.requires_grad_(depth in layers)

    def freeze_after(self, layer: int) -> None:
        """Take what follows after a layer out of training: nothing that it computes is heard."""
        for parameter, depth in self.depths.items():
            if depth > layer:
                parameter.requires_grad_(False)

    def _train_layers_alone(self, layers: range) -> None:
        self._trained_layers = layers
        self.requires_grad_(False)
        self.model.config.apply_spec_augment = False
        setattr(self.model.config, self._layerdrop, 0.0)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; what is frozen stays in eval mode."""
        chosen = self._trained_layers
        super().train(mode and (chosen is None or len(chosen) > 0))
        if chosen is not None:
            self.model.eval()
            for number in chosen:
                self._encoder.layers[number - 1].train(mode)
        return self

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

    @property
    def depths(self) -> dict[nn.Parameter, int]:
        """Where each parameter is: the number of its layer, or 0 below the first one.

        A norm after the last layer counts with that layer.
        """
        parts = [(layer, number) for number, layer in enumerate(self._encoder.layers, start=1)]
        if self._last_norm is not None:
            parts.append((self._last_norm, self.num_layers))
        found = {parameter: number for part, number in parts for parameter in part.parameters()}
        return {parameter: found.get(parameter, 0) for parameter in self.parameters()}

    @property
    def transformer(self) -> nn.ModuleList:
        """The transformer layers as they are."""
        layers: nn.ModuleList = self._encoder.layers
        return layers

    @property
    def _encoder(self) -> Any:
        """Module of transformers that has the layers."""
        return self.model.encoder

    @property
    @abstractmethod
    def _last_norm(self) -> nn.Module | None:
        """Norm of the last layer's output; None where there is none."""

    @abstractmethod
    def _attention(self, layer: Any) -> nn.Module:
        """Module of a layer whose second output is the attention weights."""

    @abstractmethod
    def _states(self, waveforms: Tensor, lengths: Tensor, last: int, **options: bool) -> Iterator[Tensor]:
        """Hidden states of prepared waveforms one after the other, up to the number ``last``.

        Args:
            waveforms: As for :meth:`encode`.
            lengths: As for :meth:`encode`.
            last: Number of the last state.
            options: Further arguments of the layers.
        """

    def _frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of utterances, ``(batch,)``."""
        return self.grid.frame_lengths(lengths)

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a part of the model; with gradient checkpointing it keeps nothing but its input."""

        def run(*arguments: Any, **options: Any) -> Any:
            with without_cudnn_attention():
                return function(*arguments, **options)

        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return run(*arguments, **options)
        return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=self.training, **options)

    def _run_layers(
        self, hidden: Tensor, last: int, pass_on: Callable[[int, Tensor], Tensor] | None = None, **options: Any
    ) -> Iterator[Tensor]:
        """Outputs of the layers up to the number ``last``; in training some may be left out (LayerDrop).

        Args:
            hidden: Input of the first layer.
            last: Number of the last layer.
            pass_on: Takes the number of a layer and its output, and gives what goes on; None: the output itself.
            options: Arguments of the layers beside the hidden states.
        """
        rate: float = getattr(self.model.config, self._layerdrop)
        for number, layer in enumerate(self._encoder.layers[:last], start=1):
            is_dropped = self.training and rate > 0 and bool(torch.rand(()) < rate)  # Fan et al. 2020
            if not is_dropped:
                output = self._run(layer, hidden, **options)
                hidden = output[0] if isinstance(output, tuple) else output
                hidden = hidden if pass_on is None else pass_on(number, hidden)
            yield hidden

    def _attention_mask(self, hidden: Tensor, mask: Tensor | None) -> Tensor | None:
        """What transformers' own attention wants of a mask ``(batch, frames)``, true for the frames of utterances."""
        if mask is None:
            return None
        from transformers.masking_utils import create_bidirectional_mask

        return create_bidirectional_mask(self.model.config, hidden, mask)

    @contextmanager
    def _explicit_attention(self) -> Iterator[None]:
        """Make transformers' own attention return its weights."""
        config = self.model.config
        kept = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = kept


def architecture(config: Any) -> dict[str, Any]:
    """Fields of a configuration of transformers that the outputs may depend on, in plain types."""
    return {name: value for name, value in config.to_diff_dict().items() if name not in ORIGIN_FIELDS}


@contextmanager
def numpy_follows_torch() -> Iterator[None]:
    """Seed NumPy, from which transformers draws SpecAugment, by a draw of PyTorch, and leave it as it was.

    Where activations are computed again, PyTorch's generators are set back, and NumPy's is not.
    """
    kept = np.random.get_state()  # noqa: NPY002 - the generator that transformers uses
    np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002


def _numbers(name: str, numbers: Sequence[int] | None, first: int, last: int) -> Sequence[int]:
    """The numbers that are asked for, or all of them."""
    if numbers is None:
        return range(first, last + 1)
    if not numbers or not all(first <= number <= last for number in numbers):
        raise ValueError(f"there is no {name} {list(numbers)}; expected some of {first} to {last}")
    return numbers
