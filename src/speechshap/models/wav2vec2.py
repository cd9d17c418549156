"""Speech transformers of wav2vec2's kind: WavLM, wav2vec2, HuBERT, UniSpeech-SAT and data2vec-audio."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.data.audio import normalize_waveforms
from speechshap.frames import FrameGrid
from speechshap.models.accelerate import accelerate
from speechshap.models.backbone import Backbone, Padding


class Wav2Vec2Backbone(Backbone):
    """A Hugging Face speech transformer whose result for an utterance does not depend on the batch around it.

    The model is accelerated in place (:func:`speechshap.models.accelerate`). Its parts are called here one by one,
    since transformers' own forward pass lets padding in: through the first group norm of base models, which normalises
    over time, and through stacked positional convolutions.

    With ``padding="published"`` the model runs without a mask, as checkpoints whose ``preprocessor_config.json`` says
    ``return_attention_mask: false`` do in other programs: the zeros after an utterance reach its frames, and its
    result changes with the batch.

    Args:
        model: Base model of wav2vec2's kind; see :func:`speechshap.models.accelerate`.
        normalize: As in :class:`Backbone`, like all attributes.
        padding: ``masked`` or ``published``.

    Raises:
        ValueError: The model is built otherwise.
    """

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        super().__init__(accelerate(model), normalize, padding)
        config = self.model.config
        self.grid = FrameGrid.from_convolutions(tuple(config.conv_kernel), tuple(config.conv_stride))
        self.shortest = self.grid.receptive_field
        self.num_layers = config.num_hidden_layers
        self.hidden_size = config.hidden_size
        self.supports_float16 = config.model_type != "wavlm"  # WavLM large exceeds it

    def prepare(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``(batch, time)`` as the model expects them: normalised, where the checkpoint asks for it."""
        return normalize_waveforms(waveforms, lengths) if self.normalize else waveforms

    def encode(
        self, waveforms: Tensor, lengths: Tensor, states: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Run the model on prepared waveforms; see :class:`Backbone`."""
        wanted = _numbers("state", states, 0, self.num_layers)
        found: dict[int, Tensor] = {}
        for number, state in enumerate(self._states(waveforms, lengths, max(wanted))):
            if number in wanted:
                found[number] = state
        return [found[number] for number in wanted], self._frame_lengths(lengths)

    def attention_weights(
        self, waveforms: Tensor, lengths: Tensor, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Attention weights of each head; see :class:`Backbone`.

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
        # Without padding there is nothing to mask, and operations without a mask are quicker.
        is_padded = self.padding == "masked" and bool((lengths < waveforms.shape[1]).any())
        features = self._run(self.model.feature_extractor, waveforms, lengths if is_padded else None).transpose(1, 2)
        hidden = self.model.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden  # HuBERT's has one output alone
        mask = None  # (batch, frames)
        if is_padded:
            mask = torch.arange(hidden.shape[1], device=hidden.device) < self._frame_lengths(lengths)[:, None]
        if self.training and hidden.shape[1] > self.model.config.mask_time_length:
            # A batch shorter than one mask goes without SpecAugment; transformers would refuse it.
            with _numpy_follows_torch():
                hidden = self.model._mask_hidden_states(hidden, attention_mask=mask)
        if mask is not None:
            hidden = hidden.masked_fill(~mask[..., None], 0)
        hidden = hidden + encoder.pos_conv_embed(hidden, mask)
        is_stable = bool(getattr(self.model.config, "do_stable_layer_norm", False))
        hidden = encoder.dropout(hidden if is_stable else encoder.layer_norm(hidden))
        yield hidden
        layer_options = {**self._layer_options(hidden, mask), **options}
        for number, layer in enumerate(encoder.layers[:last], start=1):
            if not self._is_dropped():
                output = self._run(layer, hidden, **layer_options)
                hidden = output[0] if isinstance(output, tuple) else output
            is_normalized = is_stable and self.normalize_last_state and number == self.num_layers
            yield encoder.layer_norm(hidden) if is_normalized else hidden

    def _layer_options(self, hidden: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """Arguments of the layers beside the hidden states."""
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
        """Call a part of the model; with gradient checkpointing it keeps nothing but its input."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return function(*arguments, **options)
        return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=self.training, **options)

    def _frame_lengths(self, lengths: Tensor) -> Tensor:
        return (lengths - self.grid.receptive_field) // self.grid.hop + 1

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

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` to ``layer_<num_layers>``."""
        return {f"layer_{number}": layer for number, layer in enumerate(self.model.encoder.layers, start=1)}

    def freeze(self) -> None:
        """Take all parameters out of training, and with them SpecAugment and LayerDrop."""
        self.requires_grad_(False)
        self.model.config.apply_spec_augment = False
        self.model.config.layerdrop = 0.0

    def freeze_stem(self) -> None:
        """Take the parameters of the convolutional stem out of training."""
        self.model.feature_extractor.requires_grad_(False)


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
