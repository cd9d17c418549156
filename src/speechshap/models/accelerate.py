"""Faster modules over the weights of a Hugging Face model."""

from typing import Any

from torch import nn

from speechshap.models.positional_convolution import PositionalConvolution, PositionalConvolutions
from speechshap.models.stem import Stem

FAMILIES = ("wavlm", "wav2vec2", "hubert", "unispeech-sat", "data2vec-audio")
"""Families built like wav2vec2 (convolutional stem, positional convolution, transformer), by their ``model_type``."""


def accelerate(model: nn.Module) -> nn.Module:
    """Replace what is slow in a model of transformers: the stem, the positional convolution, WavLM's attention.

    The model is changed in place: it gives the same numbers, with masks and without, for the outputs and for their
    gradients, and its state dict keeps its keys, so that checkpoints load both ways. Attention weights of WavLM, where
    asked for, are each head's own and not their mean. The attention of the other families and the positional
    convolutions of data2vec are transformers' own.

    Args:
        model: WavLM, wav2vec2, HuBERT, UniSpeech-SAT or data2vec-audio of transformers, bare or with a head.

    Returns:
        The same model.

    Raises:
        ValueError: It is of another family.

    Example:
        >>> import torch
        >>> from transformers import WavLMConfig, WavLMModel
        >>> model = WavLMModel(WavLMConfig(conv_dim=[8] * 7, num_hidden_layers=1, hidden_size=48)).eval()
        >>> waveform = torch.randn(1, 1200, generator=torch.Generator().manual_seed(0))
        >>> before = model(waveform).last_hidden_state
        >>> torch.allclose(accelerate(model)(waveform).last_hidden_state, before, atol=1e-5)
        True
    """
    family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if family not in FAMILIES:
        raise ValueError(f"the model is a {family}; expected one of {', '.join(FAMILIES)}")
    base: Any = getattr(model, "base_model", model)
    positions = PositionalConvolutions if family == "data2vec-audio" else PositionalConvolution
    base.feature_extractor = Stem(base.feature_extractor)
    base.encoder.pos_conv_embed = positions(base.encoder.pos_conv_embed)
    if family == "wavlm":
        from speechshap.models.gated_attention import GatedAttention

        for layer in base.encoder.layers:
            GatedAttention.adopt(layer.attention, base.config)
    return model
