"""Explanations as Parquet: one row for each utterance and target, in parts that appear only when whole."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from torch import Tensor

from speechshap.files import PARTIAL_SUFFIX, whole_file

Row = dict[str, Any]

GROUPED_BY = ("utterance", "settings_fingerprint", "fingerprint", "explained_at")
"""Columns that :func:`by_utterance` looks at."""

SCHEMA = pa.schema(
    [
        ("utterance", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float32()),
        ("target", pa.string()),
        ("target_logit", pa.float32()),
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("n_samples", pa.int64()),
        ("duration_seconds", pa.float64()),
        ("hop_seconds", pa.float64()),
        ("first_frame_seconds", pa.float64()),
        ("frame_attribution", pa.list_(pa.float32())),
        ("frame_standard_error", pa.list_(pa.float32())),
        ("completeness_gap", pa.float32()),
        ("completeness_gap_standard_error", pa.float32()),
        ("relative_error", pa.float32()),
        ("baselines", pa.string()),
        ("scheme", pa.string()),
        ("output", pa.string()),
        ("target_output", pa.float32()),
        ("n_replicates", pa.int64()),
        ("layer_names", pa.list_(pa.string())),
        ("layer_mass", pa.list_(pa.float32())),
        ("layer_frame_attribution", pa.list_(pa.list_(pa.float32()))),
        ("frequencies_hz", pa.list_(pa.float32())),
        ("time_frequency_hop_seconds", pa.float64()),
        ("time_frequency_attribution", pa.list_(pa.list_(pa.float32()))),
        ("time_frequency_standard_error", pa.list_(pa.list_(pa.float32()))),
        ("embedding", pa.list_(pa.float32())),
        ("explained_at", pa.timestamp("us", "UTC")),
        ("settings_fingerprint", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
"""``label`` is null where it is unknown; frames are centred ``hop_seconds`` apart from ``first_frame_seconds`` on;
``target_output`` is what was explained (``output`` says of what kind); ``layer_frame_attribution`` has the sum over the
neurons for each layer and frame, ``layer_mass`` the sum of their absolute values for each layer; time-frequency
attributions are bands of frames; ``embedding`` is what the classifier's head hears; what was not asked for is null.
``explained_at`` is when a row was computed.
``settings_fingerprint`` names all that is common to the rows of a run (weights, precision, references, settings),
``fingerprint`` all that a row was computed from (its sound, too): rows with the same one hold the same result."""


SHOWN = tuple(name for name in SCHEMA.names if name not in ("time_frequency_standard_error", "embedding"))
"""Columns that pictures are made from."""


class ResultsFolder:
    """A folder of Parquet parts, written by one rank.

    Args:
        folder: Where the parts are; made when the first one is written.
        rank: Of this process; each rank numbers its own parts.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.rank = rank
        for left_behind in folder.glob(f".part-{rank}-*{PARTIAL_SUFFIX}"):
            left_behind.unlink()
        numbers = [int(part.stem.split("-")[2]) for part in folder.glob(f"part-{rank}-*.parquet")]
        self.next_number = max(numbers, default=-1) + 1

    def write(self, rows: list[Row]) -> Path:
        """Write rows (a value for each column of :data:`SCHEMA`) as the next part and return its path."""
        import pyarrow.parquet as pq

        path = self.folder / f"part-{self.rank}-{self.next_number:05d}.parquet"
        with whole_file(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
        self.next_number += 1
        return path

    def write_layers(self, utterance: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
        """Write an utterance's neuron attributions to ``layers/<utterance>.safetensors`` and return the path.

        What a file name cannot hold is written as ``%`` and its code; a name too long is cut, with its hash behind.
        """
        from safetensors.torch import save_file

        path = self.folder / "layers" / f"{file_name(utterance)}.safetensors"
        with whole_file(path) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        return path

    @property
    def parts(self) -> list[Path]:
        """Of all ranks."""
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
            columns: Some of :data:`SCHEMA`; None takes all.
            settings: Rows with this settings fingerprint only.
            utterance: Rows of this utterance only.
            parts: Some of :attr:`parts`; None takes all.
        """
        import pyarrow.dataset

        parts = self.parts if parts is None else parts
        if not parts:
            return []
        # The schema fills in, with nulls, columns that parts of an earlier version lack.
        wanted = pyarrow.dataset.field("explained_at").is_valid()
        for name, value in (("settings_fingerprint", settings), ("utterance", utterance)):
            if value is not None:
                wanted &= pyarrow.dataset.field(name) == value
        dataset = pyarrow.dataset.dataset([str(part) for part in parts], schema=SCHEMA)
        return dataset.to_table(columns=None if columns is None else list(columns), filter=wanted).to_pylist()

    def places(self) -> dict[str, list[Path]]:
        """Parts that hold something of each utterance."""
        places: dict[str, dict[Path, None]] = {}
        for part in self.parts:
            for row in self.read(("utterance",), parts=[part]):
                places.setdefault(row["utterance"], {})[part] = None
        return {utterance: list(parts) for utterance, parts in places.items()}

    def explained(self) -> set[tuple[str, str, str]]:
        """Utterance, target and fingerprint of every row that some rank has written already."""
        return {tuple(row.values()) for row in self.read(("utterance", "target", "fingerprint"))}


def file_name(utterance: str) -> str:
    """Name of an utterance as that of a file, another for every utterance.

    Example:
        >>> file_name("speaker_01/a b.wav")
        'speaker_01%2Fa%20b.wav'
    """
    name = quote(utterance, safe="")
    if len(name) <= 200:
        return name
    return f"{name[:180]}%{hashlib.blake2b(utterance.encode(), digest_size=8).hexdigest()}"


def by_utterance(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one utterance and the same settings together, groups in the order of their first row.

    Where a sound file was changed between two runs, the rows of the later one stand.

    Args:
        rows: With the columns :data:`GROUPED_BY`.
    """
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        group = groups.setdefault((row["utterance"], row["settings_fingerprint"]), {})
        group.setdefault(row["fingerprint"], []).append(row)
    return [max(versions.values(), key=explained_at) for versions in groups.values()]


def nothing_to_show(folder: Path) -> str:
    """What to say of a folder without rows that can be read."""
    return f"{folder} has no explanations, or those of an earlier version only; explain.py writes them"


def explained_at(rows: Sequence[Row]) -> datetime:
    """When the latest of some rows was computed."""
    return max(row["explained_at"] for row in rows)
