"""What the benchmarks share: counting evaluations, measuring time and memory, printing tables."""

import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


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


class PeakMemory:
    """Largest resident memory of the process above what it had at the start (GB), sampled every 5 ms."""

    def __enter__(self) -> "PeakMemory":
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
