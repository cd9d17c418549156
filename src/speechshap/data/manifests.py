"""Manifests: CSV tables, and the JSON lines and fold files of EmoBox (Ma et al. 2024)."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechshap.data.audio import find_audio
from speechshap.data.utterance import Skipped, SplitName, Utterance
from speechshap.errors import UserError

SPLIT_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "devel", "development", "devset"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Spellings of the three splits in manifests and in their file names."""


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
    """Read a manifest: CSV with ``path,label[,speaker,split,start,end]``, or JSON lines in the form of EmoBox.

    ``split`` is train, val or test, or a usual spelling of these (dev, valid). ``start`` and ``end`` are the bounds in
    seconds of the emotional interval, where it is annotated; the whole file is used all the same. Objects of JSON lines
    have ``wav`` and ``emo`` (or ``audio`` and ``label``), and may have ``key``, ``speaker`` and ``split``.

    Args:
        root: See :func:`manifest_files`.
        audio_root: Folder that relative paths start from; by default that of the manifest. A file that is not at its
            path there is searched for by name at any depth, with any extension.

    Returns:
        The utterances, sorted by id, and the entries for which several files were found.

    Raises:
        UserError: A file is missing, is neither CSV nor JSON lines, or an entry of it cannot be read.
    """
    files = manifest_files(root)
    if not files:
        inside = "no manifest.csv, and no .jsonl file with train, valid or test in its name"
        raise UserError(f"{root}: {inside if root.is_dir() else 'no such manifest; give a .csv or .jsonl file'}")
    utterances: dict[str, Utterance] = {}
    for path, split in files.items():
        for number, row in enumerate(_rows(path), start=1):
            try:
                utterance = _utterance(row, Path(audio_root) if audio_root else path.parent, split)
            except (TypeError, ValueError) as error:
                raise UserError(f"{path}: entry {number} cannot be read ({error})") from error
            if utterance.id in utterances:
                raise UserError(f"{path}: entry {number} repeats {utterance.id}; each utterance may be listed once")
            utterances[utterance.id] = utterance
    if not utterances:
        raise UserError(f"{root}: the manifest lists no utterance")
    ordered = sorted(utterances.values(), key=lambda utterance: utterance.id)
    return (ordered, []) if audio_root is None else _find_by_name(ordered, Path(audio_root))


def _utterance(row: Mapping[str, Any], folder: Path, split: SplitName | None) -> Utterance:
    given = _text(row.get("split"))
    if given and given.lower() not in SPLIT_WORDS:
        raise ValueError(f"split {given!r}; expected train, val or test")
    start, end = _text(row.get("start")), _text(row.get("end"))
    return Utterance(
        id=_text(row.get("id")) or Path(row["path"]).as_posix(),
        path=folder / row["path"],
        label=_text(row.get("label")),
        speaker=_text(row.get("speaker")),
        corpus="manifest",
        start=float(start) if start else None,
        end=float(end) if end else None,
        split=SPLIT_WORDS[given.lower()] if given else split,
    )


def _text(value: object) -> str | None:
    """A field as text, or None if it is empty; JSON lines may have numbers, including 0."""
    return None if value is None or value == "" else str(value).strip()


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


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    readers: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown kind of manifest; expected .csv or .jsonl")
    return readers[path.suffix.lower()](path)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(_text_lines(path))
    if not {"path", "label"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must name the columns path,label[,speaker,split,start,end]")
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} cannot be read ({error})") from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            fields = {name: row.get(name) for name in ("speaker", "split")} | {"id": row.get("key")}
            fields["path"] = row["wav"] if "wav" in row else row["audio"]
            fields["label"] = row["emo"] if "emo" in row else row["label"]
            yield fields
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: line {number} is not an object with wav and emo, or audio and label "
                f"({type(error).__name__}: {error})"
            ) from error


def _text_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the manifest cannot be read as text; save it as UTF-8 ({error})") from error
