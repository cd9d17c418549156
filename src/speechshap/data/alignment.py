"""Alignments: who says what from when to when, as Praat, the Montreal Forced Aligner and ELAN write it.

A TextGrid is read here, by Praat's own rule, and not with praatio: that takes a file that was cut off for a whole one,
and a label such as ``item [2]:`` for a tier.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from speechshap.errors import UserError

PAUSES = frozenset(("", "sil", "sp", "<sil>", "<eps>", "<p>", "<p:>", "#"))
"""Labels of stretches in which nothing is said."""

ALIGNMENT_SUFFIXES = (".TextGrid", ".textgrid", ".csv", ".tsv", ".txt")

_EXPECTED = "expected a TextGrid, ELAN's tab-delimited text, or a table with the columns start,end,label[,tier]"

# Names of the columns that the aligner (Begin, End, Label, Type), Praat (tmin, tmax, text, tier) and people write.
_START, _END = ("start", "begin", "tmin"), ("end", "tmax")
_LABEL, _TIER = ("label", "text"), ("tier", "type")

# What is no text in quotation marks, no free-standing number and no flag is a comment, so that long and short text
# files are read alike: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|<(?P<flag>exists|absent)>'
    r"|(?<!\S)![^\r\n]*"
)
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


class AlignmentError(UserError):
    """A file that is no alignment, or a damaged one."""


class Interval(NamedTuple):
    """A stretch of a tier, from ``start`` to ``end`` in seconds; the label is empty where nothing is said."""

    start: float
    end: float
    label: str


class Tier(NamedTuple):
    """Intervals of one kind (words, say), sorted by their start."""

    name: str
    intervals: list[Interval]


def find_alignment(sound: Path, folder: Path | None = None) -> Path | None:
    """The alignment of a sound: the file that has its name, but for the suffix.

    Text whose lines have fewer than two tabs is a transcript, and none.

    Args:
        sound: The sound file.
        folder: Where alignments lie, each in the folders of its sound or in some of them (``corpus/anna/a.wav`` in
            ``corpus/anna``, ``anna``, or the folder itself); None for beside the sound.

    Returns:
        The path; None where there is none.
    """
    folders = [sound.parent]
    if folder is not None:
        above = sound.parent.parts[bool(sound.anchor) :]
        folders = [folder.joinpath(*above[first:]) for first in range(len(above) + 1) if ".." not in above[first:]]
    paths = (parent / f"{sound.stem}{suffix}" for parent in folders for suffix in ALIGNMENT_SUFFIXES)
    return next((path for path in paths if path != sound and path.is_file() and not _is_transcript(path)), None)


def read_alignment(path: Path) -> list[Tier]:
    """The tiers of intervals of an alignment; tiers of points are left out.

    Args:
        path: A TextGrid in long or short text format; ELAN's tab-delimited text, with or without a column for each
            tier; or a table with a header that names the columns ``start``, ``end``, ``label`` and perhaps ``tier``
            (``words`` where it has none), such as the CSV of the Montreal Forced Aligner. In UTF-8 or UTF-16.

    Raises:
        AlignmentError: The file cannot be read, or is none of these; the error names it.
    """
    try:
        text = _decode(path.read_bytes())
        tiers = text_grid_tiers(text) if path.suffix.lower() == ".textgrid" else table_tiers(text)
        for tier in tiers:
            for start, end, label in tier.intervals:
                if not 0 <= start < end < math.inf:
                    raise ValueError(f"{label!r} of {tier.name} is from {start:g} to {end:g} s")
    except OSError as error:
        raise AlignmentError(f"{path}: the alignment cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise AlignmentError(f"{path}: the alignment cannot be read: {error}") from error
    return [Tier(name, sorted(intervals)) for name, intervals in tiers if intervals]


def text_grid_tiers(text: str) -> list[Tier]:
    """Tiers of a TextGrid, in long or short text format.

    Raises:
        ValueError: It is none, or is cut off.

    Example:
        >>> text_grid_tiers('"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "words" 0 1 1 0 1 "yes" ')
        [Tier(name='words', intervals=[Interval(start=0.0, end=1.0, label='yes')])]
    """
    tokens = ((match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(text) if match.lastgroup)

    def take(kind: str) -> str:
        found, value = next(tokens, (None, None))
        if found != kind or value is None:
            raise ValueError(
                f"it has {'its end' if value is None else repr(value)} where a {kind} is expected; it may be cut off"
            )
        return value

    def label() -> str:
        return _label(take("text").replace('""', '"'))

    if not take("text").startswith("ooTextFile") or take("text") != "TextGrid":
        raise ValueError("it does not begin as a TextGrid does that Praat has saved as text")
    take("number"), take("number")
    count = int(take("number")) if take("flag") == "exists" else 0
    tiers = []
    for _ in range(count):
        kind, name = take("text"), take("text").replace('""', '"')
        take("number"), take("number")
        size = int(take("number"))
        if kind == "IntervalTier":
            # Each is read in the order of its fields.
            tiers.append(
                Tier(name, [Interval(float(take("number")), float(take("number")), label()) for _ in range(size)])
            )
        else:
            for _ in range(size):
                take("number"), take("text")
    return tiers


def table_tiers(text: str) -> list[Tier]:
    r"""Tiers of a table of intervals.

    Raises:
        ValueError: It is none, or a line of it cannot be read.

    Example:
        >>> table_tiers("Begin,End,Label,Type\n0.1,0.4,hello,words\n")
        [Tier(name='words', intervals=[Interval(start=0.1, end=0.4, label='hello')])]
        >>> table_tiers("words\tAnna\t00:00:00.100\t0.1\t00:00:00.400\t0.4\thello\n")
        [Tier(name='words', intervals=[Interval(start=0.1, end=0.4, label='hello')])]
    """
    # Above its table, ELAN tells the media files in lines that begin with # and quotation marks.
    lines = [
        (number, line.rstrip("\n"))
        for number, line in enumerate(io.StringIO(text, newline=None), start=1)
        if line.strip() and not line.startswith(('#"', '"#'))
    ]
    if not lines:
        raise ValueError(f"it is empty; {_EXPECTED}")
    header = lines[0][1]
    # Labels may have any number of commas, and no tab.
    delimiter = "\t" if header.count("\t") >= 2 else max("\t,;", key=header.count)
    names = [name.strip().lower() for name in _cells(header, delimiter)]
    found: dict[str, list[Interval]] = {}
    intervals_of: Callable[[list[str]], Iterator[tuple[str, Interval]]] = _of_elan_row
    if any(name.startswith("begin time") for name in names):
        intervals_of, lines = partial(_of_elan_columns, _cells(header, delimiter)), lines[1:]
    elif any(name in names for name in _START):
        intervals_of, lines = partial(_of_table_row, _places(names)), lines[1:]
    elif delimiter != "\t":
        raise ValueError(f"it begins with {header[:60]!r}; {_EXPECTED}")
    for number, line in lines:
        try:
            for name, interval in intervals_of(_cells(line, delimiter)):
                found.setdefault(name, []).append(interval)
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(f"line {number} ({error}); {_EXPECTED}") from error
    return [Tier(name, intervals) for name, intervals in found.items()]


class _Places(NamedTuple):
    """Which column of a table has what; None where no column names the tier."""

    start: int
    end: int
    label: int
    tier: int | None


def _places(names: Sequence[str]) -> _Places:
    start, end, label, tier = (
        next((names.index(name) for name in wanted if name in names), None) for wanted in (_START, _END, _LABEL, _TIER)
    )
    if start is None or end is None or label is None:
        raise ValueError(f"its first line names the columns {', '.join(names)}; {_EXPECTED}")
    return _Places(start, end, label, tier)


def _of_table_row(places: _Places, cells: list[str]) -> Iterator[tuple[str, Interval]]:
    name = "words" if places.tier is None else cells[places.tier].strip()
    yield name, Interval(_seconds(cells[places.start]), _seconds(cells[places.end]), _label(cells[places.label]))


def _of_elan_row(cells: list[str]) -> Iterator[tuple[str, Interval]]:
    """Tier, participant, times (begin, end and perhaps duration, in one format or several), label."""
    name, *between, label = (cell.strip() for cell in cells)
    if _CLOCK.fullmatch(name):
        raise ValueError("it names no tier; export the names of the tiers, too")
    clocks = [_seconds(cell) for cell in between if _CLOCK.fullmatch(cell)]
    decimals = [float(cell) for cell in between if re.fullmatch(r"\d+\.\d+", cell)]
    milliseconds = [int(cell) / 1000 for cell in between if re.fullmatch(r"\d+", cell)]
    times = next((kind for kind in (clocks, decimals, milliseconds) if len(kind) >= 2), None)
    if times is None:
        raise ValueError("it has no begin and end")
    yield name, Interval(*_begin_and_end(times), _label(label))


def _begin_and_end(times: Sequence[float]) -> tuple[float, float]:
    """Begin and end of numbers that may begin with a participant's and end with a duration."""
    *_, begin, end, last = [0.0, *times]
    return (begin, end) if len(times) > 2 and abs(end - begin - last) < 0.0015 else (end, last)


