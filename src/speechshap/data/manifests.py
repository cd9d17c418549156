"""Manifests: CSV tables, and the JSON lines and fold files of EmoBox (Ma et al. 2024)."""

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from speechshap.data.audio import find_audio
from speechshap.data.utterance import Skipped, SplitName, Stretch, Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError

SPLIT_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "devel", "development", "devset"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Spellings of the three splits in manifests and in their file names."""

Row = Mapping[str, object]
"""One entry: the columns of CSV, whose cells are text, or what JSON lines have instead of them."""

_OPTIONAL_COLUMNS = ("speaker", "split", "session", "start", "end", "low_hz", "high_hz")
_EXPECTED_COLUMNS = f"the first line must name the columns path,label[,{','.join(_OPTIONAL_COLUMNS)}]"


def manifest_files(root: Path) -> dict[Path, SplitName | None]:
    """Files of a manifest, each with the split in its name, if any; empty if ``root`` is no manifest.

    Args:
        root: A manifest; or a folder with ``manifest.csv`` in it, or in one of its folders; or a folder of fold files:
            JSON lines with train, valid or test in their names, such as ``ravdess_train_fold_1.jsonl``.
    """
    if root.is_file():
        return {root: None}
    if (root / "manifest.csv").is_file():
        return {root / "manifest.csv": None}
    files: dict[Path, SplitName | None] = {}
    for path in sorted(root.glob("*.jsonl")):
        named = {SPLIT_WORDS[word] for word in re.findall("[a-z]+", path.stem.lower()) if word in SPLIT_WORDS}
        if len(named) == 1:
            files[path] = named.pop()
    one_level_down = list(root.glob("*/manifest.csv"))
    return files or (dict.fromkeys(one_level_down) if len(one_level_down) == 1 else {})


def read_manifest(root: Path, audio_root: Path | None = None) -> tuple[list[Utterance], list[Skipped]]:
    """Read a manifest: CSV, or JSON lines in the form of EmoBox.

    CSV has the columns ``path,label[,speaker,split,session,start,end,low_hz,high_hz]``. ``split`` is train, val or
    test, or a usual spelling of these (dev, valid). ``session`` groups speakers who were recorded together. ``start``
    and ``end`` are the bounds in seconds of the stretch that carries the emotion, where it is known (an end beyond that
    of the file is taken as it is), ``low_hz`` and ``high_hz`` those of its frequencies; the whole file is used all the
    same. Several stretches are numbers with spaces between them: ``0.31 1.20`` as ``start``, and as many ends. Objects
    of JSON lines have ``wav`` and ``emo`` (or ``audio`` and ``label``), and may have ``key`` and the other columns;
    several stretches may be lists, too.

    Args:
        root: See :func:`manifest_files`.
        audio_root: Folder that relative paths start from; by default that of the manifest. A file that is not at its
            path there is searched for by name at any depth, with any extension.

    Returns:
        The utterances, sorted by id, and the entries for which several files were found.

    Raises:
        UserError: A file is missing or is neither CSV nor JSON lines; or a line of it cannot be read, has other cells
            than the first one names, or lists a recording again.
    """
    files = manifest_files(root)
    if not files:
        inside = "no manifest.csv, and no .jsonl file with train, valid or test in its name"
        raise UserError(
            f"{root}: {inside if root.is_dir() else 'no such folder, and no such manifest; correct `root`'}"
        )
    utterances: dict[str, Utterance] = {}
    lines: dict[str | Path, str] = {}  # where each id and each file was listed first
    for path, split in files.items():
        for number, row in _rows(path):
            try:
                utterance = _utterance(row, Path(audio_root) if audio_root else path.parent, split)
            except ValueError as error:
                raise UserError(f"{path}: line {number} cannot be read ({error})") from error
            for name in (utterance.id, utterance.path):
                if name in lines:
                    raise UserError(
                        f"{path}: line {number} repeats {name} of {lines[name]}; each recording may be listed once, "
                        "since the whole file is used"
                    )
                lines[name] = f"line {number}" if path == root else f"{path.name}, line {number}"
            utterances[utterance.id] = utterance
    if not utterances:
        raise UserError(f"{root}: the manifest lists no utterance")
    ordered = sorted(utterances.values(), key=lambda utterance: utterance.id)
    return (ordered, []) if audio_root is None else _find_by_name(ordered, Path(audio_root))


def _utterance(row: Row, folder: Path, split: SplitName | None) -> Utterance:
    name, given = row.get("path"), _text(row.get("split"))
    if not isinstance(name, str) or _text(name) is None:
        raise ValueError(f"the path is {name!r}; expected the name of a sound file")
    if given and given.lower() not in SPLIT_WORDS:
        raise ValueError(f"split {given!r}; expected train, val or test")
    return Utterance(
        id=_text(row.get("id")) or Path(name).as_posix(),
        path=folder / name,
        label=_text(row.get("label")),
        speaker=_text(row.get("speaker")),
        corpus="manifest",
        stretches=_stretches(row),
        split=SPLIT_WORDS[given.lower()] if given else split,
        session=_text(row.get("session")),
    )


def _stretches(row: Row) -> tuple[Stretch, ...]:
    """Stretches of a row in their order in time."""
    starts, ends = _bounds(row, "start", "end", "seconds from the start of the file", "a later end, in seconds")
    lows, highs = _bounds(row, "low_hz", "high_hz", "a frequency in Hz", "a higher frequency, in Hz")
    if lows and len(lows) != len(starts):
        raise ValueError(f"low_hz has {counted(len(lows), 'number')}, while start has {len(starts)}; expected as many")
    unknown: list[None] = [None] * len(starts)
    bounds = zip(starts, ends, lows or unknown, highs or unknown, strict=True)
    stretches = sorted((Stretch(*each) for each in bounds), key=lambda stretch: stretch.start)
    for one, other in pairwise(stretches):
        if other.start < one.end:
            raise ValueError(
                f"a stretch starts at {other.start:g}, before that from {one.start:g} to {one.end:g} ends; expected "
                "stretches that do not overlap"
            )
    return tuple(stretches)


def _bounds(row: Row, lower: str, upper: str, unit: str, expected: str) -> tuple[list[float], list[float]]:
    """Numbers of two columns, of which each of the second is above its partner of the first."""
    lows, highs = _numbers(lower, row.get(lower), unit), _numbers(upper, row.get(upper), unit)
    if len(lows) != len(highs):
        raise ValueError(
            f"{lower} has {counted(len(lows), 'number')}, while {upper} has {len(highs)}; expected as many"
        )
    for low, high in zip(lows, highs, strict=True):
        if high <= low:
            raise ValueError(f"{upper} is {high:g}, while {lower} is {low:g}; expected {expected}")
    return lows, highs


def _numbers(name: str, value: object, unit: str) -> list[float]:
    """Numbers of 0 or more: a number, text with spaces between them, or a list."""
    numbers = []
    for item in value if isinstance(value, list) else (_text(value) or "").split():
        try:
            number = float(_text(item) or math.nan)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} is {item}; expected {unit}, 0 or more")
        numbers.append(number)
    return numbers


def _text(value: object) -> str | None:
    """A field as text, or None if it is empty; JSON lines may have numbers, including 0."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError(f"{value!r} is no text")
    text = "" if value is None else str(value).strip()
    # Neither file names nor Parquet hold zero characters and halves of surrogate pairs.
    if re.search("[\0\ud800-\udfff]", text):
        raise ValueError(f"{text!r} is not text in Unicode")
    return text or None


