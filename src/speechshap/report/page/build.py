"""Write the explanations of a run to self-contained HTML files."""

import base64
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from tqdm.auto import tqdm

from speechshap.errors import UserError
from speechshap.files import locked, named_in_errors, remove_partial, whole_file
from speechshap.report.page.choice import MOST_SHOWN, Choice
from speechshap.report.page.document import num_bytes, packed, page_of, write_document
from speechshap.report.page.entry import ReportEntry
from speechshap.report.summary import CAPTIONS
from speechshap.results.folder import ResultsFolder, nothing_to_show
from speechshap.results.shards import told_of_shards

_PATIENCE_SECONDS = 600.0
"""How long to wait for another process that writes the report of the same folder."""

MAX_BYTES = 48_000_000
"""Size in bytes from which on the next utterances go to another file."""


def write_report(
    folder: Path,
    corpus: Mapping[str, bytes],
    max_bytes: int = MAX_BYTES,
    most: int = MOST_SHOWN,
    interactive: Mapping[str, go.Figure] | None = None,
) -> list[Path]:
    """Write ``report.html`` for the explanations of a run, sound included.

    Of very many utterances some are shown, of which the page tells how they were chosen.

    One process at a time writes the report of a folder, so that what a killed one has left is known to be of no use.

    Args:
        folder: Folder with the Parquet parts; the report is written to it.
        corpus: Figures of the corpus as a whole as PNG, by their names in :data:`speechshap.report.summary.CAPTIONS`.
        max_bytes: Size from which the report is split into ``report.html``, ``report-2.html``, and so on, each of which
            lists all utterances and links to the other files.
        most: Utterances to show at most.
        interactive: Figures of the corpus that are shown in place of the PNG of the same name, which can still be
            saved.

    Returns:
        The files.

    Raises:
        UserError: The folder has no explanations, or those of an earlier version only; or another process writes its
            report and does not end.
        OSError: A file cannot be written.
    """
    results = ResultsFolder(folder)
    choice = Choice.of(results, most)
    if not choice.places:
        raise UserError(nothing_to_show(folder))
    lock = locked(folder / ".report.lock", _PATIENCE_SECONDS, or_raise=UserError)
    with named_in_errors(folder), lock as is_alone, tempfile.TemporaryFile(dir=folder) as spool:
        if is_alone:
            remove_partial(folder, ".report*.html.*")
        entries: list[dict[str, Any]] = []
        sizes: list[int] = []
        for name, parts in tqdm(choice.places.items(), desc="writing the report", unit="utterance", delay=1):
            shown = ReportEntry.of(results.explanations(utterance=name, parts=parts))
            payload = packed(shown.payload()).encode()
            spool.write(payload)
            sizes.append(len(payload))
            entries.append(shown.table_row())
        # Every file has the page itself, the table, and the figures of the corpus.
        figures = {name: figure.to_dict() for name, figure in (interactive or {}).items()}
        pictures = sum(4 * len(png) // 3 for png in corpus.values()) + len(json.dumps(figures))
        shared = num_bytes() + len(json.dumps(entries)) + pictures + 10_000
        numbers = _split(sizes, max_bytes - shared)
        for entry, number in zip(entries, numbers, strict=True):
            entry["part"] = number
        paths = [folder / f"report{f'-{number + 1}' if number else ''}.html" for number in range(numbers[-1] + 1)]
        page = page_of(
            _title(results.folder),
            entries,
            [path.name for path in paths],
            [note for note in (str(choice), told_of_shards(results) or "") if note],
            [
                {"caption": CAPTIONS[name], "png": base64.b64encode(png).decode(), "figure": figures.get(name)}
                for name, png in corpus.items()
            ],
            is_drawn=bool(str(choice)),
        )
        spool.seek(0)
        position = 0
        with ExitStack() as whole:  # the files link to each other and appear together
            for number, path in enumerate(paths):
                count = numbers.count(number)
                with whole.enter_context(whole_file(path)).open("w", encoding="utf-8") as file:
                    payloads = (spool.read(size).decode() for size in sizes[position : position + count])
                    write_document(file, {**page, "part": number}, payloads, position)
                position += count
    for old in folder.glob("report-*.html"):
        if old not in paths and re.fullmatch(r"report-\d+\.html", old.name):
            old.unlink()
    return paths


def _split(sizes: Sequence[int], max_bytes: int) -> list[int]:
    """Index of the file of each payload."""
    parts, used = [], 0
    part = 0
    for size in sizes:
        if used and used + size > max_bytes:
            part, used = part + 1, 0
        used += size
        parts.append(part)
    return parts


def _title(folder: Path) -> str:
    """Name of the run, as TensorBoard shows it."""
    parts = folder.absolute().parts
    return "/".join(parts[-3:-1] if parts[-1] == "explanations" else parts[-2:])
