"""Explain a LightningModule of your own: a small convolutional network on waveforms.

It learns to tell a high tone from a low one; either sounds for a fifth of a second somewhere in noise. The explanation
has to point there. Runs within a minute on two CPU cores: ``python examples/own_model.py``.
"""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from speechshap import GradientSHAPCallback

SAMPLE_RATE, SECONDS, TONE_SECONDS = 16_000, 1.0, 0.2


class ToneNet(pl.LightningModule):
    """Two convolutions, a mean over time, and a linear layer."""

    classes = ("low", "high")  # the names of the outputs, which the explanation uses

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv1d(1, 16, 64, 16), nn.ReLU(), nn.Conv1d(16, 16, 8, 4), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits ``(batch, 2)`` of waveforms ``(batch, time)``."""
        return self.head(self.convolutions(waveforms[:, None]).mean(-1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        waveforms, labels = batch
        return nn.functional.cross_entropy(self(waveforms), labels)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Predicted classes ``(batch,)``; the callback needs ``forward`` alone."""
        return self(batch[0]).argmax(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def tones(count: int, seed: int) -> tuple[TensorDataset, Tensor]:
    """Waveforms ``(count, time)`` and labels ``(count,)``, and where each tone starts in seconds ``(count,)``."""
    generator = torch.Generator().manual_seed(seed)
    samples, tone_samples = round(SECONDS * SAMPLE_RATE), round(TONE_SECONDS * SAMPLE_RATE)
    labels = torch.randint(2, (count,), generator=generator)
    starts = torch.randint(samples - tone_samples, (count,), generator=generator)
    time = torch.arange(tone_samples) / SAMPLE_RATE
    waveforms = 0.05 * torch.randn(count, samples, generator=generator)
    for row, (label, start) in enumerate(zip(labels.tolist(), starts.tolist(), strict=True)):
        waveforms[row, start : start + tone_samples] += 0.3 * torch.sin(2 * torch.pi * (400, 1600)[label] * time)
    return TensorDataset(waveforms, labels), starts / SAMPLE_RATE


def main(output_dir: str = "runs/own_model") -> None:
    """Train, and explain what was predicted."""
    pl.seed_everything(0)
    module = ToneNet()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    training, _ = tones(512, seed=0)
    pl.Trainer(max_epochs=8, **quiet).fit(module, DataLoader(training, batch_size=32, shuffle=True))

    unseen, starts = tones(4, seed=1)
    explain = GradientSHAPCallback(output_dir=output_dir, n_samples=64, layers="convolutions.2", max_drawn=4)
    pl.Trainer(callbacks=[explain], **quiet).predict(module, DataLoader(unseen, batch_size=4))
    for explanation, start in zip(explain.runner.results.explanations(), starts.tolist(), strict=True):
        frames, edges = explanation.frames.values[0], explanation.frame_edges
        inside = (edges[1:] > start) & (edges[:-1] < start + TONE_SECONDS)
        share = abs(frames[inside]).sum() / abs(frames).sum()
        print(
            f"{explanation.prediction}: {share:.0%} of the attribution is in the tone, {inside.mean():.0%} of the time"
        )


if __name__ == "__main__":
    main()