def _find_by_name(utterances: Sequence[Utterance], audio_root: Path) -> tuple[list[Utterance], list[Skipped]]:
    """Replace paths that do not exist by files of the same name."""
    if not audio_root.is_dir():
        raise UserError(f"`audio_root`: no folder {audio_root}; give the folder that the manifest's paths start from")
    if all(utterance.path.is_file() for utterance in utterances):
        return list(utterances), []
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in find_audio(audio_root):
        by_stem[path.stem].append(path)
    found, skipped = [], []
    for utterance in utterances:
        candidates = [] if utterance.path.is_file() else _nearest(utterance.path, by_stem[utterance.path.stem])
        if len({path.parent for path in candidates}) > 1:
            reason = f"ambiguous: {len(candidates)} files under `audio_root` have its name"
            skipped.append(Skipped(utterance.path, reason))
        else:
            found.append(replace(utterance, path=candidates[0]) if candidates else utterance)
    return found, skipped


def _nearest(wanted: Path, candidates: Sequence[Path]) -> list[Path]:
    """Candidates that share the largest number of folders with the wanted path, counted from the file upwards."""

    def levels(path: Path) -> int:
        pairs = list(zip(reversed(wanted.parent.parts), reversed(path.parent.parts), strict=False))
        return next((level for level, (one, other) in enumerate(pairs) if one != other), len(pairs))

    most = max(map(levels, candidates), default=0)
    return [path for path in candidates if levels(path) == most]


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a manifest with the numbers of their lines."""
    readers: dict[str, Callable[[Path], Iterator[tuple[int, Row]]]] = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown kind of manifest; expected .csv or .jsonl")
    return readers[path.suffix.lower()](path)


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    columns: list[str] = []
    for number, line in _text_lines(path):
        try:
            # Line by line, so that a quote without an end is found where it is and does not swallow what follows.
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: line {number} cannot be read ({error}); a quoted cell ends on its line, and a quote inside "
                'it is written twice ("")'
            ) from error
        if not columns:
            columns = _columns(path, line, cells)
        elif len(cells) < len(columns) or any(cells[len(columns) :]):
            raise UserError(
                f"{path}: line {number} has {len(cells)} cells, while the first line names {len(columns)} columns; a "
                "comma inside a cell needs quotes around the cell"
            )
        else:
            yield number, dict(zip(columns, cells, strict=False))
    if not columns:
        raise UserError(f"{path}: the manifest is empty; {_EXPECTED_COLUMNS}")


def _columns(path: Path, line: str, cells: Sequence[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if not {"path", "label"} <= set(columns):
        raise UserError(f"{path}: {_EXPECTED_COLUMNS}; it is {line!r}")
    if repeated := [name for index, name in enumerate(columns) if name and name in columns[:index]]:
        raise UserError(f"{path}: the first line names the column {repeated[0]} twice; name each once")
    return columns


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in _text_lines(path):
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
            fields = {name: row.get(name) for name in _OPTIONAL_COLUMNS} | {"id": row.get("key")}
            fields["path"] = row["wav"] if "wav" in row else row["audio"]
            fields["label"] = row["emo"] if "emo" in row else row["label"]
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: line {number} is not an object with wav and emo, or audio and label "
                f"({type(error).__name__}: {error})"
            ) from error
        yield number, fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers.

    Lines end in line feeds, carriage returns or both; other characters that Unicode counts as line ends may be part of
    a name.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the manifest cannot be read ({error.strerror or error})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Bytes before the first wrong one are valid, so that lines can be counted in them.
        position, text = error.start, ""
    else:
        position = content.find(b"\0")  # as in UTF-16 without a byte order mark
    if position >= 0:
        number = len(re.findall(rb"\r\n|\r|\n", content[:position])) + 1
        raise UserError(f"{path}: line {number} is not text in UTF-8; save the manifest as UTF-8")
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            yield number, line.removesuffix("\n")
