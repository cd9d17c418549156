"""Peak memory of explaining long recordings: explain.py as it is, a process for each length.

    python benchmarks/long_recordings.py runs/demo/version_0/checkpoints/best.ckpt
    python benchmarks/long_recordings.py …/best.ckpt --minutes 1 10 --explain.targets=all
    python benchmarks/long_recordings.py …/best.ckpt --minutes 1 10 '--explain.spectrum={num_mel_bands: 64}'

What follows is passed on to explain.py. The recordings are noise that swells and fades.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from harness import machine, print_table

RATE = 16_000
EXPLAIN = Path(__file__).parents[1] / "explain.py"


def write_noise(path: Path, minutes: int) -> None:
    """Write a recording, a minute at a time."""
    generator = np.random.default_rng(0)
    envelope = 0.1 * (1 + np.sin(np.arange(60 * RATE) * 2 * np.pi / RATE / 3))
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(minutes):
            file.write(envelope * generator.standard_normal(60 * RATE) / 4)


def explain(checkpoint: str, minutes: int, options: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of explaining a recording."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, f"{minutes}.flac")
        write_noise(sound, minutes)
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own script
            [
                sys.executable, str(EXPLAIN), "--ckpt_path", checkpoint, "--data.files", str(sound),
                "--explain.output_dir", str(Path(folder, "run")), "--explain.n_samples=4", "--report=false", *options,
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"explain.py failed for {minutes} minutes; call it yourself to see why")
        return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Measure all lengths, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="of train.py")
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 10, 60, 120])
    arguments, options = parser.parse_known_args()
    rows: list[list[str]] = []
    first: tuple[int, float] | None = None
    for minutes in sorted(arguments.minutes):
        seconds, peak = explain(arguments.checkpoint, minutes, options)
        first = first or (minutes, peak)
        grown = "" if minutes == first[0] else f"{(peak - first[1]) / (minutes - first[0]):.0f}"
        rows.append([str(minutes), f"{peak:.0f}", grown, f"{seconds:.0f}"])
    print_table(
        f"Four draws; {machine()}",
        ["minutes", "peak (MB)", f"MB a minute beyond the first {first[0] if first else 0}", "seconds"],
        rows,
    )


if __name__ == "__main__":
    main()
