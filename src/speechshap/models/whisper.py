"""The encoder of Whisper."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.models.backbone import Backbone, Padding, numpy_follows_torch
from speechshap.models.extractors import require_log_mel
from speechshap.models.log_mel import HOP, SHORTEST, WINDOW, LogMel
from speechshap.spaces import Bands, Space


class WhisperBackbone(Backbone):
    """The encoder of Whisper (Radford et al. 2022), from the waveform on; the decoder is neither loaded nor run.

    With ``padding="masked"`` it hears an utterance alone, of any length up to its window (30 s): the first positions
    of its table, and no silence after the end. Longer recordings are split, and each window is a clip of its own.

    With ``padding="published"`` every utterance is followed by silence up to 30 s, as in transcription and in
    transformers. All 1500 frames count then, those of the silence too, as in the mean of transformers' classifiers;
    longer recordings are refused. Of each layer the frames of the utterance are shown.

    Args:
        model: Whisper of transformers, with or without a decoder or a classifier.
        normalize: As in :class:`Backbone`, like all attributes.
        padding: ``masked`` or ``published``.

    Raises:
        UserError: The model has no encoder.
    """

    longest: int
    padding_of_transformers = "published"
    published_use = "with silence after each utterance, up to 30 s, where that silence counts as much as the sound"
    key_mapping = {r"^(model\.)?encoder\.": ""}  # noqa: RUF012 - not changed
    _layerdrop = "encoder_layerdrop"

    def __init__(self, model: nn.Module, normalize: bool, padding: Padding = "masked") -> None:
        encoder: Any = getattr(model, "encoder", model)
        if not hasattr(encoder, "conv2"):
            raise UserError(f"`backbone`: a {type(model).__name__} has no encoder; expected a Whisper model with one")
        super().__init__(encoder, normalize, padding)
        config = encoder.config
        # Two convolutions over mel frames, of three each, the second one at every other frame; the first sample of the
        # periodic Hann window is 0. Frame 0 is centred on sample 0, and half a hop of mel frames makes the last one.
        receptive_field = 4 * HOP + WINDOW - 1
        before = (receptive_field - 1) // 2
        self.grid = FrameGrid(2 * HOP, receptive_field, before, receptive_field - before - HOP)
        self.shortest = SHORTEST
        self.num_layers = config.encoder_layers
        self.hidden_size = config.d_model
        self.longest = self.grid.hop * config.max_source_positions
        self._log_mel = LogMel(encoder.num_mel_bins)
        self._stem_output = nn.Identity()
        # Modules that the frames of an utterance pass behind each layer, apart from those of the silence after it.
        self._shown = nn.ModuleList(nn.Identity() for _ in range(self.num_layers)) if padding == "published" else None

    @staticmethod
    def model_class(config: Any) -> Any:
        """The encoder alone."""
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder

    @classmethod
    def normalizes(cls, config: Any, extractor: Any, parameter: str) -> bool:
        """False: the level of a clip is part of what Whisper hears; see :class:`Backbone`."""
        require_log_mel(extractor, config.num_mel_bins, parameter)
        return False

    def probe(self) -> Tensor:
        """Features of the length that transformers asks for; see :class:`Backbone`."""
        shape = (1, self.model.num_mel_bins, self.longest // HOP)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def window(self, seconds: float | None) -> int | None:
        """Samples that go through the model at once: those of its table of positions at most."""
        if self.padding == "published":
            return None
        return self.longest if seconds is None else min(self.longest, round(seconds * SAMPLE_RATE))

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, or what shows their frames of the utterance, ``layer_1`` to ``layer_<n>``."""
        if self._shown is None:
            return super().layers
        return {f"layer_{number}": shown for number, shown in enumerate(self._shown, start=1)}

    @property
    def spaces(self) -> dict[str, Space]:
        """``log_mel``, and ``stem`` behind the two convolutions; see :class:`Backbone`."""
        covers_padding, columns = self.padding == "published", self._log_mel.grid
        return {
            "log_mel": Space(
                module=self._log_mel, time_dim=2, grid=columns, covers_padding=covers_padding,
                skipped=(self._log_mel,), bands=Bands(self._log_mel.frequencies, columns),
            ),
            "stem": Space(module=self._stem_output, covers_padding=covers_padding, skipped=(self._log_mel,)),
        }  # fmt: skip

    def freeze_stem(self) -> None:
        """Take the parameters of the two convolutions out of training."""
        self.model.conv1.requires_grad_(False)
        self.model.conv2.requires_grad_(False)

    @property
    def _encoder(self) -> Any:
        return self.model

    @property
    def _last_norm(self) -> nn.Module | None:
        return self.model.layer_norm

    def _attention(self, layer: Any) -> nn.Module:
        return layer.self_attn

    def _frame_lengths(self, lengths: Tensor) -> Tensor:
        return super()._frame_lengths(lengths if self.padding == "masked" else torch.full_like(lengths, self.longest))

    def _states(self, waveforms: Tensor, lengths: Tensor, last: int, **options: bool) -> Iterator[Tensor]:
        encoder, clips = self.model, self._clips(waveforms, lengths)
        frames = self.grid.num_frames(min(waveforms.shape[1], self.longest))  # of the longest utterance
        # Without padding there is nothing to mask, and operations without a mask are quicker.
        is_padded = self.padding == "masked" and bool((lengths < clips.shape[1]).any())
        hidden = self._run(self._embed, clips, lengths if is_padded else None)
        mask = None  # (batch, frames)
        if is_padded:
            mask = torch.arange(hidden.shape[1], device=hidden.device) < self._frame_lengths(lengths)[:, None]
            hidden = hidden.masked_fill(~mask[..., None], 0)
        hidden = functional.dropout(hidden, encoder.dropout, encoder.training)
        yield hidden
        pass_on = None if self._shown is None else partial(self._show, frames)
        states = self._run_layers(hidden, last, pass_on, attention_mask=self._attention_mask(hidden, mask), **options)
        for number, state in enumerate(states, start=1):
            yield encoder.layer_norm(state) if self.normalize_last_state and number == self.num_layers else state

    def _show(self, frames: int, layer: int, hidden: Tensor) -> Tensor:
        """Hidden states of a layer, the first frames of which pass the module that shows them."""
        own, silence = hidden.split([frames, hidden.shape[1] - frames], dim=1)
        return torch.cat([cast(nn.ModuleList, self._shown)[layer - 1](own), silence], dim=1)

    def _clips(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """What the model hears, ``(batch, time)``.

        Raises:
            UserError: An utterance is longer than its window.
        """
        # The last window of a recording may have some samples more, which make no frame.
        longest = self.longest + (self.grid.shortest - 1 if self.padding == "masked" else 0)
        if waveforms.shape[1] > longest:
            if int(lengths.max()) > longest:
                raise UserError(
                    f"a recording lasts {int(lengths.max()) / SAMPLE_RATE:.6g} s, and Whisper hears "
                    f"{self.longest / SAMPLE_RATE:g} s at once; cut it, or take `padding` masked, where longer ones "
                    "are heard window by window"
                )
            waveforms = waveforms[:, :longest]
        if self.padding == "masked":
            return waveforms
        outside = torch.arange(waveforms.shape[1], device=waveforms.device) >= lengths[:, None]
        return functional.pad(waveforms.masked_fill(outside, 0), (0, longest - waveforms.shape[1]))

    def _embed(self, clips: Tensor, lengths: Tensor | None) -> Tensor:
        """Input of the first layer but for dropout, ``(batch, frames, hidden size)``, each utterance as it is alone.

        In single precision at least unless the weights are in a lower one: rounded here, the gradient of a waveform
        would be off by half of its size.
        """
        encoder = self.model
        with torch.autocast(clips.device.type, enabled=False):
            features = self._log_mel(clips, lengths)  # (batch, bins, mel frames)
            outside = None
            if lengths is not None:
                outside = torch.arange(features.shape[2], device=clips.device) >= (lengths // HOP)[:, None]
            features = self._augmented(features, outside).to(encoder.conv1.weight.dtype)
            hidden = functional.gelu(encoder.conv1(features))
            if outside is not None:  # zeros are what the second convolution sees after a clip
                hidden = hidden.masked_fill(outside[:, None], 0)
            hidden = self._stem_output(functional.gelu(encoder.conv2(hidden)).transpose(1, 2))
            return hidden + encoder.embed_positions.weight[: hidden.shape[1]]

    def _augmented(self, features: Tensor, outside: Tensor | None) -> Tensor:
        """Log-mel features ``(batch, bins, mel frames)``, in training with masks (SpecAugment)."""
        from transformers import WhisperModel

        if not self.training or features.shape[2] <= self.model.config.mask_time_length:
            return features
        with numpy_follows_torch():
            # The encoder has all that this method of a whole model needs: the configuration and the mode.
            return WhisperModel._mask_input_features(
                self.model, features.clone(), None if outside is None else ~outside
            )
