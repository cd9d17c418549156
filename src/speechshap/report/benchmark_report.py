"""The files of a benchmark: tables, a figure, and what TensorBoard shows."""

import shutil
from pathlib import Path

from speechshap.errors import UserError
from speechshap.files import whole_file
from speechshap.report.benchmark import BenchmarkSummary
from speechshap.report.benchmark_figure import benchmark_figure
from speechshap.report.benchmark_text import markdown
from speechshap.report.events import append_record, new_event_file, record
from speechshap.report.rendering import png_bytes
from speechshap.results.scores import ScoresFolder


def write_benchmark(scores: ScoresFolder, folder: Path, material: str | None = None) -> BenchmarkSummary:
    """Write ``table.md``, ``table.csv``, ``figure.png`` and TensorBoard's entries of all scores; returns their summary.

    Args:
        scores: All that is known.
        folder: Of the files.
        material: What was judged, of which alone the scores are shown; None shows all.

    Raises:
        UserError: There are no scores.
        OSError: A file cannot be written.
    """
    rows = scores.rows(material=material)
    if not any(row["method"] for row in rows):
        raise UserError(f"{scores.folder} has no scores; the warnings above tell why for each utterance")
    summary = BenchmarkSummary(rows)
    text = markdown(summary)
    picture, size = png_bytes(benchmark_figure(summary))
    for name, content in (("table.md", text.encode()), ("table.csv", summary.csv().encode()), ("figure.png", picture)):
        with whole_file(folder / name) as partial:
            partial.write_bytes(content)
    _write_events(folder, text, picture, size)
    return summary


def _write_events(folder: Path, text: str, picture: bytes, size: tuple[int, int]) -> None:
    """A run of its own, made anew each time: TensorBoard shows the text and the figure."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import summary as make

    place = folder / "tensorboard"
    shutil.rmtree(place, ignore_errors=True)
    width, height = size
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=picture)
    values = [*make.text("benchmark/table", text).value, Summary.Value(tag="benchmark/figure", image=image)]
    append_record(new_event_file(place), record(values))
