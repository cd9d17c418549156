"""The folder of a run's explanations, as it is read: Parquet in parts that appear only when whole."""

import hashlib
from array import array
from collections.abc import Hashable, Iterator, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from speechshap.attribution.targets import Target
from speechshap.errors import UserError
from speechshap.results.explanation import Explanation
from speechshap.results.parts import PartsFolder, Row, with_arrays
from speechshap.results.rows import GROUPED_BY, SCHEMA, SHOWN, by_utterance, from_rows

Key = tuple[str, Target, str]
"""What a row is found by: utterance, target, and fingerprint."""


class ResultsFolder(PartsFolder):
    """Explanations of any number of runs, read as a whole.

    :class:`speechshap.results.writer.ResultsWriter` writes the parts.

    Args:
        folder: Where the parts are.
    """

    schema = SCHEMA
    key_columns = ("utterance", "target", "against", "fingerprint")
    required = "settings"
    written_by = "speechshap explain"
    content = "explanations"

    @classmethod
    def key_from(cls, values: tuple[Any, ...]) -> Key:
        """What a row with this utterance, target, class that is subtracted, and fingerprint is found by."""
        utterance, label, against, fingerprint = values
        return utterance, _target(label, against), fingerprint

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        settings: str | None = None,
        utterance: str | None = None,
        parts: Sequence[Path] | None = None,
    ) -> list[Row]:
        """Rows, in the order of the parts; those of an earlier version, which lack columns, are passed over.

        Args:
            columns: Some of :data:`speechshap.results.rows.SCHEMA`; None takes all.
            settings: Only rows with this settings fingerprint.
            utterance: Only rows of this utterance.
            parts: Some of :attr:`parts`; None takes all.
        """
        return self.rows(columns, parts=parts, settings_fingerprint=settings, utterance=utterance)

    def explanations(
        self, *, settings: str | None = None, utterance: str | None = None, parts: Sequence[Path] | None = None
    ) -> list[Explanation]:
        """Explanations without what pictures do not show (embeddings, errors of bands), one for each settings.

        Where a sound file was changed between two runs, only the later explanation is returned.

        Args:
            settings: As for :meth:`read`, as are the others.
            utterance: Only of this utterance.
            parts: Some of :attr:`parts`.
        """
        rows = self.read(SHOWN, settings=settings, utterance=utterance, parts=parts)
        return [from_rows(group) for group in by_utterance(rows)]

    def utterances(self, columns: Sequence[str], settings: str) -> Iterator[list[Row]]:
        """The rows of one utterance after the other, of any number; lists of numbers are arrays.

        Where a sound file was changed between two runs, only the rows of the later one are there. Rows of an utterance
        that lie in several places (since a later run added targets) are kept until all are read.

        Args:
            columns: Some of :data:`speechshap.results.rows.SCHEMA`.
            settings: Fingerprint of their settings.
        """
        parts = self.parts
        left = self._num_stretches(parts, settings)
        names = list(dict.fromkeys([*self.key_columns, *GROUPED_BY, *columns]))
        waiting: dict[int, dict[Hashable, Row]] = {}
        for stretch in self._stretches(parts, names, settings):
            name = hash(stretch[0]["utterance"])
            rows: dict[Hashable, Row] = {self.key_of(row): row for row in stretch}
            if name in left:
                rows = waiting.setdefault(name, {})
                rows.update({self.key_of(row): row for row in stretch})
                left[name] -= 1
                if left[name]:
                    continue
                del waiting[name]
            yield from by_utterance(list(rows.values()))
        for rows in waiting.values():  # a part is gone meanwhile
            yield from by_utterance(list(rows.values()))

    def _num_stretches(self, parts: Sequence[Path], settings: str) -> dict[int, int]:
        """In how many places rows of an utterance lie, by the hash of its id, where it is more than one."""
        names, last = array("q"), None
        for part, batch in self.batches(("utterance",), parts=parts, settings_fingerprint=settings):
            for utterance in batch["utterance"].to_pylist():
                if last != (part, utterance):
                    names.append(hash(utterance))
                    last = (part, utterance)
        found, counts = np.unique(np.array(names, np.int64), return_counts=True)
        several = counts > 1
        return dict(zip(found[several].tolist(), counts[several].tolist(), strict=True))

    def _stretches(self, parts: Sequence[Path], columns: Sequence[str], settings: str) -> Iterator[list[Row]]:
        """Rows of the same utterance that lie side by side in a part."""
        last: tuple[Path, str] | None = None
        stretch: list[Row] = []
        for part, batch in self.batches(columns, parts=parts, settings_fingerprint=settings):
            for row in with_arrays(batch):
                if last != (part, row["utterance"]):
                    if stretch:
                        yield stretch
                    last, stretch = (part, row["utterance"]), []
                stretch.append(row)
        if stretch:
            yield stretch

    def latest(self, columns: Sequence[str]) -> Row:
        """Some columns of the row that was written last.

        Raises:
            UserError: There are no rows.
        """
        import pyarrow.compute as pc

        found: Row = {}
        for _, batch in self.batches([*columns, "explained_at"]):
            last = pc.max(batch["explained_at"])
            if not found or last.as_py() > found["explained_at"]:
                found = batch.slice(pc.index(batch["explained_at"], last).as_py(), 1).to_pylist()[0]
        if not found:
            raise UserError(nothing_to_show(self.folder))
        return found

    def num_explained(self, settings: str) -> int:
        """Number of utterances that are explained with these settings, by their fingerprint."""
        found: set[int] = set()  # hashes take less room than names
        for _, batch in self.batches(("utterance",), settings_fingerprint=settings):
            found.update(map(hash, batch["utterance"].to_pylist()))
        return len(found)

    def places(self, utterances: Set[str] | None = None) -> dict[str, list[Path]]:
        """Parts that hold explanations of each utterance.

        Args:
            utterances: Some of them; None takes all.
        """
        places: dict[str, dict[Path, None]] = {}
        for part, batch in self.batches(("utterance",)):
            for utterance in batch["utterance"].to_pylist():
                if utterances is None or utterance in utterances:
                    places.setdefault(utterance, {})[part] = None
        return {utterance: list(parts) for utterance, parts in places.items()}


@cache  # one object for all rows
def _target(label: str, against: str | None) -> Target:
    return Target(label, against)


def file_name(utterance: str, legible: str = "") -> str:
    """Name of an utterance as a file name, different for every utterance.

    What a file name cannot hold is written as ``%`` and its code; a long name is cut and ends in its hash.

    Args:
        utterance: Its id.
        legible: Characters beside letters, digits and ``_.-~`` that are left as they are.

    Example:
        >>> file_name("speaker_01/a b.wav")
        'speaker_01%2Fa%20b.wav'
    """
    name = quote(utterance, safe=legible)
    if len(name) <= 200:
        return name
    return f"{name[:180]}%{hashlib.blake2b(utterance.encode(), digest_size=8).hexdigest()}"


def nothing_to_show(folder: Path) -> str:
    """Message for a folder without rows that can be read."""
    return f"{folder} has no explanations, or those of an earlier version only; speechshap explain writes them"
