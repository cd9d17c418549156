"""Positional convolutions of the models of wav2vec2's kind."""

from typing import Any

import torch
from torch import Tensor, nn

from speechshap.models.derived import Derived
from speechshap.models.hooks import is_plain


class PositionalConvolution(nn.Module):
    """Convolutional position embedding over the weights of a Hugging Face model.

    Its kernel reaches over 128 frames, as many as two or three seconds have, so that on a CPU the convolution is done
    in the frequency domain, with a tenth of the multiplications or less. The spectrum of frozen weights is computed
    once. :meth:`adopt` turns a module of transformers into this one.
    """

    conv: Any
    padding: Any
    activation: Any
    _spectrum: Derived

    @classmethod
    def adopt(cls, embedding: Any) -> None:
        """Turn a module of transformers into this one; references to it and hooks stay valid."""
        embedding.__class__ = cls
        embedding._spectrum = Derived()

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute position embeddings.

        Args:
            hidden_states: ``(batch, frames, hidden size)``, 0 after the end of an utterance.
            mask: ``(batch, frames)``, true for the frames of the utterance. Without one, a batch norm lets the padding
                in, as in transformers.

        Returns:
            The same shape.
        """
        states = hidden_states.transpose(1, 2)
        batch_norm = getattr(self, "batch_norm", None)  # one checkpoint of HuBERT has it
        if batch_norm is not None:
            states = _silence(batch_norm(states), mask)
        if (
            states.device.type == "cpu"
            and is_plain(self.conv, nn.Conv1d)
            and is_plain(self.padding, type(self.padding))
        ):
            embeddings = self._convolve_spectra(states.transpose(1, 2)).transpose(1, 2)
        else:
            embeddings = self.padding(self.conv(states))
        activated: Tensor = self.activation(embeddings)
        return activated.transpose(1, 2)

    def _convolve_spectra(self, hidden_states: Tensor) -> Tensor:
        from scipy.fft import next_fast_len

        batch, frames, size = hidden_states.shape
        groups, kernel_size = self.conv.groups, self.conv.kernel_size[0]
        length = next_fast_len(frames + kernel_size - 1, real=True)
        per_group = size // groups

        def spectrum() -> Tensor:  # (groups * frequencies, channels in, channels out)
            spectra = torch.fft.rfft(_transformable(self.conv.weight).flip(-1), n=length)
            grouped = spectra.unflatten(0, (groups, per_group))  # (groups, out, in, frequencies)
            return grouped.permute(0, 3, 2, 1).reshape(-1, per_group, per_group)

        kernels = self._spectrum(list(self.conv.parameters()), spectrum, length)
        spectra = torch.fft.rfft(_transformable(hidden_states), n=length, dim=1).unflatten(2, (groups, per_group))
        products = torch.bmm(spectra.permute(2, 1, 0, 3).reshape(-1, batch, per_group), kernels)
        products = products.unflatten(0, (groups, -1)).permute(2, 1, 0, 3).flatten(2)  # (batch, frequencies, size)
        embeddings = torch.fft.irfft(products, n=length, dim=1)
        # Of the full convolution the part that padding by half a kernel leaves.
        first = kernel_size - 1 - self.conv.padding[0]
        return embeddings[:, first : first + frames].to(hidden_states.dtype) + self.conv.bias


class PositionalConvolutions(nn.Module):
    """Stack of positional convolutions of data2vec (Baevski et al. 2022), blind to padding.

    The convolutions are transformers' own: with 19 taps each there is nothing to gain. :meth:`adopt` turns a module of
    transformers into this one.
    """

    layers: Any

    @classmethod
    def adopt(cls, embedding: Any) -> None:
        """Turn a module of transformers into this one; references to it and hooks stay valid."""
        embedding.__class__ = cls

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute position embeddings.

        Args:
            hidden_states: ``(batch, frames, hidden size)``, 0 after the end of an utterance.
            mask: ``(batch, frames)``, true for the frames of the utterance. Without one, what a convolution writes
                after the end of an utterance reaches the next one, as in transformers.

        Returns:
            The same shape.
        """
        for layer in self.layers:
            hidden_states = _silence(layer(hidden_states.transpose(1, 2)), mask).transpose(1, 2)
        return hidden_states


def _silence(states: Tensor, mask: Tensor | None) -> Tensor:
    """0 after the end of each utterance, for ``(batch, hidden size, frames)``."""
    return states if mask is None else states.masked_fill(~mask[:, None], 0)


def _transformable(values: Tensor) -> Tensor:
    """There are no Fourier transforms in half precision on a CPU."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
