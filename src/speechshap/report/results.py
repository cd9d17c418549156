"""Explanations as Parquet: one row for each utterance and target, in parts that appear only when whole."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from torch import Tensor

from speechshap.files import PARTIAL_SUFFIX, whole_file

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
        ("hop_seconds", pa.float64()),
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
        ("frequencies_hz", pa.list_(pa.float32())),
        ("time_frequency_hop_seconds", pa.float64()),
        ("time_frequency_attribution", pa.list_(pa.list_(pa.float32()))),
        ("time_frequency_standard_error", pa.list_(pa.list_(pa.float32()))),
        ("fingerprint", pa.string()),
    ]
)
"""``label`` is null where it is unknown; frames are ``hop_seconds`` apart; ``target_output`` is what was explained
(``output`` says of what kind); time-frequency attributions are bands of frames; what was not asked for is null.
``fingerprint`` names all that a row was computed from (sound, weights, precision, references, settings): rows with the
same one hold the same result."""


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

    def write(self, rows: list[dict[str, Any]]) -> Path:
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

    def explained(self) -> set[tuple[str, str, str]]:
        """Utterance, target and fingerprint of every row that some rank has written already."""
        import pyarrow.parquet as pq

        done: set[tuple[str, str, str]] = set()
        for part in sorted(self.folder.glob("part-*.parquet")):
            columns = pq.read_table(part, columns=["utterance", "target", "fingerprint"]).to_pydict()
            done.update(zip(columns["utterance"], columns["target"], columns["fingerprint"], strict=True))
        return done


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
