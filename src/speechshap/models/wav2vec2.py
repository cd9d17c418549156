"""Speech transformers of wav2vec2's kind: WavLM, wav2vec2, HuBERT, UniSpeech-SAT and data2vec-audio."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.models.accelerate import accelerate
from speechshap.models.backbone import Backbone, Padding, numpy_follows_torch
from speechshap.models.extractors import normalizes_waveforms
from speechshap.spaces import Space


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
        UserError: It has adapter layers after its encoder.
    """

    published_use = "without an attention mask, where results depend on the padding of the batch"

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        config: Any = model.config
        if getattr(config, "add_adapter", False):
            raise UserError(
                f"`backbone`: a {config.model_type} model with adapter layers after its encoder; expected one without"
            )
        super().__init__(accelerate(model), normalize, padding)
        self.grid = FrameGrid.from_convolutions(tuple(config.conv_kernel), tuple(config.conv_stride))
        self.shortest = self.grid.shortest
        self.num_layers = config.num_hidden_layers
        self.hidden_size = config.hidden_size
        self.supports_float16 = config.model_type != "wavlm"  # WavLM large exceeds it
        self.depends_on_batch = padding == "published"

    @classmethod
    def normalizes(cls, config: Any, extractor: Any, parameter: str) -> bool:
        """What the feature extractor says; see :class:`Backbone`."""
        return normalizes_waveforms(extractor, parameter)

    def probe(self) -> Tensor:
        """A tenth of a second; see :class:`Backbone`."""
        return torch.randn(1, SAMPLE_RATE // 10, generator=torch.Generator().manual_seed(0))

    @property
    def spaces(self) -> dict[str, Space]:
        """``stem`` and ``projection``; see :class:`Backbone`."""
        stem, projection = self.model.feature_extractor, self.model.feature_projection
        return {
            "stem": Space(module=stem, time_dim=2, skipped=(stem,)),
            "projection": Space(module=projection, skipped=(stem, projection)),
        }

    def freeze_stem(self) -> None:
        """Take the parameters of the convolutional stem out of training."""
        self.model.feature_extractor.requires_grad_(False)

    @property
    def _last_norm(self) -> nn.Module | None:
        return self.model.encoder.layer_norm if self._is_stable else None

    @property
    def _is_stable(self) -> bool:
        """Whether layers normalise before attention, as in large models, and the encoder after the last one."""
        return bool(getattr(self.model.config, "do_stable_layer_norm", False))

    def _attention(self, layer: Any) -> nn.Module:
        return layer.attention

    def _states(self, waveforms: Tensor, lengths: Tensor, last: int, **options: bool) -> Iterator[Tensor]:
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
            with numpy_follows_torch():
                hidden = self.model._mask_hidden_states(hidden, attention_mask=mask)
        if mask is not None:
            hidden = hidden.masked_fill(~mask[..., None], 0)
        hidden = hidden + encoder.pos_conv_embed(hidden, mask)
        hidden = encoder.dropout(hidden if self._is_stable else encoder.layer_norm(hidden))
        yield hidden
        layer_options = {**self._layer_options(hidden, mask), **options}
        for number, state in enumerate(self._run_layers(hidden, last, **layer_options), start=1):
            is_normalized = self._is_stable and self.normalize_last_state and number == self.num_layers
            yield encoder.layer_norm(state) if is_normalized else state

    def _layer_options(self, hidden: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """Arguments of the layers beside the hidden states."""
        if self.model.config.model_type != "wavlm":
            return {"attention_mask": self._attention_mask(hidden, mask)}
        return {"attention_mask": mask, "position_bias": self.model.encoder.layers[0].attention.position_bias(hidden)}
