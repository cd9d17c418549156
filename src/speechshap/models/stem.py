"""The convolutional stem: waveforms to features, over the weights of a Hugging Face model.

Notation: B utterances, T samples, F frames of a layer, C channels of a layer, k kernel size, s stride.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechshap.models.hooks import is_plain
from speechshap.models.precision import full_precision


class Stem(nn.Module):
    """Feature encoder of WavLM, wav2vec2 and HuBERT, channels last.

    The same numbers, parameters and hooks as transformers' feature encoder, which :meth:`adopt` turns into this one.
    Channels last, a convolution is close to a plain matrix product and layer normalisation needs no transposition.

    Example:
        >>> from transformers import WavLMConfig, WavLMModel
        >>> model = WavLMModel(WavLMConfig(conv_dim=[8] * 7, num_hidden_layers=1, hidden_size=48)).eval()
        >>> Stem.adopt(model.feature_extractor)
        >>> model.feature_extractor(torch.zeros(2, 1200)).shape
        torch.Size([2, 8, 3])
    """

    conv_layers: Any

    @classmethod
    def adopt(cls, feature_encoder: Any) -> None:
        """Turn a module of transformers into this one; references to it and to its layers, and hooks, stay valid."""
        feature_encoder.__class__ = cls
        for number, layer in enumerate(feature_encoder.conv_layers):
            layer.__class__ = StemLayer if number else FirstStemLayer

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the features.

        Args:
            waveforms: ``(B, T)``.
            lengths: ``(B,)`` samples of each utterance; what lies beyond is then not seen by the first normalisation.
                None takes all of the time axis, as transformers does.

        Returns:
            ``(B, C, F)``, laid out as ``(B, F, C)``. Frames that reach beyond an utterance mean nothing.
        """
        first, *others = self.conv_layers
        states: Tensor = first(waveforms[:, None], lengths=lengths)
        for layer in others:
            states = layer(states)
        return states

    def _freeze_parameters(self) -> None:
        """Transformers' models call this to take the stem out of training."""
        self.requires_grad_(False)


class FirstStemLayer(nn.Module):
    """First layer of the stem: convolution, normalisation, activation.

    A group norm costs no pass over its input: mean and variance over time of a linear map of the windows follow from
    the mean and the covariance of the windows, and the normalisation is folded into the kernel of each utterance.
    """

    conv: Any
    layer_norm: Any
    activation: Any

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(B, 1, T)``, and the lengths of :class:`Stem`, to ``(B, C, F)``."""
        device = waveforms.device.type
        # A lower precision would round the sound itself, and costs more here than it saves.
        with torch.autocast(device, enabled=False), full_precision():
            states = self._normalized(waveforms, lengths)
        if torch.is_autocast_enabled(device):  # what the graph keeps is half as large
            states = states.to(torch.get_autocast_dtype(device))
        activated: Tensor = self.activation(states)
        return activated

    def _normalized(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        conv, norm, counts = self.conv, self.layer_norm, _frames(self.conv, lengths)
        is_group_norm = isinstance(norm, nn.GroupNorm)
        if not is_plain(conv, nn.Conv1d) or (is_group_norm and not is_plain(norm, nn.GroupNorm)):
            states = conv(waveforms)
            return _normalize_each(norm, states, counts) if is_group_norm else _normalize_frames(norm, states)
        kernel = conv.weight[:, 0].to(waveforms.dtype)  # (C, k)
        windows = waveforms[:, 0].unfold(1, kernel.shape[1], conv.stride[0])  # (B, F, k)
        if not is_group_norm:
            return _normalize_frames(norm, functional.linear(windows, kernel, conv.bias).transpose(1, 2))
        kernels, biases = _normalized_kernels(windows, kernel, norm, counts)
        return torch.baddbmm(biases[:, None], windows, kernels.transpose(1, 2)).transpose(1, 2)


class StemLayer(nn.Module):
    """A further layer of the stem: convolution, in some models a layer norm, activation."""

    conv: Any
    activation: Any
    layer_norm: nn.Module  # of some models

    def forward(self, states: Tensor) -> Tensor:
        """``(B, C, F) -> (B, C', F')``."""
        states = _convolve(self.conv, states) if is_plain(self.conv, nn.Conv1d) else self.conv(states)
        if hasattr(self, "layer_norm"):
            states = _normalize_frames(self.layer_norm, states)
        activated: Tensor = self.activation(states)
        return activated


def _convolve(conv: nn.Conv1d, states: Tensor) -> Tensor:
    """``(B, C, F) -> (B, C', F')``, as a two-dimensional convolution, since only these have channels-last kernels."""
    return functional.conv2d(
        states.unsqueeze(2),  # (B, C, 1, F)
        conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last),
        conv.bias,
        (1, conv.stride[0]),
    ).squeeze(2)


def _normalize_frames(norm: nn.Module, states: Tensor) -> Tensor:
    """Layer norm over the channels of ``(B, C, F)``."""
    normalized: Tensor = norm(states.transpose(1, 2))
    return normalized.transpose(1, 2)


def _normalize_each(norm: nn.Module, states: Tensor, frame_lengths: Tensor | None) -> Tensor:
    """Group norm of ``(B, C, F)`` over time; with lengths each utterance alone, 0 after its end."""
    if frame_lengths is None:
        normalized: Tensor = norm(states)
        return normalized
    rows = zip(states.split(1), frame_lengths.tolist(), strict=True)
    return torch.cat([functional.pad(norm(row[..., :count]), (0, row.shape[2] - count)) for row, count in rows])


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
