"""Tables in a folder of Parquet parts that any number of processes write, each part appearing only when whole."""

import logging
import math
import os
import re
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pyarrow as pa

from speechshap.data.wording import counted
from speechshap.files import remove_partial, whole_file
from speechshap.run_lock import RUN_ID, RunLock, new_run_id

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# Those of earlier versions have no id of a run.
_PART = re.compile(rf"part-({RUN_ID}-)?\d+-\d+\.parquet")

_BATCH_ROWS = 256
"""Rows that are read at once."""

PART_BYTES = 2**20
"""Size in memory that a part grows to; the next rows begin another one."""

_LISTING_SHARE = 0.01
"""Share of its time that a run may spend on looking whether parts are gone."""

_QUICK_SECONDS = 0.01

_RUNS = ".runs"
"""Folder of the locks of those who write parts: few files, which are found in no time among any number of parts."""


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
        return cls.key_from(tuple(row[name] for name in cls.key_columns))

    @classmethod
    def key_from(cls, values: tuple[Any, ...]) -> Hashable:
        """What a row with these values of the :attr:`key_columns` is found by."""
        return values

    @property
    def parts(self) -> list[Path]:
        """Parts of all runs and ranks."""
        return [part for part, _ in self.states()]

    def states(self) -> list[tuple[Path, tuple[int, int]]]:
        """Parts of all runs and ranks, each with what is different when it has grown."""
        if not self.folder.is_dir():
            return []
        parts = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # Whoever reads the folder as one Parquet dataset passes over names that begin like this.
                if not entry.name.endswith(".parquet") or entry.name.startswith((".", "_")):
                    continue
                path = self.folder / entry.name
                if not _PART.fullmatch(entry.name) or not entry.is_file():
                    _warn_of(path, f"no part that {self.written_by} has written has such a name")
                    continue
                with suppress(FileNotFoundError):  # removed meanwhile
                    state = entry.stat()
                    parts.append((path, (state.st_mtime_ns, state.st_size)))
        return sorted(parts)

    def rows(
        self, columns: Sequence[str] | None = None, *, parts: Sequence[Path] | None = None, **wanted: str | None
    ) -> list[Row]:
        """Rows, in the order of the parts, all at once; :meth:`batches` has many.

        Args:
            columns: Some of the schema's; None takes all.
            parts: Some of :attr:`parts`; None takes all.
            wanted: Values of columns that rows must have; None takes any.
        """
        names = self.schema.names if columns is None else list(columns)
        rows: dict[Hashable, Row] = {}
        for _, batch in self.batches(list(dict.fromkeys([*names, *self.key_columns])), parts=parts, **wanted):
            keys = self._keys(batch)
            rows.update(zip(keys, batch.select(names).to_pylist(), strict=True))
        return list(rows.values())

    def places_of_rows(self, parts: Iterable[Path] | None = None) -> dict[Any, Path]:
        """The part that holds each row, by its key: the first one in which it is.

        Args:
            parts: Some of :attr:`parts`; None takes all.
        """
        found: dict[Hashable, Path] = {}
        for part, batch in self.batches(self.key_columns, parts=parts):
            for key in self._keys(batch):
                found.setdefault(key, part)
        return found

    def batches(
        self, columns: Sequence[str], *, parts: Iterable[Path] | None = None, **wanted: str | None
    ) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Rows of one part after the other, some hundred at once; a row that is there twice comes twice.

        Args:
            columns: Some of the schema's.
            parts: Some of :attr:`parts`; None takes all.
            wanted: As for :meth:`rows`.

        Yields:
            The part, and rows with these columns.
        """
        for part in self.parts if parts is None else parts:
            # What is read of a part before an error is as good as the rest.
            try:
                for batch in self._batches_of(part, columns, wanted):
                    if batch.num_rows:
                        yield part, batch
            except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a text that is none
                _warn_of(part, " ".join(str(error).split()))

    def _batches_of(
        self, part: Path, columns: Sequence[str], wanted: Mapping[str, str | None]
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        conditions = {name: value for name, value in wanted.items() if value is not None}
        needed = list(dict.fromkeys([*columns, self.required, *conditions]))
        # It is opened once: a part that grows meanwhile is another file of the same name.
        with part.open("rb") as content, pq.ParquetFile(content, page_checksum_verification=True) as file:
            there = set(file.schema_arrow.names)
            if self.key_columns[0] not in there:
                raise pa.ArrowInvalid(f"it holds no {self.content}")
            for batch in file.iter_batches(_BATCH_ROWS, columns=[name for name in needed if name in there]):
                whole = self._with_schema(batch, needed)
                mask = whole[self.required].is_valid()
                for name, value in conditions.items():
                    mask = pc.and_(mask, pc.equal(whole[name], value))
                whole.validate(full=True)  # that texts are some
                yield whole.filter(pc.fill_null(mask, False)).select(list(columns))

    def _with_schema(self, batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        """Columns in the types of the schema, with nulls for those that an earlier version lacks."""
        fields = [self.schema.field(name) for name in names]
        columns = [
            batch[field.name].cast(field.type)
            if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in fields
        ]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))

    def _keys(self, batch: pa.RecordBatch) -> list[Hashable]:
        columns = (batch[name].to_pylist() for name in self.key_columns)
        return [self.key_from(values) for values in zip(*columns, strict=True)]


def with_arrays(batch: pa.RecordBatch) -> list[Row]:
    """Rows with lists of numbers as arrays, which take a tenth of the time and the memory of Python's own.

    Lists of lists are lists of arrays.

    Example:
        >>> batch = pa.RecordBatch.from_pydict({"name": ["a", "b"], "values": [[1.0, 2.0], None]})
        >>> with_arrays(batch)
        [{'name': 'a', 'values': array([1., 2.])}, {'name': 'b', 'values': None}]
    """
    columns = [_with_arrays(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _with_arrays(column: pa.Array) -> Sequence[Any]:
    if not pa.types.is_list(column.type):
        plain: list[Any] = column.to_pylist()
        return plain
    kind = column.type.value_type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    content = column.values.to_numpy(zero_copy_only=False) if is_number else _with_arrays(column.values)
    bounds, known = column.offsets.to_pylist(), column.is_valid().to_pylist()
    return [
        content[first:last] if is_known else None
        for first, last, is_known in zip(bounds, bounds[1:], known, strict=False)
    ]


@cache
def _warn_of(path: Path, reason: str) -> None:
    """Warn of a file once."""
    logger.warning("%s is not read: %s; move it out of the folder, all else is read", path, reason)


class PartsWriter:
    """Writes parts of a folder, and knows what it holds.

    Rows are added to the last part until it has :data:`PART_BYTES`: it is written anew with each of them, and a reader
    finds the former file or the whole new one. So a million utterances are some ten thousand files, however few are
    written at once.

    Several processes may write into a folder at once: names of parts are of one process alone, and a row that another
    one has written meanwhile is left out. What a killed process left half-written is removed, unless it may be that
    of another run that is alive. A file system without locks costs a warning: there, two runs at once may write the
    same row, and nothing is removed.

    Args:
        results: Where the parts go; the folder is made if it is not there.
        run: Id of the run, common to its ranks (:func:`speechshap.run_lock.new_run_id`); None makes one.
        rank: Rank of this process in the run.
        leftovers: Patterns of what a killed process may have left half-written, beside its parts.
        group: Of runs that never write the same row, such as the shards of a corpus: they do not wait for each other,
            nor look at what the others write. None for a run by itself.

    Attributes:
        results: As given.
        known: The part of each row that this process knows of.
        was_alone: Whether no other run that may write the same rows was alive when this one began.

    Raises:
        UserError: Another process keeps the folder locked.
    """

    def __init__(
        self,
        results: PartsFolder,
        run: str | None = None,
        rank: int = 0,
        leftovers: Sequence[str] = (),
        group: str | None = None,
    ) -> None:
        self.results = results
        self._lock = RunLock(results.folder / _RUNS, run or new_run_id(), rank, group)
        self._rank = rank
        self._group = group
        self._num_parts = 0
        self._open: pa.Table | None = None  # rows of the last part, while it grows
        self._seen: dict[Path, tuple[int, int]] = {}  # parts of others, as they were
        self._own: set[Path] = set()
        self._others_state = 0
        self._has_rivals = False
        self._listed_at, self._listing_seconds = -math.inf, 0.0
        self.known: dict[Any, Path] = {}
        with ExitStack() as stack:
            stack.callback(self.close)
            with self._lock.register() as others:
                self._has_rivals = any(self._lock.is_rival(other) for other in others)
                self._others_state = self._lock.comings_and_goings()
                self.was_alone = not self._has_rivals
                if self._lock.is_held and not others:
                    # Not the files of the report, which has a lock of its own.
                    remove_partial(results.folder, ".part-*", *leftovers)
            self._take_note()
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        """Take note of rows that others have written since the last time, and warn of those that are gone.

        In a folder of very many parts this is done now and then.
        """
        if time.monotonic() - self._listed_at < self._listing_seconds / _LISTING_SHARE:
            return
        # What the others of a group write is never asked for.
        there = self._take_note(reads=self._group is None)
        if gone := [part for part in (*self._seen, *self._own) if part not in there]:
            logger.warning(
                "%s gone from %s meanwhile; the same command again computes what was in there",
                counted(len(gone), "part is", "parts are"),
                self.results.folder,
            )
            # Another part may hold the same row.
            self._seen.clear()
            self._own.clear()
            self._open = None
            self.known.clear()
            self._take_note()

    def _take_note(self, reads: bool = True) -> set[Path]:
        """Add rows that others have written; returns the parts that there are."""
        started = time.monotonic()
        states = dict(self.results.states())
        others = {part: state for part, state in states.items() if part not in self._own} if reads else {}
        new = [part for part, state in others.items() if self._seen.get(part) != state]
        self._listed_at = time.monotonic()
        # A hundredth of a second and less is no cost beside that of a batch.
        self._listing_seconds = seconds if (seconds := self._listed_at - started) > _QUICK_SECONDS else 0.0
        self._seen.update({part: states[part] for part in new})
        for key, part in self.results.places_of_rows(new).items():
            self.known.setdefault(key, part)
        return set(states)

    def write_rows(self, rows: Sequence[Row]) -> set[Any]:
        """Write rows to the last part or the next one, but for those that are there already.

        Returns:
            Keys of the rows that were written.

        Raises:
            OSError: There is no room; the error names the part.
            UserError: Another process keeps the folder locked.
        """
        keyed = {self.results.key_of(row): row for row in rows}
        with self._turn():
            new = {key: row for key, row in keyed.items() if key not in self.known}
            if not new:
                return set()
            path = self._write(pa.Table.from_pylist(list(new.values()), schema=self.results.schema))
        self._own.add(path)
        self.known.update(dict.fromkeys(new, path))
        return set(new)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Know what others have written that may write the same rows, and keep them from writing."""
        is_quiet = self._lock.comings_and_goings() == self._others_state and not self._has_rivals
        # Who is alone with its group has nobody to wait for.
        with nullcontext() if self._group is not None and is_quiet else self._lock.exclusive():
            if not self._lock.is_held:
                if self._group is None:
                    self._take_note()
            elif self._has_rivals or self._lock.comings_and_goings() != self._others_state:
                had_rivals = self._has_rivals
                self._has_rivals = any(self._lock.is_rival(other) for other in self._lock.others())
                self._others_state = self._lock.comings_and_goings()
                # Whoever came and went meanwhile was a rival, but where a group comes and goes.
                if self._has_rivals or had_rivals or self._group is None:
                    self._take_note()
            yield

    def _write(self, table: pa.Table) -> Path:
        """Write a table to the last part, if there is one that may grow, or to the next one."""
        import pyarrow.parquet as pq

        begun = 0 if self._open is None else 1
        path = self.results.folder / f"part-{self._lock.run}-{self._rank}-{self._num_parts - begun:05d}.parquet"
        if self._open is not None:
            table = pa.concat_tables([self._open, table]).combine_chunks()
        with whole_file(path) as partial:
            # With checksums, values that a disk has changed are not taken for results.
            pq.write_table(table, partial, write_page_checksum=True)
        self._num_parts += 1 - begun
        self._open = table if table.nbytes < PART_BYTES else None
        return path

    @property
    def locks(self) -> Path:
        """Folder of the locks of those who write."""
        return self._lock.folder

    def exclusive(self) -> AbstractContextManager[None]:
        """Have the folder to oneself, as short as possible.

        Raises:
            UserError: Another process has it for long.
        """
        return self._lock.exclusive()

    def close(self) -> None:
        """Tell others that this process writes no more; a second time does nothing."""
        self._lock.unregister()
