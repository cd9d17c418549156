"""The convolutional stem: waveforms to features, over the weights of a Hugging Face model.

Notation: B utterances, T samples, F frames of a layer, C channels of a layer, k kernel size, s stride.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stem(nn.Module):
    """Feature encoder of WavLM, wav2vec2 and HuBERT, channels last.

    The same numbers as transformers' feature encoder, whose parameters and their names it takes over. Channels last,
    a convolution is close to a plain matrix product and layer normalisation needs no transposition. The first group
    norm costs no pass over its input: mean and variance over time of a linear map of the windows follow from the mean
    and the covariance of the windows, and the normalisation is folded into the kernel of each utterance.

    Args:
        feature_encoder: Of transformers.

    Example:
        >>> from transformers import WavLMConfig, WavLMModel
        >>> model = WavLMModel(WavLMConfig(conv_dim=[8] * 7, num_hidden_layers=1, hidden_size=48)).eval()
        >>> Stem(model.feature_extractor)(torch.zeros(2, 1200)).shape
        torch.Size([2, 8, 3])
    """

    def __init__(self, feature_encoder: nn.Module) -> None:
        super().__init__()
        self.conv_layers: Any = feature_encoder.conv_layers

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the features.

        Args:
            waveforms: ``(B, T)``.
            lengths: ``(B,)`` samples of each utterance; what lies beyond is then not seen by the first normalisation.
                None takes all of the time axis, as transformers does.

        Returns:
            ``(B, C, F)``, laid out as ``(B, F, C)``. Frames that reach beyond an utterance mean nothing.
        """
        states = self._first(waveforms, lengths)  # (B, F, C)
        for layer in self.conv_layers[1:]:
            states = _convolve(layer.conv, states)
            if hasattr(layer, "layer_norm"):
                states = layer.layer_norm(states)
            states = layer.activation(states)
        return states.transpose(1, 2)

    def _first(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        layer, device = self.conv_layers[0], waveforms.device.type
        conv = layer.conv
        # A lower precision would round the sound itself, and costs more here than it saves.
        with torch.autocast(device, enabled=False), _full_precision():
            kernel = conv.weight[:, 0].to(waveforms.dtype)  # (C, k)
            windows = waveforms.unfold(1, kernel.shape[1], conv.stride[0])  # (B, F, k)
            if isinstance(layer.layer_norm, nn.GroupNorm):
                kernels, biases = _normalized_kernels(windows, kernel, layer.layer_norm, _frames(conv, lengths))
                states = torch.baddbmm(biases[:, None], windows, kernels.transpose(1, 2))
            else:
                states = layer.layer_norm(functional.linear(windows, kernel, conv.bias))
        if torch.is_autocast_enabled(device):  # what the graph keeps is half as large
            states = states.to(torch.get_autocast_dtype(device))
        return layer.activation(states)

    def _freeze_parameters(self) -> None:
        """Transformers' models call this to take the stem out of training."""
        self.requires_grad_(False)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of single-precision matrices without TF32."""
    kept = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(kept)


def _convolve(conv: nn.Conv1d, states: Tensor) -> Tensor:
    """``(B, F, C) -> (B, F', C')``, as a two-dimensional convolution, since only these have channels-last kernels."""
    states = functional.conv2d(
        states.transpose(1, 2).unsqueeze(2),  # (B, C, 1, F)
        conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last),
        conv.bias,
        (1, conv.stride[0]),
    )
    return states.squeeze(2).transpose(1, 2)


def _frames(conv: nn.Conv1d, lengths: Tensor | None) -> Tensor | None:
    return None if lengths is None else (lengths - conv.kernel_size[0]) // conv.stride[0] + 1


def _normalized_kernels(
    windows: Tensor, kernel: Tensor, norm: nn.GroupNorm, frame_lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Kernels ``(B, C, k)`` and biases ``(B, C)`` that convolve and normalise over time at once.

    The norm has a group for each channel, in all of these models. A bias of the convolution falls out. The moments are
    taken in double precision: speech has little power at high frequencies, and the variance after a filter that passes
    these alone is a small difference of large numbers.
    """
    precise = torch.float32 if windows.device.type == "mps" else torch.float64
    windows, filters = windows.to(precise), kernel.to(precise)
    if frame_lengths is None:
        count = torch.full((len(windows), 1, 1), windows.shape[1], dtype=precise, device=windows.device)
        mean = windows.mean(1, keepdim=True)  # (B, 1, k)
        centred = windows - mean
    else:
        inside = (torch.arange(windows.shape[1], device=windows.device) < frame_lengths[:, None])[..., None]
        count = frame_lengths.to(precise)[:, None, None]
        mean = windows.masked_fill(~inside, 0).sum(1, keepdim=True) / count
        centred = (windows - mean).masked_fill(~inside, 0)
    covariance = centred.transpose(1, 2) @ centred / count  # (B, k, k)
    variance = torch.einsum("ci,bij,cj->bc", filters, covariance, filters)
    scale = norm.weight.to(precise) * torch.rsqrt(variance + norm.eps)  # (B, C)
    biases = norm.bias.to(precise) - scale * (mean[:, 0] @ filters.T)
    return (scale[..., None] * filters).to(kernel.dtype), biases.to(kernel.dtype)
