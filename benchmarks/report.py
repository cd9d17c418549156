"""The cost of showing explanations: pictures per second, bytes per utterance, seconds to open the report in a browser.

    python benchmarks/report.py runs/demo/version_0

The run must have been explained. Pictures and sounds are those written to TensorBoard. The report is written to a
temporary folder, with the run's utterances repeated until there are as many as asked for. Where chromium and
chromedriver are installed, opening it is timed until the first picture is drawn and its sound decoded.
"""

import argparse
import dataclasses
import shutil
import tempfile
import time
from pathlib import Path

from harness import machine, print_table

from speechshap.data.audio import load_audio
from speechshap.frames import SAMPLE_RATE
from speechshap.report.log import Shown
from speechshap.report.page import write_report
from speechshap.report.rendering import render
from speechshap.report.summary import Summary
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.writer import ResultsWriter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with explanations")
    parser.add_argument("--utterances", type=int, default=200, help="in the report (200)")
    parser.add_argument("--drawn", type=int, default=20, help="utterances to draw for TensorBoard (20)")
    arguments = parser.parse_args()
    results = ResultsFolder(arguments.run / "explanations")
    explanations = results.explanations()
    rows = [draw(explanations[: arguments.drawn]), *report(explanations, arguments.utterances)]
    seconds = sum(explanation.duration for explanation in explanations) / len(explanations)
    first = explanations[0]
    targets = len(first.targets)
    layers = 0 if first.layers is None else len(first.layers.names)
    bands = 0 if first.bands is None else len(first.bands.frequencies)
    print_table(
        f"Clips of {seconds:.1f} s, {targets} target(s), {layers} layer(s), {bands} frequency bands, {machine()}",
        ["what", "utterances", "seconds an utterance", "utterances a second", "kB an utterance"],
        rows,
    )


def draw(explanations: list[Explanation]) -> list[str]:
    """Draw TensorBoard's pictures and make its sounds, one after the other."""
    waveforms = [load_audio(Path(explanation.path)) for explanation in explanations]
    render(waveforms[0], SAMPLE_RATE, explanations[0], 20)  # imports
    with tempfile.TemporaryDirectory() as folder:
        log = ExplanationLog(Path(folder))
        start = time.perf_counter()
        for number, (waveform, explanation) in enumerate(zip(waveforms, explanations, strict=True)):
            rendering = render(waveform, SAMPLE_RATE, explanation, 20)
            log.picture(Shown(f"{number}", f"{number}", "figure", "happy", "", rendering, SAMPLE_RATE), 0)
        seconds = time.perf_counter() - start
        log.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return line("TensorBoard: picture and three sounds", len(explanations), seconds, size)


def report(explanations: list[Explanation], count: int) -> list[list[str]]:
    """Write the report and open it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = ResultsFolder(Path(temporary))
        with ResultsWriter(folder.folder) as writer:
            for number in range(count):
                explanation = explanations[number % len(explanations)]
                writer.write([dataclasses.replace(explanation, utterance=f"{number:04d}")])
        start = time.perf_counter()
        pictures = Summary.read(folder).write(folder.folder / "corpus")
        aggregated = time.perf_counter() - start
        start = time.perf_counter()
        paths = write_report(folder.folder, pictures)
        written = time.perf_counter() - start
        sizes = [path.stat().st_size for path in paths]
        lines = [
            line("aggregates over the corpus", count, aggregated, sum(map(len, pictures.values()))),
            line(f"report, in {len(paths)} file(s)", count, written, sum(sizes)),
        ]
        opened = open_in_browser(paths[0])
        if opened is not None:
            print(f"report.html of {sizes[0] / 1e6:.1f} MB opens in {opened:.2f} s")
        return lines


def open_in_browser(path: Path) -> float | None:
    """Seconds until the first utterance is drawn and can be played; None without a browser."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return None
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        start = time.perf_counter()
        driver.get(path.as_uri())
        while not driver.execute_script("return state.pcm !== null && picture.querySelector('.main-svg') !== null"):
            time.sleep(0.01)
        return time.perf_counter() - start
    finally:
        driver.quit()


def line(what: str, count: int, seconds: float, size: int) -> list[str]:
    """A line of the table."""
    return [what, str(count), f"{seconds / count:.3f}", f"{count / seconds:.1f}", f"{size / count / 1e3:.0f}"]


if __name__ == "__main__":
    main()
