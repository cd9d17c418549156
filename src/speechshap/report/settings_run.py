"""Hyperparameters and projector of TensorBoard: a run of their own for each settings.

TensorBoard accepts one set of hyperparameters for each run, and training has written its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechshap.files import remove_partial, whole_folder
from speechshap.report.events import append_record, new_event_file, record
from speechshap.report.selection import outcome
from speechshap.results.parts import Row


def write_settings_run(
    folder: Path, rows: Sequence[Row], settings: Mapping[str, Any], seconds: float | None, is_alone: bool
) -> None:
    """Write the folder of a run with hyperparameters and points of the projector, in place of a former one.

    Args:
        folder: Appears under its name only when it is whole.
        rows: Rows of the same settings, with the columns :data:`speechshap.report.tensorboard.SUMMARY_COLUMNS`.
        settings: The settings.
        seconds: Mean time of an utterance; None where unknown.
        is_alone: Whether no other process writes such a folder now: unfinished ones are then of dead processes, and
            are removed.

    Raises:
        OSError: The disk is full, say.
    """
    if is_alone:
        remove_partial(folder.parent, ".*")
    with whole_folder(folder) as partial:
        _write_points(partial, rows)
        # Last, as TensorBoard takes a folder with an event file for a run.
        _write_hyperparameters(partial, rows, settings, seconds)


def _write_hyperparameters(
    folder: Path, rows: Sequence[Row], settings: Mapping[str, Any], seconds: float | None
) -> None:
    from torch.utils.tensorboard.summary import hparams, scalar

    metrics = {
        "explain/mean_relative_error": _mean_size(rows, "relative_error"),
        "explain/mean_absolute_completeness_gap": _mean_size(rows, "completeness_gap"),
        "explain/utterances": float(len({row["utterance"] for row in rows})),
    }
    if seconds is not None:
        metrics["explain/mean_seconds"] = seconds
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }
    parts = [*hparams(plain, metrics), *(scalar(name, value) for name, value in metrics.items())]
    append_record(new_event_file(folder), record(value for part in parts for value in part.value))


def _write_points(folder: Path, rows: Sequence[Row]) -> None:
    """Write points of the projector, one for each utterance, coloured there by a column of their metadata."""
    from tensorboard.plugins import projector

    points: dict[str, Row] = {}
    for row in rows:
        if row["embedding"]:
            points.setdefault(row["utterance"], row)  # an utterance's first row explains the predicted class
    if len(points) < 2:
        return
    lines: list[Sequence[str]] = [("label", "prediction", "outcome", "probability", "relative_error", "utterance")]
    for name, row in points.items():
        numbers = (row[column] for column in ("probability", "relative_error"))
        known = ("" if number is None else f"{number:.2f}" for number in numbers)
        lines.append((row["label"] or "unknown", row["prediction"] or "none", outcome(row), *known, name))
    # Tabs and line ends separate the cells of the file.
    cells = [[" ".join(cell.split()) for cell in line] for line in lines]
    (folder / "metadata.tsv").write_text("".join("\t".join(line) + "\n" for line in cells), encoding="utf-8")
    vectors = np.array([row["embedding"] for row in points.values()], dtype=np.float32)
    np.savetxt(folder / "tensors.tsv", vectors, fmt="%.9g", delimiter="\t")
    files = {"tensor_path": "tensors.tsv", "metadata_path": "metadata.tsv"}
    embedding = projector.EmbeddingInfo(tensor_name="explain", **files)
    projector.visualize_embeddings(str(folder), projector.ProjectorConfig(embeddings=[embedding]))


def _mean_size(rows: Sequence[Row], column: str) -> float:
    """Mean absolute value of a column where it is known and finite."""
    values = np.abs(np.array([row[column] for row in rows], dtype=float))  # null becomes NaN
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
