"""Manifests: CSV and Parquet tables, and the JSON lines and fold files of EmoBox (Ma et al. 2024)."""

import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tqdm.auto import tqdm

from speechshap.data.audio import find_audio
from speechshap.data.manifest_rows import Columns, Row, rows_of
from speechshap.data.utterance import Skipped, SplitName, Stretch, Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError

SPLIT_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "devel", "development", "devset"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Spellings of the three splits in manifests and in their file names."""

_MANIFESTS = ("manifest.csv", "manifest.parquet")
_STRETCHES = ("start", "end", "low_hz", "high_hz")
_UNUSUAL = ("\\", "//", "/.")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that neither file names nor Parquet hold: zeros, and halves of surrogate pairs."""


def manifest_files(root: Path) -> dict[Path, SplitName | None]:
    """Files of a manifest, each with the split in its name, if any; empty if ``root`` is no manifest.

    Args:
        root: A manifest; or a folder with ``manifest.csv`` or ``manifest.parquet`` in it, or in one of its folders; or
            a folder of fold files: JSON lines with train, valid or test in their names, such as
            ``ravdess_train_fold_1.jsonl``.

    Raises:
        UserError: There are two of them.
    """
    if root.is_file():
        return {root: None}
    if inside := [root / name for name in _MANIFESTS if (root / name).is_file()]:
        if len(inside) > 1:
            raise UserError(f"{root}: has {' and '.join(_MANIFESTS)}; give one of them as `root`")
        return {inside[0]: None}
    files: dict[Path, SplitName | None] = {}
    for path in sorted(root.glob("*.jsonl")):
        named = {SPLIT_WORDS[word] for word in re.findall("[a-z]+", path.stem.lower()) if word in SPLIT_WORDS}
        if len(named) == 1:
            files[path] = named.pop()
    one_level_down = [path for name in _MANIFESTS for path in root.glob(f"*/{name}")]
    return files or (dict.fromkeys(one_level_down) if len(one_level_down) == 1 else {})


def read_manifest(
    root: Path,
    audio_root: Path | None = None,
    columns: Columns = Columns(),  # noqa: B008 - immutable
    corpus: str = "manifest",
) -> tuple[list[Utterance], list[Skipped]]:
    """Read a manifest: CSV or Parquet, or JSON lines in the form of EmoBox.

    CSV has the columns ``path,label[,speaker,split,session,duration,start,end,low_hz,high_hz]``. ``split`` is train,
    val or test, or a usual spelling of these (dev, valid). ``session`` groups speakers who were recorded together.
    ``duration`` is the length of the recording in seconds. ``start`` and ``end`` are the bounds in seconds of the
    stretch that carries the emotion, where it is known (an end beyond that of the file is taken as it is), ``low_hz``
    and ``high_hz`` those of its frequencies; the whole file is used all the same. Several stretches are numbers with
    spaces between them: ``0.31 1.20`` as ``start``, and as many ends. Parquet has the same columns, with text or
    numbers, and several stretches may be lists, too. Objects of JSON lines have ``wav`` and ``emo`` (or ``audio`` and
    ``label``), and may have ``key``, ``length`` for the duration, and the other columns; several stretches may be
    lists, too.

    Args:
        root: See :func:`manifest_files`.
        audio_root: Folder that relative paths start from; by default that of the manifest. A file that is not at its
            path there is searched for by name at any depth, with any extension.
        columns: What the columns are called.
        corpus: Name of the corpus.

    Returns:
        The utterances, sorted by id, and the entries for which several files were found.

    Raises:
        UserError: A file is missing or is neither CSV, Parquet nor JSON lines; or a line of it cannot be read, has
            other cells than the first one names, or lists a recording again.
    """
    files = manifest_files(root)
    if not files:
        inside = f"no {' or '.join(_MANIFESTS)}, and no .jsonl file with train, valid or test in its name"
        raise UserError(
            f"{root}: {inside if root.is_dir() else 'no such folder, and no such manifest; correct `root`'}"
        )
    utterances: dict[str, Utterance] = {}
    paths: set[str] = set()
    for file, split in files.items():
        folder = Path(audio_root) if audio_root else file.parent
        rows = tqdm(rows_of(file, columns), "reading manifest", unit="row", delay=2, leave=False, disable=None)
        for place, row in rows:
            try:
                utterance = _utterance(row, folder, split, corpus)
            except ValueError as error:
                raise UserError(f"{file}: {place} cannot be read ({error})") from error
            path = str(utterance.path)
            if utterance.id in utterances or path in paths:
                name = utterance.id if utterance.id in utterances else path
                raise UserError(
                    f"{file}: {place} repeats {name} of {_first_place(root, files, audio_root, columns, name)}; each "
                    "recording may be listed once, since the whole file is used"
                )
            utterances[utterance.id] = utterance
            paths.add(path)
    if not utterances:
        raise UserError(f"{root}: the manifest lists no utterance")
    ordered = sorted(utterances.values(), key=lambda utterance: utterance.id)
    return (ordered, []) if audio_root is None else _find_by_name(ordered, Path(audio_root))


def _first_place(root: Path, files: Iterable[Path], audio_root: Path | None, columns: Columns, name: str) -> str:
    """Where an id or a path is listed first; looked up again, since the places of all rows would take much memory."""
    for file in files:
        for place, row in rows_of(file, columns):
            utterance = _utterance(row, Path(audio_root) if audio_root else file.parent, None, "")
            if name in (utterance.id, str(utterance.path)):
                return place if file == root else f"{file.name}, {place}"
    raise AssertionError(f"{name} is not listed")


def _utterance(row: Row, folder: Path, split: SplitName | None, corpus: str) -> Utterance:
    name, given = row.get("path"), _text(row.get("split"))
    if not isinstance(name, str) or _text(name) is None:
        raise ValueError(f"the path is {name!r}; expected the name of a sound file")
    if given and given.lower() not in SPLIT_WORDS:
        raise ValueError(f"split {given!r}; expected train, val or test")
    return Utterance(
        id=_text(row.get("id")) or _as_id(name),
        path=folder / name,
        label=_shared(row.get("label")),
        speaker=_shared(row.get("speaker")),
        corpus=corpus,
        stretches=_stretches(row),
        split=SPLIT_WORDS[given.lower()] if given else split,
        session=_shared(row.get("session")),
        duration=_duration(row.get("duration")),
    )


def _as_id(name: str) -> str:
    """A path with slashes alone, and without parts that say nothing, which most paths do not have."""
    is_plain = not name.startswith(".") and not name.endswith("/") and not any(each in name for each in _UNUSUAL)
    return name if is_plain else Path(name).as_posix()


def _shared(value: object) -> str | None:
    """Text of a field that many rows have; they share it in memory."""
    text = _text(value)
    return None if text is None else sys.intern(text)


def _duration(value: object) -> float | None:
    """Seconds above 0, or None where the field is empty."""
    if value is None or value == "":
        return None
    try:
        seconds = float(_text(value) or math.nan)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"duration is {value}; expected seconds, above 0")
    return seconds


def _stretches(row: Row) -> tuple[Stretch, ...]:
    """Stretches of a row in their order in time."""
    if all(row.get(name) in (None, "") for name in _STRETCHES):  # as in most manifests
        return ()
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
    """A field as text, or None if it is empty; JSON lines and Parquet may have numbers, including 0."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no text")
    text = str(value).strip()
    if _NO_TEXT.search(text):
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
