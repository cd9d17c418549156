"""WavLM, wav2vec2 and HuBERT from Hugging Face behind one door: waveforms in, hidden states out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.data.audio import normalize_waveforms
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models.accelerate import FAMILIES, accelerate

Padding = Literal["masked", "published"]


class Backbone(nn.Module):
    """A Hugging Face speech transformer whose result for an utterance does not depend on the batch around it.

    The model is accelerated in place (:func:`speechshap.models.accelerate`) and run here, since transformers' own
    forward pass keeps padding from none of the places where it shows: the first group norm of base models, which
    normalises over time, would see it whatever the mask.

    Args:
        model: Base model of the WavLM, wav2vec2 or HuBERT family.
        normalize: Whether the checkpoint wants each waveform at mean 0 and variance 1.
        padding: ``masked``: nothing sees the padding, and the gradient there is 0. ``published``: the model runs
            without a mask, as checkpoints whose ``preprocessor_config.json`` says ``return_attention_mask: false`` do
            in other programs: zeros after an utterance are heard, and it comes out differently in every batch.

    Attributes:
        grid: Where the frames lie on the waveform.
        num_layers: Transformer layers; there is one more hidden state than that.
        hidden_size: Features of a frame.
        gradient_checkpointing: Keep the inputs of the stem and of each layer alone for the backward pass, which then
            computes them again: a third more time for a fraction of the memory, in eval mode too.

    Raises:
        UserError: The model is of another family.
    """

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        super().__init__()
        config: Any = model.config
        if config.model_type not in FAMILIES:
            raise UserError(f"--model.backbone: a {config.model_type} model; expected one of {', '.join(FAMILIES)}")
        self.model: Any = accelerate(model)
        self.normalize = normalize
        self.padding: Padding = padding
        self.gradient_checkpointing = False
        self.grid = FrameGrid.from_convolutions(tuple(config.conv_kernel), tuple(config.conv_stride))
        self.num_layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size

    def forward(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model.

        Args:
            waveforms: ``(batch, time)`` as read from the files, zero-padded.
            lengths: ``(batch,)`` samples of each utterance, at least the receptive field each.
            states: Numbers of the hidden states to return; None for all. Layers behind the last one do not run.

        Returns:
            Hidden states, ``(batch, frames, hidden size)`` each, 0 being the input of the first layer and the last one
            the output of the encoder (behind its final layer norm, where the model has one); and the frames of each
            utterance ``(batch,)``. What lies behind an utterance means nothing.

        Raises:
            ValueError: There is no such state.
        """
        return self.encode(self.prepare(waveforms, lengths), lengths, states)

    def prepare(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``(batch, time)`` as the model hears them: normalised, where the checkpoint wants that."""
        return normalize_waveforms(waveforms, lengths) if self.normalize else waveforms

    def encode(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model on prepared waveforms; arguments and results as for :meth:`forward`."""
        wanted = _numbers("state", states, 0, self.num_layers)
        found: dict[int, Tensor] = {}
        for number, state in enumerate(self._states(waveforms, lengths, max(wanted))):
            if number in wanted:
                found[number] = state
        return [found[number] for number in wanted], self._frame_lengths(lengths)

    def attention_weights(
        self, waveforms: Tensor, lengths: Tensor, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Each head's own attention weights.

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
        handles = [
            self.model.encoder.layers[number - 1].attention.register_forward_hook(
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

    def _states(self, waveforms: Tensor, lengths: Tensor, last: int, **options: bool) -> Iterator[Tensor]:
        """Hidden states one after the other, up to the number ``last``."""
        encoder = self.model.encoder
        # Without padding there is nothing to mask, and the plain operations are quicker.
        is_padded = self.padding == "masked" and bool((lengths < waveforms.shape[1]).any())
        features = self._run(self.model.feature_extractor, waveforms, lengths if is_padded else None).transpose(1, 2)
        hidden = self.model.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden  # HuBERT's has one output alone
        mask = None  # (batch, frames)
        if is_padded:
            mask = torch.arange(hidden.shape[1], device=hidden.device) < self._frame_lengths(lengths)[:, None]
        if self.training and hidden.shape[1] > self.model.config.mask_time_length:
            # A batch that is shorter than one mask goes without SpecAugment; transformers would refuse it.
            with _numpy_follows_torch():
                hidden = self.model._mask_hidden_states(hidden, attention_mask=mask)
        if mask is not None:
            hidden = hidden.masked_fill(~mask[..., None], 0)
        hidden = hidden + encoder.pos_conv_embed(hidden)
        is_stable = bool(getattr(self.model.config, "do_stable_layer_norm", False))
        hidden = encoder.dropout(hidden if is_stable else encoder.layer_norm(hidden))
        yield hidden
        layer_options = {**self._layer_options(hidden, mask), **options}
        for number, layer in enumerate(encoder.layers[:last], start=1):
            if not self._is_dropped():
                output = self._run(layer, hidden, **layer_options)
                hidden = output[0] if isinstance(output, tuple) else output
            yield encoder.layer_norm(hidden) if is_stable and number == self.num_layers else hidden

    def _layer_options(self, hidden: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """What the layers take beside the hidden states."""
        frames = hidden.shape[1]
        if self.model.config.model_type == "wavlm":
            position_bias = self.model.encoder.layers[0].attention.compute_bias(frames, frames)[None]
            return {"attention_mask": mask, "position_bias": position_bias}
        if mask is None:
            return {"attention_mask": None}
        from transformers.masking_utils import create_bidirectional_mask

        return {"attention_mask": create_bidirectional_mask(self.model.config, hidden, mask)}

    def _is_dropped(self) -> bool:
        """Draw whether a layer is left out in training (LayerDrop, Fan et al. 2020)."""
        rate: float = self.model.config.layerdrop
        return self.training and rate > 0 and bool(torch.rand(()) < rate)

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a part of the model, and have it keep its input alone where that is asked for."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return function(*arguments, **options)
        return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=self.training, **options)

    def _frame_lengths(self, lengths: Tensor) -> Tensor:
        return (lengths - self.grid.receptive_field) // self.grid.hop + 1

    @contextmanager
    def _explicit_attention(self) -> Iterator[None]:
        """Attention of wav2vec2 and HuBERT that makes its weights known."""
        config = self.model.config
        kept = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = kept

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` to ``layer_<num_layers>``."""
        return {f"layer_{number}": layer for number, layer in enumerate(self.model.encoder.layers, start=1)}

    def freeze(self) -> None:
        """Take the parameters out of training, and SpecAugment and LayerDrop with them."""
        self.requires_grad_(False)
        self.model.config.apply_spec_augment = False
        self.model.config.layerdrop = 0.0

    def freeze_stem(self) -> None:
        """Take the parameters of the convolutional stem out of training."""
        self.model.feature_extractor.requires_grad_(False)

    def export_config(self) -> dict[str, Any]:
        """What :func:`speechshap.models.build_backbone` needs to make the same architecture, in plain types."""
        config = self.model.config
        # Files on the hub carry fields of other programs too, which the architecture does not depend on.
        known = vars(type(config)())
        fields = {name: value for name, value in config.to_diff_dict().items() if name in known}
        return {**fields, "model_type": config.model_type, "do_normalize": self.normalize}


def _numbers(name: str, numbers: Sequence[int] | None, first: int, last: int) -> Sequence[int]:
    """The numbers that are asked for, or all of them."""
    if numbers is None:
        return range(first, last + 1)
    if not numbers or not all(first <= number <= last for number in numbers):
        raise ValueError(f"there is no {name} {list(numbers)}; expected some of {first} to {last}")
    return numbers


@contextmanager
def _numpy_follows_torch() -> Iterator[None]:
    """Seed NumPy, from which transformers draws SpecAugment, by a draw of PyTorch, and leave it as it was.

    Where activations are computed again, PyTorch's generators are set back, and NumPy's is not.
    """
    kept = np.random.get_state()  # noqa: NPY002 - the generator that transformers uses
    np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002
