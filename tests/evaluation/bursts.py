"""Clips whose evidence is known, and a small network that finds it: trained in seconds."""

from functools import cache, cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from speechshap.data import Stretch
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.spaces import Space

CLASSES = ["neutral", "low", "high"]
"""Noise alone, and noise with a burst of a low or of a high tone."""

_HERTZ = {1: 600.0, 2: 2400.0}
_LENGTH, _BURST = 12800, 3200


class Bursts(NamedTuple):
    """Clips of noise with a tone somewhere: waveforms ``(clips, time)``, classes ``(clips,)`` and where the tone is."""

    waveforms: Tensor
    labels: Tensor
    stretches: list[list[Stretch]]


def bursts(count: int, seed: int, classes: tuple[int, ...] = (0, 1, 2)) -> Bursts:
    """Draw clips of these classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    waveforms = 0.1 * torch.randn(count, _LENGTH, generator=generator)
    labels = torch.tensor(classes).repeat(count)[:count]
    stretches: list[list[Stretch]] = []
    for waveform, label in zip(waveforms, labels.tolist(), strict=True):
        start = int(torch.randint(_LENGTH - _BURST, (), generator=generator))
        time = torch.arange(_BURST) / SAMPLE_RATE
        if label:
            waveform[start : start + _BURST] += 0.1 * torch.sin(2 * torch.pi * _HERTZ[label] * time)
        bounds = (start / SAMPLE_RATE, (start + _BURST) / SAMPLE_RATE)
        stretches.append([Stretch(*bounds)] if label else [])
    return Bursts(waveforms, labels, stretches)


class Listener(nn.Module):
    """A classifier of :mod:`speechshap.models.protocols`: convolutions over a log spectrum, and a mean over time."""

    classes = CLASSES
    is_regression = False
    grid = FrameGrid()
    window = None
    shortest = 400
    longest = None
    one_by_one = False
    gradient_checkpointing = None
    spaces: ClassVar[dict[str, Space]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.window_of_frames = nn.Buffer(torch.hann_window(512), persistent=False)
        self.frames = nn.Sequential(
            nn.Conv1d(64, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 3, 1)
        )

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """None are explained."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """All is in the weights."""
        return {}

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits of waveforms of equal length."""
        spectrum = torch.stft(
            waveforms, 512, 320, window=self.window_of_frames, return_complex=True, pad_mode="constant"
        )
        power = spectrum.real.square() + spectrum.imag.square()  # (batch, 257, frames)
        bands = power[:, 1:].unflatten(1, (64, 4)).mean(2)
        return self.frames((bands + 1e-3).log()).mean(2)

    def embed(self, waveforms: Tensor, lengths: Tensor) -> None:
        """There is no vector of an utterance."""


@cache
def trained() -> Listener:
    """A network that knows the tones; the same one each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Listener()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        clips = bursts(48, seed=step)
        loss = nn.functional.cross_entropy(model(clips.waveforms), clips.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)
