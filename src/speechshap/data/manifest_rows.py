"""Rows of manifests: CSV tables, JSON lines and Parquet, read as they are needed."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechshap.errors import UserError

Row = Mapping[str, object]
"""One entry: the columns of CSV, whose cells are text, or what JSON lines and Parquet have instead of them."""

OPTIONAL_COLUMNS = ("speaker", "split", "session", "duration", "start", "end", "low_hz", "high_hz")
_ROWS_AT_ONCE = 10_000


class Columns(NamedTuple):
    """What the columns of a manifest are called.

    Attributes:
        label: That of the labels; None for the usual name: ``label``, in JSON lines ``emo`` where they have it.
        speaker: That of the speakers; None for ``speaker``, which need not be there.
    """

    label: str | None = None
    speaker: str | None = None

    def in_table(self, path: Path, names: Sequence[str], shown: str) -> dict[str, str]:
        """Columns of a table by what they mean.

        Args:
            path: Of the table.
            names: Of its columns.
            shown: What is said of them in errors.

        Raises:
            UserError: One that has to be there is not, or is there twice.

        Example:
            >>> Columns(label="emotion").in_table(Path("a.csv"), ["path", "emotion", "age"], "")
            {'path': 'path', 'label': 'emotion'}
        """
        expected = f"must name the columns {','.join(['path', self.label or 'label'])}[,{','.join(OPTIONAL_COLUMNS)}]"
        meant = {name: name for name in ("path", "label", "id", *OPTIONAL_COLUMNS)}
        meant |= {"label": self.label or "label", "speaker": self.speaker or "speaker"}
        if not {"path", meant["label"]} <= set(names):
            raise UserError(f"{path}: {_first_of(path)} {expected}; {shown}")
        if self.speaker is not None and self.speaker not in names:
            raise UserError(f"{path}: `speaker_column` is {self.speaker}, but {shown}")
        if repeated := [name for index, name in enumerate(names) if name and name in names[:index]]:
            raise UserError(f"{path}: {_first_of(path)} names the column {repeated[0]} twice; name each once")
        return {meaning: name for meaning, name in meant.items() if name in names}


def _first_of(path: Path) -> str:
    return "the schema" if path.suffix.lower() == ".parquet" else "the first line"


def rows_of(path: Path, columns: Columns = Columns()) -> Iterator[tuple[str, Row]]:  # noqa: B008 - immutable
    """Rows of a manifest, each with the place that errors name (``line 3``); only some of them are in memory.

    Args:
        path: CSV, JSON lines or Parquet, by its suffix.
        columns: What they are called.

    Raises:
        UserError: The manifest cannot be read, or a line of it has other cells than the first one names.
    """
    readers: dict[str, Callable[[Path, Columns], Iterator[tuple[str, Row]]]] = {
        ".csv": _csv_rows,
        ".jsonl": _jsonl_rows,
        ".parquet": _parquet_rows,
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown kind of manifest; expected .csv, .jsonl or .parquet")
    return readers[path.suffix.lower()](path, columns)


def _csv_rows(path: Path, columns: Columns) -> Iterator[tuple[str, Row]]:
    names: list[str] = []
    wanted: list[tuple[str, int]] = []
    for number, line in _text_lines(path):
        try:
            # Line by line, so that a quote without an end is found where it is and does not swallow what follows.
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: line {number} cannot be read ({error}); a quoted cell ends on its line, and a quote inside "
                'it is written twice ("")'
            ) from error
        if not names:
            names = [cell.strip() for cell in cells]
            meant = columns.in_table(path, names, f"it is {line!r}")
            wanted = [(meaning, names.index(name)) for meaning, name in meant.items()]
        elif len(cells) < len(names) or any(cells[len(names) :]):
            raise UserError(
                f"{path}: line {number} has {len(cells)} cells, while the first line names {len(names)} columns; a "
                "comma inside a cell needs quotes around the cell"
            )
        else:
            yield f"line {number}", {meaning: cells[index] for meaning, index in wanted}
    if not names:
        raise UserError(f"{path}: the manifest is empty; the first line must name the columns path,label[,...]")


def _jsonl_rows(path: Path, columns: Columns) -> Iterator[tuple[str, Row]]:
    for number, line in _text_lines(path):
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
            fields = {name: row.get(name) for name in OPTIONAL_COLUMNS} | {"id": row.get("key")}
            fields["path"] = row["wav"] if "wav" in row else row["audio"]
            fields["label"] = row[columns.label or ("emo" if "emo" in row else "label")]
            if columns.speaker is not None:
                fields["speaker"] = row[columns.speaker]
            if fields["duration"] is None:
                fields["duration"] = row.get("length")  # as EmoBox calls it
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: line {number} is not an object with {_fields(columns)} ({type(error).__name__}: {error})"
            ) from error
        yield f"line {number}", fields


def _fields(columns: Columns) -> str:
    if columns == Columns():
        return "wav and emo, or audio and label"
    return f"wav or audio, {columns.label or 'emo or label'}, and {columns.speaker or 'maybe speaker'}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[str, Row]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with path.open("rb") as opened, ParquetFile(opened) as file:
            names = file.schema_arrow.names
            if "path" not in names and any(_holds_sound(each.type) for each in file.schema_arrow):
                raise UserError(
                    f"{path}: a dataset with its recordings in it, and no manifest; give its folder as "
                    f"`root` hf://{path.parent.absolute()}"
                )
            meant = columns.in_table(path, names, f"it has {', '.join(names)}")
            number = 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(dict.fromkeys(meant.values()))):
                cells = [batch.column(name).to_pylist() for name in meant.values()]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield f"row {number}", dict(zip(meant, row, strict=True))
    except (OSError, ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: the manifest cannot be read as Parquet ({reason})") from error


def _holds_sound(kind: Any) -> bool:
    from pyarrow.types import is_struct

    return is_struct(kind) and "bytes" in [field.name for field in kind]


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
