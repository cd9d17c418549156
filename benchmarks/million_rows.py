"""A results folder of a million utterances: seconds and memory to go on with it, to sum it up and to show it.

    python benchmarks/million_rows.py --utterances 1000000

Writes rows as ``speechshap explain`` does, of random numbers, and reads them in a process for each line of the table,
whose largest memory is that of the whole process, imports included. A row is of a clip of a second: a contrast, 49
frames and 10 stretches of 100 ms with standard errors, the prosody of the evidence, and a pooled state of ``--hidden``
numbers; 1000 speakers, 8 classes. There are no sound files, so that the report has pictures without sounds.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import machine, print_table
from tqdm.auto import tqdm

from speechshap.attribution.targets import Target
from speechshap.data.cues import CUES
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.report.display import Display
from speechshap.report.page import write_report
from speechshap.report.summary import Summary
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import CueMeans, Explanation, Provenance
from speechshap.results.folder import ResultsFolder
from speechshap.results.rows import SCHEMA, to_rows
from speechshap.results.segments import SegmentAttribution
from speechshap.results.writer import ResultsWriter
from speechshap.run_lock import new_run_id

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
FRAMES = 49
STRETCHES = 10
SETTINGS = "0123456789abcdef"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

NUMBERS = {
    "frame_attribution": FRAMES, "frame_standard_error": FRAMES, "segment_attribution": STRETCHES,
    "segment_standard_error": STRETCHES, "cue_evidence": len(CUES), "cue_rest": len(CUES),
}  # fmt: skip
"""Columns that hold other numbers in each row, and how many."""


def main() -> None:
    """Write, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, help="utterances of a part; left out, as many as make a megabyte")
    parser.add_argument("--hidden", type=int, default=32, help="numbers of a pooled state (32)")
    parser.add_argument(
        "--folder", type=Path, help="where to write (4 GB for a million), by default a temporary folder"
    )
    parser.add_argument("--only", choices=list(MEASURED), nargs="+", default=list(MEASURED))
    parser.add_argument("--measure", choices=list(MEASURED), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(MEASURED[arguments.measure], arguments.folder)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        write(folder, arguments.utterances, arguments.batch, arguments.hidden)
        sizes = [path.stat().st_size for path in folder.glob("part-*.parquet")]
        rows = []
        for name in arguments.only:
            command = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            seconds, megabytes, note = json.loads(done.stdout.splitlines()[-1])
            rows.append([name, f"{seconds:.1f}", f"{megabytes:.0f}", note])
            print(rows[-1], file=sys.stderr, flush=True)
    print_table(
        f"{arguments.utterances:,} utterances in {len(sizes):,} parts of {sum(sizes) / 1e9:.2f} GB, {machine()}",
        ["what", "seconds", "peak (MB)", "result"],
        rows,
    )


def write(folder: Path, count: int, batch: int | None, hidden: int) -> None:
    """Write so many utterances in parts of ``batch``."""
    generator, run = np.random.default_rng(0), new_run_id()
    template = pa.Table.from_pylist(to_rows(explanation(hidden)), SCHEMA)
    batch = batch or max(1, 2**20 // template.nbytes)
    for number, start in enumerate(tqdm(range(0, count, batch), desc="writing", unit="part")):
        table = variants(template, range(start, min(count, start + batch)), hidden, generator)
        pq.write_table(table, folder / f"part-{run}-0-{number:05d}.parquet", write_page_checksum=True)


def variants(template: pa.Table, numbers: range, hidden: int, generator: np.random.Generator) -> pa.Table:
    """Rows like the template, one for each utterance of these numbers."""
    size = len(numbers)
    predictions = generator.integers(1, len(CLASSES), size)
    labels = np.where(generator.random(size) < 0.7, predictions, generator.integers(0, len(CLASSES), size))
    changed = {
        "utterance": [f"speaker_{number % 1000:04d}/recording_{number:07d}.wav" for number in numbers],
        "speaker": [f"speaker_{number % 1000:04d}" for number in numbers],
        "fingerprint": [f"{number:016x}" for number in numbers],
        "prediction": [CLASSES[place] for place in predictions],
        "target": [CLASSES[place] for place in predictions],
        "label": [CLASSES[place] for place in labels],
        "probability": generator.uniform(0.2, 1, size).astype(np.float32),
        "relative_error": generator.uniform(0.05, 0.5, size).astype(np.float32),
        "explained_at": [BEGIN + timedelta(seconds=number) for number in numbers],
    }
    columns = []
    for field in SCHEMA:
        if field.name in changed:
            columns.append(pa.array(changed[field.name], field.type))
        elif width := {**NUMBERS, "embedding": hidden}.get(field.name):
            values = generator.normal(size=size * width).astype(np.float32)
            offsets = pa.array(np.arange(0, size * width + 1, width, dtype=np.int32))
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(values), type=field.type))
        else:
            columns.append(template[field.name].combine_chunks().take(pa.array(np.zeros(size, np.int64))))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def explanation(hidden: int) -> Explanation:
    """What every row is like."""
    zeros, grid = np.zeros((1, FRAMES), np.float32), FrameGrid()
    edges = np.linspace(0, 1, STRETCHES + 1)
    sums = np.zeros((1, STRETCHES), np.float32)
    settings = {"targets": "predicted - neutral", "output": "logit", "baselines": "noise", "seed": 0, "n_samples": 50}
    return Explanation(
        utterance="", path="", speaker="", label="", prediction="happy", probability=0.5,
        targets=(Target("happy", "neutral"),), outputs=np.zeros(1, np.float32), logits=np.zeros(1, np.float32),
        grid=grid, num_samples=SAMPLE_RATE, frames=Estimate(zeros, zeros, 25),
        completeness_gap=Estimate(np.zeros(1, np.float32), np.ones(1, np.float32), 25), n_draws=50,
        provenance=Provenance("gradient_shap", settings, "weights", "32-true", SETTINGS, "", BEGIN),
        embedding=np.zeros(hidden, np.float32),
        cues=CueMeans(tuple(CUES), np.zeros((1, len(CUES))), np.zeros((1, len(CUES))), ("significant",)),
        segments=SegmentAttribution(
            ("100 ms",) * STRETCHES, ("",) * STRETCHES, edges[:-1], edges[1:], Estimate(sums, sums, 25)
        ),
    )  # fmt: skip


