"""All that needs a GPU, in one command: the tests marked ``gpu``, and times against transformers and Captum.

    make gpu                                                # writes benchmarks/gpu.md; ten minutes at most
    python benchmarks/gpu.py --output elsewhere.md
    python benchmarks/gpu.py --device cpu --tiny            # all of it on a small model, to see that it runs

It needs no network: models are made from configurations. Of a machine that has little more than PyTorch it tells what
is missing, and does what can be done without.
"""

import argparse
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from re import match

import torch

ROOT = Path(__file__).resolve().parent.parent
NEEDED = {"filelock", "numpy", "pyyaml", "safetensors", "tqdm", "transformers"}
"""Packages without which no table can be made; the tests need all."""

WATCHED = ("torch", "transformers", "captum")
"""Packages whose versions belong to the numbers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; the exit status says whether the tests passed and every table was made."""
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            f"error: PyTorch {torch.__version__} sees no GPU here; `--device cpu --tiny` runs the same on a small model"
        )
    missing = [name for name in [*packages(), "captum", "pytest"] if version_of(name) is None]
    if missing:
        print(f"missing packages: {', '.join(missing)} (pip install '.[test]' brings all)", flush=True)
    if NEEDED & {*missing}:
        sys.exit(f"error: nothing can be measured without {', '.join(sorted(NEEDED & {*missing}))}")
    report = Report(options.output)
    report.add(f"# Measured on a {'GPU' if options.device == 'cuda' else 'CPU, to see that it runs'}", heading(options))
    started = time.monotonic()

    def left() -> float:
        return 60 * options.minutes - (time.monotonic() - started)

    outcome, is_whole = tests(left(), [name for name in missing if name != "captum"])
    report.add("## Tests", outcome)
    from gpu_tables import FULL, TINY, Bench

    bench = Bench(options.device, TINY if options.tiny else FULL)
    for title, make in bench.tables():
        if left() < 0:
            report.add(f"## {title}", f"Left out: the {options.minutes:g} minutes were over.")
            is_whole = False
            continue
        try:
            text = markdown(make())
        except RuntimeError as error:  # one kernel that fails leaves the other tables
            text, is_whole = f"Failed: {type(error).__name__}: {str(error).splitlines()[0]}", False
        report.add(f"## {title}", text)
    return 0 if is_whole else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a small model, few draws, one repetition")
    parser.add_argument("--minutes", type=float, default=9.0, help="when no further table is begun")
    parser.add_argument("--output", type=Path, help="Markdown file; benchmarks/gpu.md on a GPU, none on a CPU")
    options = parser.parse_args(arguments)
    if options.output is None and options.device == "cuda" and not options.tiny:
        options.output = ROOT / "benchmarks" / "gpu.md"
    return options


def packages() -> Iterator[str]:
    """Packages that speechshap depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        found = match(r"[\w.-]+", requirement)
        if found:
            yield found[0]


def version_of(package: str) -> str | None:
    """Version of an installed package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def heading(options: argparse.Namespace) -> str:
    """Machine, versions and date as a table."""
    cells = {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if options.device == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        cells["card"] = f"{torch.cuda.get_device_name()} (compute capability {capability})"
        cells["driver"] = driver()
        cells["CUDA, cuDNN"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"
    else:
        cells["threads"] = str(torch.get_num_threads())
    cells |= {name: version_of(name) or "missing" for name in WATCHED}
    cells["model"] = "a small WavLM" if options.tiny else "WavLM base, random weights"
    return markdown([["", ""], *([name, value] for name, value in cells.items())])


def driver() -> str:
    """Version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return output.split("\n")[0].strip()


def tests(seconds: float, missing: Sequence[str]) -> tuple[str, bool]:
    """Run the tests marked ``gpu``: what came out, and whether none failed.

    Args:
        seconds: That they may take; half of them at most, for the tables.
        missing: Packages that the tests as a whole need; without them those of ``tests/test_gpu.py`` alone are run.
    """
    if missing and ("pytest" in missing or not torch.cuda.is_available()):
        return f"Not run: {', '.join(missing)} missing.", False
    chosen = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    note = ""
    if missing:
        chosen = ["--noconftest", ROOT / "tests" / "test_gpu.py"]
        note = f"Those of `tests/test_gpu.py` alone, since {', '.join(missing)} are missing. "
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    # cuBLAS repeats its results bit by bit with such a workspace alone.
    changed = {"PYTHONPATH": os.pathsep.join(paths), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *map(str, chosen)]
    try:
        run = subprocess.run(  # noqa: S603
            command, cwd=ROOT, env={**os.environ, **changed}, capture_output=True, text=True, timeout=seconds / 2
        )
    except subprocess.TimeoutExpired:
        return f"{note}Stopped after {seconds / 2:.0f} s.", False
    lines = run.stdout.strip().splitlines() or run.stderr.strip().splitlines() or ["no output"]
    failed = [f"* `{line}`" for line in lines if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([f"{note}`{lines[-1]}`", *([""] if failed else []), *failed]), run.returncode == 0


class Report:
    """A Markdown file that is whole after every section; it is printed, too.

    Args:
        path: Of the file; None for none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._sections: list[str] = []

    def add(self, title: str, text: str) -> None:
        """Add a section."""
        self._sections.append(f"{title}\n\n{text}\n")
        print(f"\n{self._sections[-1]}", flush=True)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("\n".join(self._sections), encoding="utf-8")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of rows of cells, the first one being the header."""
    header, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *others])


if __name__ == "__main__":
    sys.exit(main())
