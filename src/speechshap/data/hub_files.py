"""Recordings of a dataset as sound files with a manifest, written once."""

import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechshap.data.decoding import AUDIO_SUFFIXES
from speechshap.data.manifest_rows import OPTIONAL_COLUMNS
from speechshap.data.manifests import SPLIT_WORDS
from speechshap.data.utterance import SplitName
from speechshap.data.wording import in_words, name_some
from speechshap.errors import UserError
from speechshap.files import whole_file

logger = logging.getLogger(__name__)

OWN_COLUMNS = {"path", "id", "split", *OPTIONAL_COLUMNS} - {"speaker", "session"}
"""Columns of the manifest that are not the dataset's; what these are called there need not be the same thing."""

_ROWS_AT_ONCE = 1000


class Part(NamedTuple):
    """Rows of one split, which is trained, validated or tested on as ``split`` says; None where it is to be drawn."""

    name: str
    split: SplitName | None
    rows: Any


def write_files(
    manifest: Path,
    parts: Sequence[Part],
    audio: str,
    others: Mapping[str, Any],
    name: str,
    num_bytes: int,
    is_quiet: bool = False,
) -> None:
    """Write the recordings of a dataset beside a manifest, and the manifest when all are there.

    Recordings that are files of this machine already are not copied; files that a stopped process has written are used.

    Args:
        manifest: Parquet, with the columns of the dataset as text.
        parts: Of the dataset.
        audio: Column with the sound.
        others: Columns of one value each, and what they hold (the features of `datasets`).
        name: Of the dataset, for messages.
        num_bytes: Size of the dataset, which is told before anything is written.
        is_quiet: Whether to tell and show nothing.

    Raises:
        UserError: The dataset has no rows.
        OSError: The disk is full.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter
    from tqdm.auto import tqdm

    texts = [(column, pa.string()) for column in ("path", "id", "split", *others)]
    schema = pa.schema([*texts, ("duration", pa.float64())])
    total = sum(map(_num_rows, parts)) or None
    bar = tqdm(total=total, desc="writing recordings", unit="file", delay=2, leave=False, disable=is_quiet)
    with bar, whole_file(manifest) as partial, ParquetWriter(partial, schema) as writer:
        kept: list[dict[str, Any]] = []
        num_rows, is_told = 0, is_quiet
        for row in (row for part in parts for row in _written(part, manifest.parent, audio, others)):
            if not is_told and not Path(row["path"]).is_absolute():
                is_told = True
                logger.info(
                    "the recordings of %s are written as files into %s, once and beside the dataset itself: up to %s; "
                    "XDG_CACHE_HOME takes another place for the cache", name, manifest.parent, in_words(num_bytes),
                )  # fmt: skip
            kept.append(row)
            num_rows += 1
            bar.update()
            if len(kept) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(kept, schema))
                kept = []
        writer.write_table(pa.Table.from_pylist(kept, schema))
        if not num_rows:
            raise UserError(f"{name}: the dataset has no rows")


def parts_of(loaded: Any, dataset: str) -> list[Part]:
    """The splits of a dataset by what their names say; those that say nothing are left out where others do.

    Args:
        loaded: As `datasets` gives it: rows, or rows by the name of their split.
        dataset: Its name, for messages.
    """
    if not isinstance(loaded, Mapping):
        return [Part("", None, loaded)]
    named = {name: _split_of(name) for name in loaded}
    if set(named) == {"train"} or not any(named.values()):  # as datasets are called that nobody has split
        return [Part(name, None, rows) for name, rows in loaded.items()]
    if unknown := [name for name, split in named.items() if split is None]:
        logger.warning("%s: left out what is no train, validation or test split: %s", dataset, name_some(unknown))
    return [Part(name, split, loaded[name]) for name, split in named.items() if split is not None]


def _split_of(name: str) -> SplitName | None:
    """What the name of a split says.

    Example:
        >>> _split_of("train.clean.100"), _split_of("validation"), _split_of("other")
        ('train', 'val', None)
    """
    said = {SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in SPLIT_WORDS}
    return said.pop() if len(said) == 1 else None


def _num_rows(part: Part) -> int:
    try:
        return len(part.rows)
    except TypeError:  # rows that are read one after the other
        splits = part.rows.info.splits or {}
        return splits[part.name].num_examples or 0 if part.name in splits else 0


def _written(part: Part, folder: Path, audio: str, others: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the manifest, whose files are there."""
    from datasets import Audio

    rows = part.rows.select_columns([audio, *others])
    if isinstance(rows.features[audio], Audio):
        rows = rows.cast_column(audio, Audio(decode=False))
    taken: set[str] = set()
    for number, row in enumerate(rows):
        sound = row[audio] or {}
        path, content = sound.get("path"), sound.get("bytes")
        if content is None and path and not Path(path).is_file():
            content = _fetched(path)
        name = _file_name(path, content, number)
        if name in taken:
            name = f"{number}-{name}"
        taken.add(name)
        file = Path(path).absolute() if content is None and path else folder / part.name / f"{number // 1000:04}" / name
        # Without bytes and path, an empty file is left out as any other.
        if content is not None or not path:
            _write_file(file, content or b"")
        yield {
            "path": str(file if not file.is_relative_to(folder) else file.relative_to(folder).as_posix()),
            "id": f"{part.name}/{name}" if part.name else name,
            "split": part.split,
            "duration": _seconds(file),
            **{name: _as_text(feature, row[name]) for name, feature in others.items()},
        }


def _fetched(path: str) -> bytes | None:
    """Contents of a file that is not on this machine, or in an archive."""
    import fsspec

    if "://" not in path:
        return None
    with fsspec.open(path, "rb") as file:
        content: bytes = file.read()
    return content


def _write_file(path: Path, content: bytes) -> None:
    if path.is_file() and path.stat().st_size == len(content):
        return
    with whole_file(path) as partial:
        partial.write_bytes(content)


def _file_name(path: str | None, content: bytes | None, number: int) -> str:
    """Name of a recording in the dataset, with the suffix of what it contains where it has none of sound."""
    name = re.sub(r"[^\w.()+ -]+", "_", re.split(r"[/\\]", (path or "").split("::")[0])[-1])[-150:].lstrip(". ")
    if Path(name).suffix.lower() in AUDIO_SUFFIXES:
        return name
    return f"{name or format(number, '07')}{_suffix(content or b'')}"


def _suffix(content: bytes) -> str:
    import soundfile

    try:
        kind = soundfile.info(io.BytesIO(content)).format.lower()
    except soundfile.SoundFileError:
        return ".wav"
    return f".{kind}" if f".{kind}" in AUDIO_SUFFIXES else ".wav"


def _seconds(path: Path) -> float | None:
    """Length as the header has it; None where only decoding tells whether there is sound at all."""
    import soundfile

    try:
        return float(soundfile.info(path).duration) or None
    except (soundfile.SoundFileError, OSError):
        return None


def _as_text(feature: Any, value: Any) -> str | None:
    """A value as text, that of a ClassLabel by its name."""
    names = getattr(feature, "names", None)
    if value is None or (names is not None and value == -1):  # as test sets without labels have it
        return None
    if names is not None:
        return str(names[value])
    return str(value).lower() if isinstance(value, bool) else str(value)
