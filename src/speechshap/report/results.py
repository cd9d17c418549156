"""Explanations as Parquet: one row for each utterance and target, in parts that appear only when whole."""

from pathlib import Path
from typing import Any

import pyarrow as pa

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
        ("fingerprint", pa.string()),
    ]
)
"""``label`` is null where it is unknown; frames are ``hop_seconds`` apart; ``fingerprint`` names all that a row was
computed from (sound, weights, precision, references, settings): rows with the same one hold the same result."""


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

    def explained(self) -> set[tuple[str, str, str]]:
        """Utterance, target and fingerprint of every row that some rank has written already."""
        import pyarrow.parquet as pq

        done: set[tuple[str, str, str]] = set()
        for part in sorted(self.folder.glob("part-*.parquet")):
            columns = pq.read_table(part, columns=["utterance", "target", "fingerprint"]).to_pydict()
            done.update(zip(columns["utterance"], columns["target"], columns["fingerprint"], strict=True))
        return done
