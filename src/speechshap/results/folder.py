"""The folder of a run's explanations, as it is read: Parquet in parts that appear only when whole."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from speechshap.attribution.targets import Target
from speechshap.results.explanation import Explanation
from speechshap.results.parts import PartsFolder, Row
from speechshap.results.rows import SCHEMA, SHOWN, by_utterance, from_rows

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

    def num_explained(self, settings: str) -> int:
        """Number of utterances that are explained with these settings, by their fingerprint."""
        found: set[int] = set()  # hashes take less room than names
        for _, batch in self.batches(("utterance",), settings_fingerprint=settings):
            found.update(map(hash, batch["utterance"].to_pylist()))
        return len(found)

    def places(self) -> dict[str, list[Path]]:
        """Parts that hold explanations of each utterance."""
        places: dict[str, dict[Path, None]] = {}
        for key, part in self.places_of_rows().items():
            places.setdefault(key[0], {})[part] = None
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
