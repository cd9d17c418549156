"""Write the explanations of a run to self-contained HTML files."""

import base64
import gzip
import json
import logging
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from tqdm.auto import tqdm

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.errors import UserError
from speechshap.files import locked, named_in_errors, remove_partial, whole_file
from speechshap.frames import SAMPLE_RATE
from speechshap.report import sound
from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.moments import TOP_K_FRAMES, marked_frames
from speechshap.report.page.answers import answers_of
from speechshap.report.page.choice import MOST_SHOWN, Choice
from speechshap.report.page.compared import compared_by_target
from speechshap.report.page.cues import cue_table
from speechshap.report.page.interactive import frames_title, interactive_figure
from speechshap.report.page.row import table_row
from speechshap.report.page.tiers import segment_rows
from speechshap.report.summary import CAPTIONS
from speechshap.report.wording import grade, variant_names
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder, nothing_to_show
from speechshap.results.shards import told_of_shards

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 600.0
"""How long to wait for another process that writes the report of the same folder."""

_SCRIPTS = (
    "state.js", "links.js", "overview.js", "table.js", "utterance.js", "frames.js", "picture.js", "sound.js", "keys.js",
    "compare.js", "export.js", "corpus.js", "start.js",
)  # fmt: skip
"""Parts of the page's script, which follow each other."""

