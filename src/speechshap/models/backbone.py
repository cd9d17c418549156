"""WavLM, wav2vec2 and HuBERT from Hugging Face behind one door: waveforms in, all hidden states out."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.data.audio import normalize_waveforms
from speechshap.data.frames import FrameGrid
from speechshap.errors import UserError

logger = logging.getLogger(__name__)

FAMILIES = ("wavlm", "wav2vec2", "hubert")

# Transformers would otherwise send a background request to have old checkpoints converted on the hub.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


class MaskedGroupNorm(nn.GroupNorm):
    """GroupNorm over channels and time that does not see padding.

    The first convolution of the base models normalises each channel over time, so that with a plain GroupNorm an
    utterance comes out differently in every batch. Parameters and their names are those of ``nn.GroupNorm``.

    ``frame_lengths`` ``(batch,)`` is set before each forward pass; None normalises over all of the time axis.
    """

    frame_lengths: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(batch, channels, frames)``; what lies beyond an utterance is set to 0."""
        if self.frame_lengths is None:
            return super().forward(input)
        mask = (torch.arange(input.shape[2], device=input.device) < self.frame_lengths[:, None])[:, None, None]
        grouped = input.unflatten(1, (self.num_groups, -1))  # (batch, groups, channels of the group, frames)
        count = mask.sum(-1, keepdim=True) * grouped.shape[2]
        mean = (grouped * mask).sum((2, 3), keepdim=True) / count
        centred = (grouped - mean) * mask
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normalized = (centred / torch.sqrt(variance + self.eps)).flatten(1, 2)
        return (normalized * self.weight[:, None] + self.bias[:, None]) * mask[:, 0]


class Backbone(nn.Module):
    """A Hugging Face speech transformer whose result for an utterance does not depend on the batch around it.

    Args:
        model: Base model of the WavLM, wav2vec2 or HuBERT family.
        normalize: Whether the checkpoint wants each waveform at mean 0 and variance 1.

    Attributes:
        grid: Where the frames lie on the waveform.
        num_layers: Transformer layers; there is one more hidden state than that.
        hidden_size: Features of a frame.
    """

    def __init__(self, model: nn.Module, normalize: bool) -> None:
        super().__init__()
        config: Any = model.config
        if config.model_type not in FAMILIES:
            raise UserError(f"--model.backbone: a {config.model_type} model; expected one of {', '.join(FAMILIES)}")
        self.model = model
        self.normalize = normalize
        self.grid = FrameGrid.from_convolutions(tuple(config.conv_kernel), tuple(config.conv_stride))
        self.num_layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        self._first_convolution = FrameGrid(config.conv_stride[0], config.conv_kernel[0])
        self._masked_norm: MaskedGroupNorm | None = None
        if config.feat_extract_norm == "group":
            first: Any = model.feature_extractor.conv_layers[0]  # type: ignore[union-attr, index]
            self._masked_norm = first.layer_norm = _masked(first.layer_norm)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run the model.

        Args:
            waveforms: ``(batch, time)`` as read from the files, zero-padded.
            lengths: ``(batch,)`` samples of each utterance, at least the receptive field each.

        Returns:
            Hidden states of the stem's output and of every layer, ``(batch, frames, hidden size)`` each, and the
            frames of each utterance ``(batch,)``.
        """
        if self.normalize:
            waveforms = normalize_waveforms(waveforms, lengths)
        # Without padding there is nothing to mask, and the plain modules are quicker.
        padded = bool((lengths < waveforms.shape[1]).any())
        if self._masked_norm is not None:
            self._masked_norm.frame_lengths = self._first_convolution_frames(lengths) if padded else None
        mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None] if padded else None
        frame_lengths = (lengths - self.grid.receptive_field) // self.grid.hop + 1
        with self._spec_augment_where_possible(self.grid.num_frames(waveforms.shape[1])):
            output = self.model(waveforms, attention_mask=mask, output_hidden_states=True)
        return list(output.hidden_states), frame_lengths

    @contextmanager
    def _spec_augment_where_possible(self, num_frames: int) -> Iterator[None]:
        """Transformers refuses a batch that is shorter than one mask; such a batch goes without."""
        config: Any = self.model.config
        wanted = config.apply_spec_augment
        config.apply_spec_augment = wanted and num_frames > config.mask_time_length
        try:
            yield
        finally:
            config.apply_spec_augment = wanted

    def _first_convolution_frames(self, lengths: Tensor) -> Tensor:
        return (lengths - self._first_convolution.receptive_field) // self._first_convolution.hop + 1

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` to ``layer_<num_layers>``."""
        encoder_layers: Any = self.model.encoder.layers  # type: ignore[union-attr]
        return {f"layer_{number}": layer for number, layer in enumerate(encoder_layers, start=1)}

    def freeze(self) -> None:
        """Take the parameters out of training, and SpecAugment and LayerDrop with them."""
        self.requires_grad_(False)
        self.model.config.apply_spec_augment = False  # type: ignore[union-attr]
        self.model.config.layerdrop = 0.0  # type: ignore[union-attr]

    def freeze_stem(self) -> None:
        """Take the parameters of the convolutional stem out of training."""
        self.model.feature_extractor._freeze_parameters()  # type: ignore[union-attr, operator]

    def export_config(self) -> dict[str, Any]:
        """What :func:`build_backbone` needs to make the same architecture, in plain types."""
        config: Any = self.model.config
        # Files on the hub carry fields of other programs too, which the architecture does not depend on.
        known = vars(type(config)())
        fields = {name: value for name, value in config.to_diff_dict().items() if name in known}
        return {**fields, "model_type": config.model_type, "do_normalize": self.normalize}


