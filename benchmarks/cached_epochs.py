"""Epochs of a head on a frozen backbone: through the backbone's forward, and from features that are kept.

    python benchmarks/cached_epochs.py                  # WavLM base, random weights: some minutes on two cores
    python benchmarks/cached_epochs.py --small          # a small WavLM: seconds
    python benchmarks/cached_epochs.py --checkpoints    # with a checkpoint after each epoch, backbone included

An epoch trains on 80 clips and validates on 20, as Lightning runs it: with its loops, TensorBoard's scalars and a
progress bar. Both sides train in one process, from the same seed; what they come to is compared after two epochs. The
first epoch of a cached training is left out of its median, and so is the encoding, which has a column of its own.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
from harness import machine, print_table
from passes import SMALL
from pytorch_lightning.loggers import TensorBoardLogger

from speechshap import AudioDataModule, EmotionModule
from speechshap.training import EpochSeed, RunCheckpoint

RATE = 16_000
CLASSES = ("angry", "happy", "sad")


class EpochSeconds(pl.Callback):
    """Seconds of each epoch, its validation included, and those from the start of the run to the first epoch."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the clock."""
        self.marks = [time.perf_counter()]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin an epoch."""
        self.marks.append(time.perf_counter())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the last epoch."""
        self.marks.append(time.perf_counter())

    @property
    def before(self) -> float:
        """From the start of the run to the first epoch."""
        return self.marks[1] - self.marks[0]

    @property
    def epochs(self) -> np.ndarray:
        """Of each epoch."""
        return np.diff(self.marks[1:])


def write_corpus(folder: Path, count: int, seconds: float) -> Path:
    """Write clips of noise, and their manifest: a fifth of them are for validation."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        name, label = f"{number:04d}.wav", CLASSES[number % len(CLASSES)]
        loudness = 0.02 * (1 + CLASSES.index(label)) * (1 + 0.2 * generator.standard_normal())
        soundfile.write(folder / name, loudness * generator.standard_normal(round(seconds * RATE)), RATE)
        is_val = number % 5 == 4
        rows.append([name, label, f"speaker {is_val}", "val" if is_val else "train"])
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "split"], *rows])
    return manifest


def train(
    folder: Path, manifest: Path, cache: str, epochs: int, arguments: argparse.Namespace, options: dict[str, Any]
) -> tuple[EpochSeconds, dict[str, torch.Tensor]]:
    """Train; returns the times, and what was trained."""
    pl.seed_everything(0, verbose=False)
    data = AudioDataModule(root=str(manifest), cache=cache, batch_size=16)
    config = {"model_type": "wavlm", **(SMALL if arguments.small else {})}
    module = EmotionModule(list(CLASSES), backbone_config=config, **options)
    clock = EpochSeconds()
    saved = RunCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = pl.Trainer(
        accelerator=arguments.device, devices=1, max_epochs=epochs, num_sanity_val_steps=0, log_every_n_steps=5,
        logger=TensorBoardLogger(folder / "runs"), enable_model_summary=False,
        enable_checkpointing=arguments.checkpoints,
        callbacks=[clock, EpochSeed(), *([saved] if arguments.checkpoints else [])],
    )  # fmt: skip
    trainer.fit(module, data)
    return clock, {
        name: value.detach().cpu().clone() for name, value in module.named_parameters() if value.requires_grad
    }


def compare(folder: Path, manifest: Path, options: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Cells of a row."""
    cache = folder / f"cache {options}"
    through, expected = train(folder, manifest, "off", 2, arguments, options)
    first, found = train(folder, manifest, str(cache), 2, arguments, options)
    cached, _ = train(folder, manifest, str(cache), arguments.epochs, arguments, options)
    backbone, kept = float(np.median(through.epochs)), float(np.median(cached.epochs[1:]))
    largest = max(float((found[name] - value).abs().max()) for name, value in expected.items())
    moved = max(float(value.abs().max()) for value in expected.values())
    size = sum(path.stat().st_size for path in cache.rglob("*.safetensors"))
    return [
        options["pooling"], f"{backbone:.1f} s", f"{first.before:.1f} s", f"{cached.before:.1f} s",
        f"{1000 * kept:.0f} ms", f"{backbone / kept:.0f}x", f"{size / 1e6:.1f} MB", f"{largest:.1e} of {moved:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the clips")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the cached training")
    parser.add_argument("--poolings", nargs="+", default=["mean", "attentive"])
    parser.add_argument("--checkpoints", action="store_true", help="write one after each epoch, backbone included")
    parser.add_argument("--small", action="store_true", help="a small WavLM")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_corpus(folder, arguments.clips, arguments.seconds)
        rows = [compare(folder, manifest, {"pooling": pooling}, arguments) for pooling in arguments.poolings]
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else machine()
    model = "small WavLM" if arguments.small else "WavLM base"
    print_table(
        f"An epoch of {arguments.clips} clips of {arguments.seconds:g} s, {model}, {where}",
        ["pooling", "through the backbone", "start, encoding", "start, cached", "cached epoch", "faster", "on disk",
         "largest difference of a trained weight"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
