"""Faster modules over the weights of a Hugging Face model."""

from typing import Any

from torch import nn

from speechshap.models.positional_convolution import PositionalConvolution, PositionalConvolutions
from speechshap.models.stem import Stem


def accelerate(model: nn.Module) -> nn.Module:
    """Replace what is slow in a model of transformers: the stem, the positional convolution, WavLM's attention.

    The model is changed in place: it gives the same numbers, with masks and without, for the outputs and for their
    gradients, and its state dict keeps its keys, so that checkpoints load both ways. Its modules stay the same objects,
    hooks on them and on their parts are called, also those that were there before, and weights may change at any time.
    In a padded batch, hooks of the first group norm are called for one utterance after the other. Attention weights of
    WavLM, where asked for, are each head's own and not their mean. The attention of the other families and the
    positional convolutions of data2vec are transformers' own.

    Args:
        model: WavLM, wav2vec2, HuBERT, UniSpeech-SAT, data2vec-audio or another model of transformers that is built
            from a convolutional stem, a positional convolution and a transformer as they are; bare or with a head.

    Returns:
        The same model.

    Raises:
        ValueError: It is built otherwise.

    Example:
        >>> import torch
        >>> from transformers import WavLMConfig, WavLMModel
        >>> model = WavLMModel(WavLMConfig(conv_dim=[8] * 7, num_hidden_layers=1, hidden_size=48)).eval()
        >>> waveform = torch.randn(1, 1200, generator=torch.Generator().manual_seed(0))
        >>> before = model(waveform).last_hidden_state
        >>> torch.allclose(accelerate(model)(waveform).last_hidden_state, before, atol=1e-5)
        True
    """
    base: Any = getattr(model, "base_model", model)
    stem = getattr(base, "feature_extractor", None)
    embedding = getattr(getattr(base, "encoder", None), "pos_conv_embed", None)
    if stem is None or embedding is None or not _keeps_all_frames(embedding):
        raise ValueError(
            f"the model is a {type(model).__name__}; expected one with the convolutional stem and the positional "
            "convolution of wav2vec2, such as WavLM, HuBERT, UniSpeech-SAT or data2vec-audio"
        )
    positions = PositionalConvolutions if hasattr(embedding, "layers") else PositionalConvolution  # data2vec has layers
    Stem.adopt(stem)
    positions.adopt(embedding)
    if base.config.model_type == "wavlm":
        from speechshap.models.gated_attention import GatedAttention

        for layer in base.encoder.layers:
            GatedAttention.adopt(layer.attention, base.config)
    return model


def _keeps_all_frames(embedding: nn.Module) -> bool:
    """Whether a positional convolution has a result for each frame; that of SEW, for one, brings frames together."""
    return all(part.stride == (1,) for part in embedding.modules() if isinstance(part, nn.Conv1d))