def _masked(norm: nn.GroupNorm) -> MaskedGroupNorm:
    masked = MaskedGroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
    masked.load_state_dict(norm.state_dict())
    return masked


def build_backbone(config: dict[str, Any]) -> Backbone:
    """Make a backbone with random weights.

    Args:
        config: Fields of the Hugging Face configuration, ``model_type`` among them, and ``do_normalize``.

    Raises:
        UserError: The configuration is not that of a known family, or contradicts itself.

    Example:
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 1,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> states, frames = backbone(torch.zeros(1, 1200), torch.tensor([1200]))
        >>> len(states), states[0].shape, frames
        (2, torch.Size([1, 3, 32]), tensor([3]))
    """
    from transformers import AutoConfig, AutoModel

    fields = dict(config)
    family = fields.pop("model_type", None)
    normalize = bool(fields.pop("do_normalize", False))
    if family not in FAMILIES:
        raise UserError(f"--model.backbone_config: model_type is {family!r}; expected one of {', '.join(FAMILIES)}")
    known = vars(AutoConfig.for_model(family))
    if unknown := [name for name in fields if name not in known and not name.startswith("_")]:
        raise UserError(f"--model.backbone_config: a {family} configuration has no field {unknown[0]}")
    try:
        model = AutoModel.from_config(AutoConfig.for_model(family, **fields))
    except (TypeError, ValueError) as error:
        raise UserError(f"--model.backbone_config: {error}") from error
    return Backbone(model, normalize)


def load_backbone(name: str) -> Backbone:
    """Load pretrained weights.

    Args:
        name: Name on the Hugging Face hub, or a local folder that ``save_pretrained`` wrote. A name that was
            downloaded before is taken from the cache, without a request.

    Raises:
        UserError: The folder lacks something, or the hub does not answer or does not know the name.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        try:
            return _from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--model.backbone: {name} is not a whole checkpoint ({str(error).split('. ')[0]}); expected "
                "config.json, preprocessor_config.json and model.safetensors, as save_pretrained writes them"
            ) from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"--model.backbone: no folder {name}; give one with config.json and model.safetensors in it")
    try:
        return _from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        logger.info("%s is not in the local cache; asking the Hugging Face hub", name)
    _check_hub(name)
    return _from_pretrained(name, local_files_only=False)


def _from_pretrained(name: str, local_files_only: bool) -> Backbone:
    from transformers import AutoFeatureExtractor, AutoModel

    extractor = AutoFeatureExtractor.from_pretrained(name, local_files_only=local_files_only)
    model = AutoModel.from_pretrained(name, local_files_only=local_files_only)
    return Backbone(model, bool(extractor.do_normalize))


def _check_hub(name: str) -> None:
    """Ask the hub once: its own downloads try again for minutes before they say that there is no connection."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=5)
    except Exception as error:  # which one depends on the HTTP client below
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--model.backbone: {name} cannot be had from the Hugging Face hub ({reason}); correct the name, or "
            "download it where there is a connection ('hf download NAME --local-dir FOLDER') and give the folder"
        ) from error
