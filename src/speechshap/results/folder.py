"""The folder of a run's explanations: Parquet in parts that appear only when whole, and neurons beside them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from torch import Tensor

from speechshap.attribution.targets import Target
from speechshap.files import PARTIAL_SUFFIX, whole_file
from speechshap.results.explanation import Explanation
from speechshap.results.rows import SCHEMA, SHOWN, Row, by_utterance, from_rows, target_of, to_rows


class ResultsFolder:
    """A folder of Parquet parts, written by one rank and read as a whole.

    Args:
        folder: Where the parts are; made when the first one is written.
        rank: Rank of this process; each numbers its own parts.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.rank = rank
        for left_behind in folder.glob(f".part-{rank}-*{PARTIAL_SUFFIX}"):
            left_behind.unlink()
        numbers = [int(part.stem.split("-")[2]) for part in folder.glob(f"part-{rank}-*.parquet")]
        self.next_number = max(numbers, default=-1) + 1

    def write(self, explanations: Sequence[Explanation]) -> Path:
        """Write explanations as the next part, a row for each target, and return its path."""
        import pyarrow.parquet as pq

        rows = [row for explanation in explanations for row in to_rows(explanation)]
        path = self.folder / f"part-{self.rank}-{self.next_number:05d}.parquet"
        with whole_file(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
        self.next_number += 1
        return path

    def write_layers(self, utterance: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
        """Write an utterance's neuron attributions to ``layers/<utterance>.safetensors`` and return the path."""
        from safetensors.torch import save

        path = self.folder / "layers" / f"{file_name(utterance)}.safetensors"
        with whole_file(path) as partial:
            # Not save_file, whose files only their owner can read.
            partial.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))
        return path

    @property
    def parts(self) -> list[Path]:
        """Parts of all ranks."""
        return sorted(self.folder.glob("part-*.parquet"))

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
            columns: Some of :data:`~speechshap.results.rows.SCHEMA`; None takes all.
            settings: Only rows with this settings fingerprint.
            utterance: Only rows of this utterance.
            parts: Some of :attr:`parts`; None takes all.
        """
        import pyarrow.dataset

        parts = self.parts if parts is None else parts
        if not parts:
            return []
        # Columns that parts of an earlier version lack are read as nulls.
        wanted = pyarrow.dataset.field("settings").is_valid()
        for name, value in (("settings_fingerprint", settings), ("utterance", utterance)):
            if value is not None:
                wanted &= pyarrow.dataset.field(name) == value
        dataset = pyarrow.dataset.dataset([str(part) for part in parts], schema=SCHEMA)
        return dataset.to_table(columns=None if columns is None else list(columns), filter=wanted).to_pylist()

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
        for part in self.parts:
            for row in self.read(("utterance",), parts=[part]):
                places.setdefault(row["utterance"], {})[part] = None
        return {utterance: list(parts) for utterance, parts in places.items()}

    def explained(self) -> set[tuple[str, Target, str]]:
        """Utterance, target and fingerprint of every row that any rank has written."""
        rows = self.read(("utterance", "target", "against", "fingerprint"))
        return {(row["utterance"], target_of(row), row["fingerprint"]) for row in rows}


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
    return f"{folder} has no explanations, or those of an earlier version only; explain.py writes them"
