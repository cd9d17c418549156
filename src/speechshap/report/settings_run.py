"""What TensorBoard shows of all explanations with the same settings: a run of its own, ``explanations/settings/<…>``.

It is replaced as a whole when there are more explanations, so that nothing of it is shown twice. Runs of several
settings are shown in colours of their own, and compared in a table of the run above them. Not among HPARAMS: of these,
TensorBoard has one table for all runs, with the columns of the first one, and there trainings are compared.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from speechshap.files import EXPLANATIONS, remove_partial, whole_folder
from speechshap.fingerprint import fingerprint
from speechshap.markdown import plain, table
from speechshap.report.events import append_record, new_event_file, record
from speechshap.report.selection import outcome
from speechshap.report.settings_summary import SettingsSummary
from speechshap.report.wording import differing, in_words
from speechshap.results.parts import Row

_RECORD = "summary.json"
_COMPARED = ".compared"
_NUMBERS = {
    "mean_relative_error": ".3f",
    "mean_absolute_completeness_gap": ".3f",
    "mean_seconds": ".2f",
    "num_utterances": ",.0f",
}
"""Of a record, with their formats in the table."""

_RUNS_BESIDE = 4
"""Runs that a table compares side by side."""


def settings_folder(run: Path) -> Path:
    """Folder of the runs of all settings."""
    return run / EXPLANATIONS / "settings"


def is_written(folder: Path, found: SettingsSummary) -> bool:
    """Whether a folder shows these explanations."""
    try:
        recorded: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return recorded["explanations"] == f"{found.digest:x}"


def write_settings_run(
    folder: Path, found: SettingsSummary, settings: Mapping[str, Any], seconds: float | None, step: int, is_alone: bool
) -> None:
    """Write the folder of a run, in place of a former one.

    Args:
        folder: Appears under its name only when it is whole.
        found: What is shown.
        settings: The settings.
        seconds: Mean time of an utterance; None where unknown.
        step: Training step of the explained model.
        is_alone: Whether no other process writes such a folder now: unfinished ones are then of dead processes, and
            are removed.

    Raises:
        OSError: The disk is full, say.
    """
    if is_alone:
        remove_partial(folder.parent, ".*")
    with whole_folder(folder) as partial:
        _write_points(partial, found.points)
        recorded = {
            "explanations": f"{found.digest:x}",
            "settings": dict(settings),
            "numbers": found.numbers(seconds),
        }
        (partial / _RECORD).write_text(json.dumps(recorded, indent=1), encoding="utf-8")
        # Last, as TensorBoard takes a folder with an event file for a run.
        _write_events(partial, found, settings, step)


def _write_events(folder: Path, found: SettingsSummary, settings: Mapping[str, Any], step: int) -> None:
    from torch.utils.tensorboard.summary import text

    parts = [
        text("explain/settings", settings_table(settings)),
        text("explain/utterances", found.table.markdown()),
        *found.summaries(),
    ]
    append_record(new_event_file(folder), record((value for part in parts for value in part.value), step))


def settings_table(settings: Mapping[str, Any]) -> str:
    """Settings as a table in Markdown."""
    return table(["setting", "value"], [[plain(name), _cell(value)] for name, value in settings.items()])


def compare_settings(run: Path, step: int) -> None:
    """Write the table of all settings of a run, and of the methods that it has folders of, in place of a former one.

    Args:
        run: The run's folder.
        step: Training step of the explained model.

    Raises:
        OSError: The disk is full, say.
    """
    from torch.utils.tensorboard.summary import text

    finished = f"[!.]*/{_RECORD}"
    folder = settings_folder(run)
    paths = [*folder.glob(finished), *run.glob(f"[!.]*/{EXPLANATIONS}/settings/{finished}")]
    records = {}
    for path in sorted(paths):
        with suppress(ValueError):  # a damaged one is left out
            records[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
    if not records:
        return
    compared = comparison_table(records)
    suffix = f".{fingerprint(compared, step)}{_COMPARED}"
    former = list(folder.glob(f"*{_COMPARED}"))
    if any(path.name.endswith(suffix) for path in former):
        return
    append_record(new_event_file(folder, suffix), record(text("explain/settings compared", compared).value, step))
    for path in former:
        path.unlink(missing_ok=True)


def comparison_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Settings that differ side by side, a column for each run, those with the smallest error first.

    Args:
        records: Of each, its ``settings`` and its ``numbers``, by the name of its run.

    Returns:
        Tables in Markdown, of a few runs each: in one of many columns, TensorBoard breaks lines within words.

    Example:
        >>> print(comparison_table({
        ...     "a1": {"settings": {"method": "lime", "seed": 0}, "numbers": {"num_utterances": 3.0}},
        ...     "b2": {"settings": {"method": "lime", "seed": 1}, "numbers": {"mean_relative_error": 0.12345}}}))
        | run                            | b2    | a1  |
        | ------------------------------ | ----- | --- |
        | seed                           | 1     | 0   |
        | mean relative error            | 0.123 |     |
        | mean absolute completeness gap |       |     |
        | mean seconds                   |       |     |
        | utterances                     |       | 3   |
    """
    of_all = [each["settings"] for each in records.values()]
    names = list(dict.fromkeys(name for own in of_all for name in differing(own, of_all))) or ["method"]
    best_first = sorted(records.items(), key=lambda item: item[1]["numbers"].get("mean_relative_error", np.inf))
    return "\n\n".join(
        _runs_table(dict(best_first[first : first + _RUNS_BESIDE]), names)
        for first in range(0, len(best_first), _RUNS_BESIDE)
    )


def _runs_table(records: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """Runs side by side, with these settings as far as they have them, and their numbers."""
    settings = [[own["settings"].get(name, "") for own in records.values()] for name in names]
    numbers = [
        [f"{own['numbers'][name]:{form}}" if name in own["numbers"] else "" for own in records.values()]
        for name, form in _NUMBERS.items()
    ]
    return table(
        ["run", *records],
        [
            *([plain(name), *map(_cell, own)] for name, own in zip(names, settings, strict=True)),
            *([name.replace("num_", "").replace("_", " "), *own] for name, own in zip(_NUMBERS, numbers, strict=True)),
        ],
    )


def _cell(value: Any) -> str:
    return plain(in_words(value))


def _write_points(folder: Path, points: Sequence[Row]) -> None:
    """Write points of the projector, one for each utterance, coloured there by a column of their metadata."""
    from tensorboard.plugins import projector

    if len(points) < 2:
        return
    lines: list[Sequence[str]] = [("label", "prediction", "outcome", "probability", "relative_error", "utterance")]
    for row in points:
        numbers = (row[column] for column in ("probability", "relative_error"))
        known = ("" if number is None else f"{number:.2f}" for number in numbers)
        lines.append((row["label"] or "unknown", row["prediction"] or "none", outcome(row), *known, row["utterance"]))
    # Tabs and line ends separate the cells of the file.
    cells = [[" ".join(cell.split()) for cell in line] for line in lines]
    (folder / "metadata.tsv").write_text("".join("\t".join(line) + "\n" for line in cells), encoding="utf-8")
    vectors = np.array([row["embedding"] for row in points], dtype=np.float32)
    np.savetxt(folder / "tensors.tsv", vectors, fmt="%.9g", delimiter="\t")
    files = {"tensor_path": "tensors.tsv", "metadata_path": "metadata.tsv"}
    embedding = projector.EmbeddingInfo(tensor_name="explain", **files)
    projector.visualize_embeddings(str(folder), projector.ProjectorConfig(embeddings=[embedding]))
