"""Tiny models of all families of backbones, and what is compared of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_config
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

WAV2VEC2_FAMILIES = ["wavlm", "wav2vec2", "hubert", "unispeech-sat", "data2vec-audio"]
"""Families of wav2vec2's kind."""

FAMILIES = [*WAV2VEC2_FAMILIES, "whisper"]

of_each_kind = pytest.mark.parametrize("family", ["wavlm", "whisper"])
"""Runs a test on a family of each kind; those of wav2vec2's kind are one class. Decides the fixture ``family``."""

SHAPES = [
    *((family, "group", False) for family in WAV2VEC2_FAMILIES[:-1]),
    *((family, "layer", False) for family in WAV2VEC2_FAMILIES),
    *((family, "layer", True) for family in WAV2VEC2_FAMILIES[:-1]),
]
"""Family, first normalisation, and whether layers normalise before attention: base, neither, and large."""

TINY_WHISPER = {
    "d_model": 32, "num_mel_bins": 20, "vocab_size": 20, "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1,
    "decoder_start_token_id": 1, "begin_suppress_tokens": None, "mask_time_prob": 0.0,
    **{f"encoder_{name}": value for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))},
    **{f"decoder_{name}": value for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))},
}  # fmt: skip
"""A Whisper that hears 30 s, but little of them."""


def family_config(family: str, norm: str = "layer", is_stable: bool = False, **fields: Any) -> dict[str, Any]:
    """Configuration of a tiny model; data2vec-audio has layer norms alone, and two positional convolutions."""
    if family == "whisper":
        return {"model_type": family, **TINY_WHISPER, **fields}
    if family != "data2vec-audio":
        return tiny_config(family, norm, do_stable_layer_norm=is_stable, **fields)
    config = tiny_config(family, num_conv_pos_embeddings=2, conv_pos_kernel_size=7, **fields)
    del config["feat_extract_norm"]
    return config


def make_config(family: str, norm: str = "layer", is_stable: bool = False, **fields: object) -> object:
    config = family_config(family, norm, is_stable, classifier_proj_size=8, **fields)
    return AutoConfig.for_model(config.pop("model_type"), **config)


def as_after_training(model: nn.Module) -> nn.Module:
    """Norms, with what they keep of batches, biases and layer weights that are not as at the start."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name or "layer_weights" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("norm.running_mean"):
                buffer.add_(0.5 * torch.randn_like(buffer))
            elif name.endswith("norm.running_var"):
                buffer.mul_(0.5 + torch.rand_like(buffer))
    return model.eval()


def save(model: Any, folder: Path, **options: Any) -> str:
    """Write a checkpoint as the hub has them."""
    model.save_pretrained(folder)
    if model.config.model_type == "whisper":
        extractor: Any = WhisperFeatureExtractor(**{"feature_size": model.config.num_mel_bins, **options})
    else:
        extractor = Wav2Vec2FeatureExtractor(**options)
    extractor.save_pretrained(folder)
    return str(folder)


def relative_difference(value: Tensor, reference: Tensor) -> float:
    return float(((value - reference).norm() / reference.norm()).detach())


def logits_and_gradient(function: Callable[[Tensor], Tensor], waveform: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a waveform, and the gradient of the second one."""
    values = waveform[None].clone().requires_grad_()
    logits = function(values)
    return logits, torch.autograd.grad(logits[0, 1], values)[0]


def states_and_gradient(function: Any, waveform: Tensor) -> tuple[list[Tensor], Tensor]:
    """States ``(1, frames, size)`` of a waveform, and the gradient of a sum over the last one."""
    values = waveform.clone().requires_grad_()
    states = function(values)
    weights = torch.randn(states[-1].shape, generator=torch.Generator().manual_seed(2))
    return states, torch.autograd.grad((states[-1] * weights).sum(), values)[0]


def features_of(waveforms: Tensor, num_samples: int, num_bins: int = TINY_WHISPER["num_mel_bins"]) -> Tensor:
    """Log-mel features ``(batch, bins, frames)`` of clips and silence, differentiably, as transformers has it."""
    extractor = WhisperFeatureExtractor(feature_size=num_bins)
    clips = nn.functional.pad(waveforms, (0, num_samples - waveforms.shape[1]))
    power = torch.stft(clips, 400, 160, window=torch.hann_window(400), return_complex=True)[..., :-1].abs() ** 2
    levels = (torch.from_numpy(extractor.mel_filters).float().T @ power).clamp_min(1e-10).log10()
    return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8) + 4) / 4


def make_model(family: str = "wavlm", norm: str = "group") -> Any:
    """A frozen model of transformers whose weights are all random."""
    torch.manual_seed(0)
    config = family_config(family, norm, conv_bias=norm == "layer")
    model = AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def waveforms(count: int = 2) -> Tensor:
    """Random waveforms ``(count, 2000)``."""
    return torch.randn(count, 2000, generator=torch.Generator().manual_seed(1))
