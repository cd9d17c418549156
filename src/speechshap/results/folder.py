"""The folder of a run's explanations, as it is read: Parquet in parts that appear only when whole."""

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa

from speechshap.attribution.targets import Target
from speechshap.results.explanation import Explanation
from speechshap.results.rows import SCHEMA, SHOWN, Row, by_utterance, from_rows, target_of
from speechshap.results.run_lock import RUN_ID

if TYPE_CHECKING:
    from pyarrow.dataset import Expression

logger = logging.getLogger(__name__)

Key = tuple[str, Target, str]
"""What a row is found by: utterance, target, and fingerprint."""

_KEY_COLUMNS = ("utterance", "target", "against", "fingerprint")

# Those of earlier versions have no id of a run.
_PART = re.compile(rf"part-({RUN_ID}-)?\d+-\d+\.parquet")


class ResultsFolder:
    """A folder of Parquet parts that any number of runs have written, read as a whole.

    A file that cannot be read costs a warning that names it, and no row is there twice, whatever was copied.
    :class:`speechshap.results.writer.ResultsWriter` writes the parts.

    Args:
        folder: Where the parts are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
                    _warn_of(self.folder / entry.name, "no part that speechshap explain has written has such a name")
        return sorted(parts)

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
        import pyarrow.dataset

        names = SCHEMA.names if columns is None else list(columns)
        # Columns that parts of an earlier version lack are read as nulls.
        wanted = pyarrow.dataset.field("settings").is_valid()
        for name, value in (("settings_fingerprint", settings), ("utterance", utterance)):
            if value is not None:
                wanted &= pyarrow.dataset.field(name) == value
        rows: dict[Key, Row] = {}
        for part in self.parts if parts is None else parts:
            for row in _read_part(part, list(dict.fromkeys([*names, *_KEY_COLUMNS])), wanted):
                rows[key_of(row)] = {name: row[name] for name in names}
        return list(rows.values())

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

    def places(self) -> dict[str, list[Path]]:
        """Parts that hold explanations of each utterance."""
        places: dict[str, dict[Path, None]] = {}
        for key, part in self.explained().items():
            places.setdefault(key[0], {})[part] = None
        return {utterance: list(parts) for utterance, parts in places.items()}

    def explained(self, parts: Iterable[Path] | None = None) -> dict[Key, Path]:
        """The part that holds each row, the first one in which it is.

        Args:
            parts: Some of :attr:`parts`; None takes all.
        """
        found: dict[Key, Path] = {}
        for part in self.parts if parts is None else parts:
            for row in self.read(_KEY_COLUMNS, parts=[part]):
                found.setdefault(key_of(row), part)
        return found


def key_of(row: Row) -> Key:
    """What a row with the columns of its utterance, target and fingerprint is found by."""
    return row["utterance"], target_of(row), row["fingerprint"]


def _read_part(part: Path, columns: list[str], wanted: "Expression") -> list[Row]:
    """Rows of a part; none and a warning where it cannot be read."""
    import pyarrow.dataset
    import pyarrow.parquet

    try:
        if "utterance" not in pyarrow.parquet.read_schema(part).names:
            raise pa.ArrowInvalid("it holds no explanations")
        verified = pyarrow.dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        as_parquet = pyarrow.dataset.ParquetFileFormat(default_fragment_scan_options=verified)
        dataset = pyarrow.dataset.dataset(part, schema=SCHEMA, format=as_parquet)
        rows: list[Row] = dataset.to_table(columns, filter=wanted).to_pylist()
        return rows
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a text that is none
        _warn_of(part, " ".join(str(error).split()))
        return []


@cache
def _warn_of(path: Path, reason: str) -> None:
    """Warn of a file once."""
    logger.warning("%s is not read: %s; move it out of the folder, all else is read", path, reason)


def file_name(utterance: str) -> str:
    """Name of an utterance as a file name, different for every utterance.

    What a file name cannot hold is written as ``%`` and its code; a long name is cut and ends in its hash.

    Example:
        >>> file_name("speaker_01/a b.wav")
        'speaker_01%2Fa%20b.wav'
    """
    name = quote(utterance, safe="")
    if len(name) <= 200:
        return name
    return f"{name[:180]}%{hashlib.blake2b(utterance.encode(), digest_size=8).hexdigest()}"


def nothing_to_show(folder: Path) -> str:
    """Message for a folder without rows that can be read."""
    return f"{folder} has no explanations, or those of an earlier version only; speechshap explain writes them"