def measure(task: Callable[[Path], str], folder: Path) -> tuple[float, float, str]:
    """Seconds, largest memory of this process in megabytes, and what the task tells."""
    start = time.perf_counter()
    told = task(folder)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, told


def resume(folder: Path) -> str:
    """Find out which utterances are explained."""
    with writing(folder) as writer:
        return f"{len(writer.known):,} rows are known"


def go_on(folder: Path) -> str:
    """Explain two hundred batches more: what the folder costs a run that goes on, beside the explaining."""
    with writing(folder) as writer:
        start = time.perf_counter()
        for number in range(200):
            writer.refresh()
            writer.write([new_explanation(f"{number} {place}") for place in range(4)])
        return f"{(time.perf_counter() - start) / 200 * 1e3:.1f} ms a batch"


def new_explanation(name: str) -> Explanation:
    """One with other settings than all those in the folder."""
    made = explanation(32)
    origin = dataclasses.replace(made.provenance, settings_fingerprint="new", fingerprint=name)
    return dataclasses.replace(made, utterance=name, provenance=origin)


@contextmanager
def writing(folder: Path) -> Iterator[ResultsWriter]:
    """A run that goes on; what it writes is gone afterwards."""
    before = set(folder.glob("part-*.parquet"))
    with ResultsWriter(folder) as writer:
        yield writer
    for path in set(folder.glob("part-*.parquet")) - before:
        path.unlink()


def statistics(folder: Path) -> str:
    """Figures and tables of the corpus."""
    pictures = Summary.read(ResultsFolder(folder)).write(folder / "corpus")
    return ", ".join(pictures)


def tensorboard(folder: Path) -> str:
    """What TensorBoard shows of all utterances together."""
    with tempfile.TemporaryDirectory() as temporary:
        log = ExplanationLog(Path(temporary))
        display = Display([log], "wrong", 1, 0, 20, 0)
        display.finish(ResultsFolder(folder), {"n_samples": 50}, 1.0, SETTINGS)
        display.close()
        return f"{sum(path.stat().st_size for path in Path(temporary).rglob('*') if path.is_file()) / 1e6:.1f} MB"


def report(folder: Path) -> str:
    """The page."""
    paths = write_report(folder, {})
    return f"{len(paths)} file(s) of {sum(path.stat().st_size for path in paths) / 1e6:.0f} MB"


MEASURED = {
    "resume": resume, "go_on": go_on, "statistics": statistics, "tensorboard": tensorboard, "report": report,
}  # fmt: skip


if __name__ == "__main__":
    main()
