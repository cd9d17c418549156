"""What the benchmarks share: counting evaluations, measuring time and memory, printing tables."""

import ctypes
import gc
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import GradientShap
from torch import Tensor

from speechshap import AudioDataModule
from speechshap.attribution import Attribution, Baseline, as_baseline, gradient_shap
from speechshap.data.audio import load_audio
from speechshap.frames import FrameGrid
from speechshap.training import load_checkpoint, read_checkpoint


class CountingForward:
    """A forward that counts its rows: 1 for a row with a graph (it will be differentiated), 0.5 for one without."""

    def __init__(self, forward: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.forward = forward
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.cost = 0.0

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify."""
        output = self.forward(waveforms, lengths)
        self.cost += len(waveforms) * (1.0 if output.requires_grad else 0.5)
        return output


class Clip:
    """A clip, its truth, and what its explanations cost."""

    def __init__(
        self,
        model: Callable[[Tensor, Tensor], Tensor],
        grid: FrameGrid,
        waveform: Tensor,
        baseline: Baseline,
        name: str,
    ) -> None:
        self.forward = CountingForward(model)
        self.waveform = waveform[None]
        self.baseline = baseline
        self.name = name
        self.grid = grid

    def explain(self, seed: int, **options: object) -> Attribution:
        """Explain the predicted class with the draws of a seed."""
        return gradient_shap(
            self.forward, self.waveform, self.baseline, ids=[f"{self.name}-{seed}"], seed=seed, grid=self.grid,
            **options,
        )  # fmt: skip

    def frames(self, seed: int, **options: object) -> Tensor:
        """Frame attributions of a run."""
        return self.explain(seed, **options).frames[0, 0]

    def captum(self, n_samples: int, seed: int) -> Tensor:
        """Frame attributions of Captum, with references drawn as ours are."""
        generator = torch.Generator().manual_seed(seed)
        references = torch.stack([self.baseline(self.waveform[0], generator) for _ in range(n_samples)])
        np.random.seed(seed)  # noqa: NPY002 - Captum draws from the global generator
        length = torch.tensor([self.waveform.shape[1]])
        target = int(self.forward.forward(self.waveform, length).argmax())
        values = GradientShap(lambda rows: self.forward(rows, length.expand(len(rows)))).attribute(
            self.waveform, references, n_samples=n_samples, stdevs=0.0, target=target
        )
        owner = self.grid.owner(values.shape[1])
        return torch.zeros(int(owner.max()) + 1, dtype=torch.float64).index_add_(0, owner, values[0].double())


def load_clips(checkpoint_path: Path, root: str | None, count: int, kind: str) -> list[Clip]:
    """Clips of the test split of a checkpoint, with noise or training clips (``dataset``) as references."""
    module = load_checkpoint(checkpoint_path)
    module.eval().requires_grad_(False)
    checkpoint = read_checkpoint(checkpoint_path)
    data = AudioDataModule(**{**checkpoint["datamodule_hyper_parameters"], "root": root, "max_utterances": count})
    data.load_state_dict(checkpoint[AudioDataModule.__qualname__])
    data.setup("predict")
    baseline = as_baseline("noise" if kind == "noise" else data.reference_set(64))
    return [
        Clip(module, module.backbone.grid, torch.from_numpy(load_audio(utterance.path)), baseline, utterance.id)
        for utterance in data.predict_utterances
    ]


class PeakMemory:
    """Largest resident memory of the process above what it had at the start (GB), sampled every 5 ms."""

    def __enter__(self) -> "PeakMemory":
        # What earlier work freed goes back first, or it would hide what this work takes.
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self._start = self._peak = _resident_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._peak = max(self._peak, _resident_bytes())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.gigabytes = (self._peak - self._start) / 1e9


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds and peak gigabytes of a run."""
    with PeakMemory() as memory:
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
    return seconds, memory.gigabytes


def machine() -> str:
    """The processor and the threads that torch uses."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}\n")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
