"""Tiny models of waveforms, random but always the same, and draws that Captum and this package share."""

import gc

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import WavLMConfig, WavLMModel


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Gaussian noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def living_tensors() -> list[Tensor]:
    """Of the whole process; ``isinstance`` would ask proxies of objects that are gone, which raise."""
    return [each for each in gc.get_objects() if issubclass(type(each), Tensor)]


def seeded(model: nn.Module) -> nn.Module:
    """Weights that depend neither on the initialisation of a library nor on the order of its parameters."""
    for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
        values = noise(*parameter.shape, seed=number)
        with torch.no_grad():
            parameter.copy_(1 + 0.1 * values if "norm" in name and name.endswith("weight") else 0.2 * values)
    return model.eval()


def mean_over_time(hidden: Tensor, frames: Tensor) -> Tensor:
    """Mean of ``(batch, frames, hidden)`` over each utterance's own frames."""
    inside = torch.arange(hidden.shape[1]) < frames[:, None]
    return (hidden * inside[..., None]).sum(1) / frames[:, None]


class Convolution(nn.Module):
    """A convolution, a saturating nonlinearity, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 6, 20, stride=10)
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        hidden = self.hidden(self.stem(waveforms[:, None]).transpose(1, 2).tanh())
        return self.head(mean_over_time(hidden.square(), (lengths - 20) // 10 + 1))


class TinyWavLM(nn.Module):
    """A WavLM of two layers as transformers has it, and a head.

    Args:
        norm: ``layer``, or ``group``, which transformers computes over the padding, too.
        is_weighted: The head gets the weighted sum of all hidden states, not the last one alone.
    """

    def __init__(self, norm: str = "layer", is_weighted: bool = False) -> None:
        super().__init__()
        config = WavLMConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, conv_dim=[6] * 7,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_extract_norm=norm, mask_time_prob=0.0,
            layerdrop=0.0,
        )  # fmt: skip
        self.backbone = WavLMModel(config)
        self.head = nn.Linear(8, 3)
        self.layer_weights = nn.Parameter(torch.zeros(3)) if is_weighted else None

    @property
    def layers(self) -> dict[str, nn.Module]:
        """The transformer's layers by name."""
        return {f"layer_{number + 1}": layer for number, layer in enumerate(self.backbone.encoder.layers)}

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        mask = torch.arange(waveforms.shape[1]) < lengths[:, None]
        output = self.backbone(waveforms, attention_mask=mask.long(), output_hidden_states=True)
        hidden = output.last_hidden_state
        if self.layer_weights is not None:
            hidden = (torch.stack(output.hidden_states, -1) * self.layer_weights.softmax(0)).sum(-1)
        return self.head(mean_over_time(hidden, (lengths - 400) // 320 + 1))


def draws_for_captum(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    """A waveform ``(1, 2000)``, references ``(6, 2000)`` and alphas ``(6,)``; Captum will draw just these."""
    generator = torch.Generator().manual_seed(3)
    waveform = 0.1 * torch.randn(1, 2000, generator=generator)
    references = 0.1 * torch.randn(6, 2000, generator=generator)
    alphas = torch.rand(6, generator=generator)
    monkeypatch.setattr("numpy.random.uniform", lambda *args, **options: alphas.numpy())
    monkeypatch.setattr("numpy.random.choice", lambda *args, **options: np.arange(6))
    return waveform, references, alphas
