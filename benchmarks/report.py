"""What it costs to show explanations: pictures a second, bytes an utterance, and how long a browser takes to open them.

    python benchmarks/report.py runs/demo/version_0

The run must have been explained. Pictures and sounds are those that TensorBoard gets; the report is written anew into a
temporary folder, with the run's utterances repeated until there are as many as asked for. Opening it in Chromium (where
chromium and chromedriver are installed) is timed from the address to the first picture drawn and its sound decoded.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from harness import machine, print_table

from speechshap.data.audio import load_audio
from speechshap.frames import SAMPLE_RATE
from speechshap.report.page import write_report
from speechshap.report.rendering import render
from speechshap.report.summary import Summary
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder, Row, by_utterance


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with explanations")
    parser.add_argument("--utterances", type=int, default=200, help="in the report (200)")
    parser.add_argument("--drawn", type=int, default=20, help="utterances to draw for TensorBoard (20)")
    arguments = parser.parse_args()
    results = ResultsFolder(arguments.run / "explanations")
    utterances = by_utterance(results.read())
    rows = [draw(utterances[: arguments.drawn]), *report(utterances, arguments.utterances)]
    seconds = sum(rows[0]["duration_seconds"] for rows in utterances) / len(utterances)
    targets, layers = len(utterances[0]), len(utterances[0][0]["layer_names"] or [])
    bands = len(utterances[0][0]["frequencies_hz"] or [])
    print_table(
        f"Clips of {seconds:.1f} s, {targets} target(s), {layers} layer(s), {bands} frequency bands, {machine()}",
        ["what", "utterances", "seconds an utterance", "utterances a second", "kB an utterance"],
        rows,
    )


def draw(utterances: list[list[Row]]) -> list[str]:
    """TensorBoard's picture and sounds, one after the other."""
    waveforms = [load_audio(Path(rows[0]["path"])) for rows in utterances]
    explanations = [Explanation.from_rows(rows) for rows in utterances]
    render(waveforms[0], SAMPLE_RATE, explanations[0], 20)  # imports
    with tempfile.TemporaryDirectory() as folder:
        log = ExplanationLog(Path(folder))
        start = time.perf_counter()
        for number, (waveform, explanation) in enumerate(zip(waveforms, explanations, strict=True)):
            log.utterance(f"{number}", render(waveform, SAMPLE_RATE, explanation, 20), SAMPLE_RATE, 0)
        seconds = time.perf_counter() - start
        log.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return line("TensorBoard: picture and three sounds", len(utterances), seconds, size)


def report(utterances: list[list[Row]], count: int) -> list[list[str]]:
    """The report and its opening."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = ResultsFolder(Path(temporary))
        for number in range(count):
            # Everything of an utterance but its name is what it was.
            names = {"utterance": f"{number:04d}", "fingerprint": f"{number}"}
            folder.write([{**row, **names} for row in utterances[number % len(utterances)]])
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
    """Seconds until the first utterance is seen and can be heard; None where there is no browser."""
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
    """Of the table."""
    return [what, str(count), f"{seconds / count:.3f}", f"{count / seconds:.1f}", f"{size / count / 1e3:.0f}"]


if __name__ == "__main__":
    main()