def _of_elan_columns(header: list[str], cells: list[str]) -> Iterator[tuple[str, Interval]]:
    """Times, and a column for each tier, empty where it has no annotation there."""
    row = dict(zip(header, cells, strict=False))

    def time(kind: str) -> float:
        name = next((name for name in header if name.startswith(kind)), None)
        if name is None:
            raise ValueError(f"there is no column {kind}")
        return _seconds(row[name]) / (1000 if name.endswith("- msec") else 1)

    begin, end = time("Begin Time"), time("End Time")
    for name, label in row.items():
        if label.strip() and not name.startswith(("Begin Time", "End Time", "Duration")):
            yield name, Interval(begin, end, _label(label))


def _cells(line: str, delimiter: str) -> list[str]:
    # ELAN's quotation marks are those of the label.
    return line.split(delimiter) if delimiter == "\t" else next(csv.reader([line], delimiter=delimiter, strict=True))


def _seconds(text: str) -> float:
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        return float(text)
    hours, minutes, seconds = clock.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _label(text: str) -> str:
    """A label on one line; empty where nothing is said."""
    label = " ".join(text.split())
    return "" if label.lower() in PAUSES else label


def _decode(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8 or UTF-16") from error
    if "\0" in text:
        raise ValueError("it is no text in UTF-8 or UTF-16")
    return text


def _is_transcript(path: Path) -> bool:
    if path.suffix != ".txt":
        return False
    try:
        return all(line.count("\t") < 2 for line in _decode(path.read_bytes()).splitlines())
    except (OSError, ValueError):
        return True
