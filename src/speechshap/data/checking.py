"""Which sound files can be used, found out before the first batch, and the list of those that cannot."""

import csv
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechshap.data.audio import AudioFacts, AudioFileError, inspect_audio
from speechshap.data.utterance import Skipped
from speechshap.files import whole_file


def inspect_files(paths: Sequence[Path], show_progress: bool = True) -> dict[Path, AudioFacts | Skipped]:
    """Decode files once; what is known of each, or why it cannot be used.

    Args:
        paths: The files.
        show_progress: Whether to show a bar, after a second.
    """
    from tqdm.auto import tqdm

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(
            pool.map(_inspect, paths),
            total=len(paths),
            desc="checking files",
            unit="file",
            delay=1,
            disable=not show_progress,
            leave=False,
        )
        return dict(zip(paths, found, strict=True))


def _inspect(path: Path) -> AudioFacts | Skipped:
    try:
        return inspect_audio(path)
    except AudioFileError as error:
        return Skipped(error.path, error.reason)


def add_to_list(path: Path, skipped: Iterable[Skipped]) -> None:
    """Add files and reasons to a CSV file ``path,reason``, which may have others already."""
    known: dict[str, str] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            known = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    known.update({str(item.path): item.reason for item in skipped})
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "reason"], *known.items()])
