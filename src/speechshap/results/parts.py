"""Tables in a folder of Parquet parts that any number of processes write, each part appearing only when whole."""

import logging
import os
import re
from collections.abc import Hashable, Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from speechshap.data.wording import counted
from speechshap.files import remove_partial, whole_file
from speechshap.run_lock import RUN_ID, RunLock, new_run_id

if TYPE_CHECKING:
    from pyarrow.dataset import Expression

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# Those of earlier versions have no id of a run.
_PART = re.compile(rf"part-({RUN_ID}-)?\d+-\d+\.parquet")


class PartsFolder:
    """A folder of Parquet parts that any number of runs have written, read as a whole.

    A file that cannot be read costs a warning that names it, and no row is there twice, whatever was copied.
    :class:`PartsWriter` writes the parts.

    Args:
        folder: Where the parts are.

    Attributes:
        schema: Columns of a row; those that a part of an earlier version lacks are read as nulls.
        key_columns: Columns that a row is found by.
        required: Column that is null in the rows of earlier versions, which are passed over.
        written_by: The command that writes the parts.
        content: What the rows are.
    """

    schema: ClassVar[pa.Schema]
    key_columns: ClassVar[tuple[str, ...]]
    required: ClassVar[str]
    written_by: ClassVar[str]
    content: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def key_of(cls, row: Row) -> Hashable:
        """What a row is found by."""
        return tuple(row[name] for name in cls.key_columns)

    @property
    def parts(self) -> list[Path]:
        """Parts of all runs and ranks."""
        if not self.folder.is_dir():
            return []
        parts = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # Whoever reads the folder as one Parquet dataset passes over names that begin like this.
                if not entry.name.endswith(".parquet") or entry.name.startswith((".", "_")):
                    continue
                if _PART.fullmatch(entry.name) and entry.is_file():
                    parts.append(self.folder / entry.name)
                else:
                    _warn_of(self.folder / entry.name, f"no part that {self.written_by} has written has such a name")
        return sorted(parts)

    def rows(
        self, columns: Sequence[str] | None = None, *, parts: Sequence[Path] | None = None, **wanted: str | None
    ) -> list[Row]:
        """Rows, in the order of the parts.

        Args:
            columns: Some of the schema's; None takes all.
            parts: Some of :attr:`parts`; None takes all.
            wanted: Values of columns that rows must have; None takes any.
        """
        import pyarrow.dataset

        names = self.schema.names if columns is None else list(columns)
        condition = pyarrow.dataset.field(self.required).is_valid()
        for name, value in wanted.items():
            if value is not None:
                condition &= pyarrow.dataset.field(name) == value
        rows: dict[Hashable, Row] = {}
        for part in self.parts if parts is None else parts:
            for row in self._read_part(part, list(dict.fromkeys([*names, *self.key_columns])), condition):
                rows[self.key_of(row)] = {name: row[name] for name in names}
        return list(rows.values())

    def places_of_rows(self, parts: Iterable[Path] | None = None) -> dict[Any, Path]:
        """The part that holds each row, by its key: the first one in which it is.

        Args:
            parts: Some of :attr:`parts`; None takes all.
        """
        found: dict[Hashable, Path] = {}
        for part in self.parts if parts is None else parts:
            for row in self.rows(self.key_columns, parts=[part]):
                found.setdefault(self.key_of(row), part)
        return found

    def _read_part(self, part: Path, columns: list[str], wanted: "Expression") -> list[Row]:
        """Rows of a part; none and a warning where it cannot be read."""
        import pyarrow.dataset
        import pyarrow.parquet

        try:
            if self.key_columns[0] not in pyarrow.parquet.read_schema(part).names:
                raise pa.ArrowInvalid(f"it holds no {self.content}")
            verified = pyarrow.dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
            as_parquet = pyarrow.dataset.ParquetFileFormat(default_fragment_scan_options=verified)
            dataset = pyarrow.dataset.dataset(part, schema=self.schema, format=as_parquet)
            rows: list[Row] = dataset.to_table(columns, filter=wanted).to_pylist()
            return rows
        except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a text that is none
            _warn_of(part, " ".join(str(error).split()))
            return []


@cache
def _warn_of(path: Path, reason: str) -> None:
    """Warn of a file once."""
    logger.warning("%s is not read: %s; move it out of the folder, all else is read", path, reason)


class PartsWriter:
    """Writes parts of a folder, and knows what it holds.

    Several processes may write into a folder at once: names of parts are of one process alone, and a row that another
    one has written meanwhile is left out. What a killed process left half-written is removed, unless it may be that
    of another run that is alive. A file system without locks costs a warning: there, two runs at once may write the
    same row, and nothing is removed.

    Args:
        results: Where the parts go; the folder is made if it is not there.
        run: Id of the run, common to its ranks (:func:`speechshap.run_lock.new_run_id`); None makes one.
        rank: Rank of this process in the run.
        leftovers: Patterns of what a killed process may have left half-written, beside its parts.

    Attributes:
        results: As given.
        known: The part of each row that this process knows of.
        was_alone: Whether no other run was alive when this one began.

    Raises:
        UserError: Another process keeps the folder locked.
    """

    def __init__(
        self, results: PartsFolder, run: str | None = None, rank: int = 0, leftovers: Sequence[str] = ()
    ) -> None:
        self.results = results
        self._lock = RunLock(results.folder, run or new_run_id(), rank)
        self._rank = rank
        self._num_parts = 0
        self._seen: set[Path] = set()
        self.known: dict[Any, Path] = {}
        with ExitStack() as stack:
            stack.callback(self.close)
            with self._lock.register() as others:
                self.was_alone = all(other == self._lock.run for other in others)
                if self._lock.is_held and not others:
                    # Not the files of the report, which has a lock of its own.
                    remove_partial(results.folder, ".part-*", *leftovers)
            self.refresh()
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        """Take note of rows that others have written since the last time, and warn of those that are gone."""
        if gone := self._seen.difference(self._take_note()):
            logger.warning(
                "%s gone from %s meanwhile; the same command again computes what was in there",
                counted(len(gone), "part is", "parts are"),
                self.results.folder,
            )
            # Another part may hold the same row.
            self._seen.clear()
            self.known.clear()
            self._take_note()

    def _take_note(self) -> list[Path]:
        """Add rows that others have written; returns the parts that there are."""
        parts = self.results.parts
        new = [part for part in parts if part not in self._seen]
        self._seen.update(new)
        for key, part in self.results.places_of_rows(new).items():
            self.known.setdefault(key, part)
        return parts

    def write_rows(self, rows: Sequence[Row]) -> set[Any]:
        """Write rows as the next part, but for those that are there already.

        Returns:
            Keys of the rows that were written.

        Raises:
            OSError: There is no room; the error names the part.
            UserError: Another process keeps the folder locked.
        """
        import pyarrow.parquet as pq

        keyed = {self.results.key_of(row): row for row in rows}
        with self._lock.exclusive():
            self._take_note()
            new = {key: row for key, row in keyed.items() if key not in self.known}
            if not new:
                return set()
            name = f"part-{self._lock.run}-{self._rank}-{self._num_parts:05d}.parquet"
            path = self.results.folder / name
            with whole_file(path) as partial:
                table = pa.Table.from_pylist(list(new.values()), schema=self.results.schema)
                # With checksums, values that a disk has changed are not taken for results.
                pq.write_table(table, partial, write_page_checksum=True)
        self._num_parts += 1
        self._seen.add(path)
        self.known.update(dict.fromkeys(new, path))
        return set(new)

    def close(self) -> None:
        """Tell others that this process writes no more; a second time does nothing."""
        self._lock.unregister()
