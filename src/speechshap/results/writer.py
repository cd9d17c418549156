"""Writes explanations into a results folder that other processes may be writing into, too."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
from torch import Tensor

from speechshap.data.wording import counted
from speechshap.files import remove_partial, whole_file
from speechshap.results.explanation import Explanation
from speechshap.results.folder import Key, ResultsFolder, key_of
from speechshap.results.neurons import LAYERS, has_neurons, neuron_file, write_neurons
from speechshap.results.rows import SCHEMA, to_rows
from speechshap.results.run_lock import RunLock, new_run_id

logger = logging.getLogger(__name__)


class ResultsWriter:
    """Writes parts of a results folder, and knows what it holds.

    Several processes may write into a folder at once: names of parts are of one process alone, and a row that another
    one has written meanwhile is left out. What a killed process left half-written is removed, unless it may be that
    of another run that is alive. A file system without locks costs a warning: there, two runs at once may write the
    same row, and nothing is removed.

    Args:
        folder: Where the parts go; made if it is not there.
        run: Id of the run, common to its ranks (:func:`speechshap.results.run_lock.new_run_id`); None makes one.
        rank: Rank of this process in the run.

    Attributes:
        results: The folder, for reading.
        known: The part of each row that this process knows of.
        was_alone: Whether no other run was alive when this one began.

    Raises:
        UserError: Another process keeps the folder locked.
    """

    def __init__(self, folder: Path, run: str | None = None, rank: int = 0) -> None:
        self.results = ResultsFolder(folder)
        self._lock = RunLock(folder, run or new_run_id(), rank)
        self._rank = rank
        self._num_parts = 0
        self._seen: set[Path] = set()
        self.known: dict[Key, Path] = {}
        with ExitStack() as stack:
            stack.callback(self.close)
            with self._lock.register() as others:
                self.was_alone = all(other == self._lock.run for other in others)
                if self._lock.is_held and not others:
                    # Not the files of the report, which has a lock of its own.
                    remove_partial(folder, ".part-*", "._learnt-*", f"{LAYERS}/**/.*")
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
                "%s gone from %s meanwhile; the same command again explains what was in there",
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
        for key, part in self.results.explained(new).items():
            self.known.setdefault(key, part)
        return parts

    def write(self, explanations: Sequence[Explanation]) -> list[Explanation]:
        """Write explanations as the next part, a row for each target, but for rows that are there already.

        Returns:
            Those of which a row was written.

        Raises:
            OSError: There is no room; the error names the part.
            UserError: Another process keeps the folder locked.
        """
        import pyarrow.parquet as pq

        rows = {key_of(row): row for explanation in explanations for row in to_rows(explanation)}
        with self._lock.exclusive():
            self._take_note()
            new = {key: row for key, row in rows.items() if key not in self.known}
            if not new:
                return []
            name = f"part-{self._lock.run}-{self._rank}-{self._num_parts:05d}.parquet"
            path = self.results.folder / name
            with whole_file(path) as partial:
                table = pa.Table.from_pylist(list(new.values()), schema=SCHEMA)
                # With checksums, values that a disk has changed are not taken for results.
                pq.write_table(table, partial, write_page_checksum=True)
        self._num_parts += 1
        self._seen.add(path)
        self.known.update(dict.fromkeys(new, path))
        own = {(utterance, fingerprint) for utterance, _, fingerprint in new}
        return [e for e in explanations if (e.utterance, e.provenance.fingerprint) in own]

    def write_neurons(self, explanation: Explanation, neurons: dict[str, Tensor]) -> Path:
        """Write the neuron attributions of an explanation to ``layers/<settings fingerprint>/``; before its rows."""
        return write_neurons(self.results.folder, explanation, neurons)

    def has_neurons(self, settings_fingerprint: str, utterance: str, fingerprint: str) -> bool:
        """Whether the whole neuron attributions of the explanation with this fingerprint are there."""
        return has_neurons(neuron_file(self.results.folder, settings_fingerprint, utterance), fingerprint)

    def close(self) -> None:
        """Tell others that this process writes no more; a second time does nothing."""
        self._lock.unregister()