_STYLES = ("report.css", "viewer.css")
"""Parts of its style."""

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
            payload = _pack(shown.payload())
            spool.write(payload)
            sizes.append(len(payload))
            entries.append(shown.table_row())
        # Every file has the page itself, plotly, the table, and the figures of the corpus.
        assets = sum(len(_asset(name).encode()) for name in ("report.html", *_STYLES, *_SCRIPTS))
        figures = {name: figure.to_dict() for name, figure in (interactive or {}).items()}
        pictures = sum(4 * len(png) // 3 for png in corpus.values()) + len(json.dumps(figures))
        shared = assets + len(get_plotlyjs().encode()) + len(json.dumps(entries)) + pictures + 10_000
        numbers = _split(sizes, max_bytes - shared)
        for entry, number in zip(entries, numbers, strict=True):
            entry["part"] = number
        paths = [folder / f"report{f'-{number + 1}' if number else ''}.html" for number in range(numbers[-1] + 1)]
        page = {
            "title": _title(results.folder),
            "notes": [note for note in (str(choice), told_of_shards(results) or "") if note],
            "drawn": bool(str(choice)),
            "files": [path.name for path in paths],
            "colours": {"for": SPEAKS_FOR, "against": SPEAKS_AGAINST},
            "entries": entries,
            "corpus": [
                {"caption": CAPTIONS[name], "png": base64.b64encode(png).decode(), "figure": figures.get(name)}
                for name, png in corpus.items()
            ],
        }
        spool.seek(0)
        position = 0
        with ExitStack() as whole:  # the files link to each other and appear together
            for number, path in enumerate(paths):
                count = numbers.count(number)
                with whole.enter_context(whole_file(path)).open("w", encoding="utf-8") as file:
                    _write(file, {**page, "part": number}, spool, sizes[position : position + count], position)
                position += count
    for old in folder.glob("report-*.html"):
        if old not in paths and re.fullmatch(r"report-\d+\.html", old.name):
            old.unlink()
    return paths


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several explanations of an utterance.

    Attributes:
        name: Name that distinguishes it from the others.
        explanation: The record.
        waveform: ``(time,)``; None where there is no sound file, or it is no longer the one that was explained.
    """

    name: str
    explanation: Explanation
    waveform: np.ndarray | None

    def payload(self, num_compared: int = 0) -> dict[str, Any]:
        """Figure, with room for a comparison with all explanations of the utterance, and targets."""
        explanation, waveform = self.explanation, self.waveform
        figure = interactive_figure(waveform, SAMPLE_RATE, explanation, num_compared)
        return {
            "name": self.name,
            "unit": explanation.unit,
            "signed": explanation.is_signed,
            "figure": figure.to_dict(),
            "truth": [[_number(bound) if bound is not None else None for bound in own] for own in explanation.truth],
            "probabilities": None
            if explanation.probabilities is None
            else [[name, _number(own)] for name, own in explanation.probabilities.items()],
            "targets": [_target(explanation, target, waveform) for target in range(len(explanation.targets))],
        }


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """An utterance of the report with all of its explanations, the latest first."""

    variants: list[Variant]

    @classmethod
    def of(cls, explanations: Sequence[Explanation]) -> "ReportEntry":
        """An utterance from its explanations; its sound is read from its file."""
        latest_first = sorted(explanations, key=lambda each: each.provenance.explained_at, reverse=True)
        read = cache(_waveform)
        return cls(
            [
                Variant(name, explanation, read(explanation.path, explanation.num_samples))
                for name, explanation in zip(variant_names(latest_first), latest_first, strict=True)
            ]
        )

    def table_row(self) -> dict[str, Any]:
        """The utterance's row of the table, which is about its latest explanation."""
        return table_row(self.variants[0].explanation)

    def payload(self) -> list[dict[str, Any]]:
        """All variants; a sound that several of them share is stored with the first, as is their comparison."""
        num_compared = len(self.variants) if len(self.variants) > 1 else 0
        first: dict[int, int] = {}
        payloads = []
        for number, variant in enumerate(self.variants):
            stored: str | int | None = None
            if variant.waveform is not None:
                holder = first.setdefault(id(variant.waveform), number)
                stored = holder
                if holder == number:
                    stored = sound.flac_base64(_full_scale(variant.waveform), SAMPLE_RATE)
            payloads.append({"sound": stored, **variant.payload(num_compared)})
        if num_compared:
            payloads[0]["compared"] = compared_by_target([variant.explanation for variant in self.variants])
        return payloads


def _waveform(path: str, num_samples: int) -> np.ndarray | None:
    if not path:  # the run read its sounds from no files
        return None
    try:
        waveform = load_audio(Path(path))
    except AudioFileError as error:
        logger.warning("%s; it is shown without sound", error)
        return None
    if len(waveform) != num_samples:
        logger.warning("%s: not the sound that was explained; it is shown without sound", path)
        return None
    return waveform


def _target(explanation: Explanation, target: int, waveform: np.ndarray | None) -> dict[str, Any]:
    shown = explanation.resolution(target)
    values, reach, is_significant = shown.estimate.values[target], shown.estimate.reach, shown.estimate.significant
    significant = None if is_significant is None else is_significant[target]
    # As much of the sound as so many frames are.
    count = math.ceil(TOP_K_FRAMES * len(values) / explanation.frames.values.shape[1])
    gap = explanation.completeness_gap
    return {
        "name": str(explanation.targets[target]),
        "reservation": explanation.reservation(target),
        "title": frames_title(explanation, target),
        "edges": _numbers(shown.edges, 4),
        "values": _numbers(values),
        "reach": None if reach is None else _numbers(reach[target]),
        "significant": None if significant is None else significant.tolist(),
        "strongest": marked_frames(values, significant, count).tolist(),
        "windows": explanation.evidence_windows(target).round(4).tolist(),
        "answers": answers_of(explanation, target),
        "error": _number(explanation.relative_error[target]),
        "grade": grade(explanation.relative_error[target]),
        "gap": _number(gap.values[target]),
        "gap_error": None if gap.standard_error is None else _number(gap.standard_error[target]),
        "segments": segment_rows(explanation, target),
        "cues": cue_table(explanation, target),
        "sounds": {} if waveform is None else _sounds(explanation, target, waveform),
    }


def _sounds(explanation: Explanation, target: int, waveform: np.ndarray) -> dict[str, Any]:
    """Gains over time that the page applies to the sound, so that the file needs to hold one sound only."""
    envelopes = sound.heard(explanation, target)
    played = _full_scale(waveform)
    levels = sound.equal_loudness_gains(
        {name: envelope.apply(played, SAMPLE_RATE) for name, envelope in envelopes.items()}
    )
    return {
        name: {
            "level": levels[name],
            "seconds": _numbers(envelope.seconds, 5),
            "gains": _numbers(envelope.gains, 4),
        }
        for name, envelope in envelopes.items()
    }


def _full_scale(waveform: np.ndarray) -> np.ndarray:
    waveform = np.nan_to_num(waveform)
    return waveform * np.float32(sound.PEAK / max(float(np.abs(waveform).max(initial=0)), sound.SILENCE))


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


def _write(file: IO[str], page: Mapping[str, Any], spool: IO[bytes], sizes: Sequence[int], first: int) -> None:
    texts = {
        "style": "\n".join(map(_asset, _STYLES)),
        "plotly": get_plotlyjs(),
        "script": "\n".join(map(_asset, _SCRIPTS)),
        "page": json.dumps(page, allow_nan=False).replace("<", "\\u003c"),
    }
    for piece in re.split(r"(\{\{\w+\}\})", _asset("report.html")):
        name = piece.strip("{}")
        if piece == "{{payloads}}":
            for number, size in enumerate(sizes):
                payload = spool.read(size).decode("ascii")
                file.write(f'<script type="text/plain" id="payload-{first + number}">{payload}</script>\n')
        else:
            file.write(texts[name] if piece.startswith("{{") else piece)


def _asset(name: str) -> str:
    return (files("speechshap.report.page") / "web" / name).read_text(encoding="utf-8")


def _pack(payload: list[dict[str, Any]]) -> bytes:
    """Compressed JSON in base64, which HTML does not interpret."""
    plain = json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(plain, 6, mtime=0))


def _number(value: float, digits: int = 6) -> float | None:
    """A rounded number; None for infinity and NaN, which JSON does not have."""
    return float(f"{float(value):.{digits}g}") if np.isfinite(value) else None


def _numbers(values: np.ndarray, digits: int = 4) -> list[float | None]:
    return [_number(value, digits + 2) for value in values]
