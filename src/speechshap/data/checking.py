"""Checks on sound files before the first batch, and the list of files that cannot be used."""

import csv
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from speechshap.data.audio import AudioFacts, AudioFileError, inspect_audio
from speechshap.data.utterance import Skipped, Utterance
from speechshap.errors import UserError
from speechshap.files import locked, whole_file

_PATIENCE_SECONDS = 60.0


class FileChecker:
    """Decodes each sound file once and keeps its properties, or the reason why it cannot be used.

    Args:
        quiet: Whether to show no progress bar.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._known: dict[Path, AudioFacts | Skipped] = {}

    def usable(self, utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Skipped]]:
        """Utterances whose file can be used, and the files that cannot, with the reason."""
        self._inspect([utterance.path for utterance in utterances if utterance.path not in self._known])
        usable = [utterance for utterance in utterances if isinstance(self._known[utterance.path], AudioFacts)]
        problems = [problem for u in utterances if isinstance(problem := self._known[u.path], Skipped)]
        return usable, problems

    def facts(self, utterance: Utterance) -> AudioFacts | None:
        """Properties of the file; None if the file was not checked or cannot be used."""
        facts = self._known.get(utterance.path)
        return facts if isinstance(facts, AudioFacts) else None

    def _inspect(self, paths: Sequence[Path]) -> None:
        from tqdm.auto import tqdm

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = tqdm(
                pool.map(_inspect, paths),
                total=len(paths),
                desc="checking files",
                unit="file",
                delay=1,
                disable=self.quiet,
                leave=False,
            )
            self._known.update(zip(paths, found, strict=True))


def _inspect(path: Path) -> AudioFacts | Skipped:
    state = path.stat() if path.is_file() else None
    return _inspect_state(path, state and (state.st_size, state.st_mtime_ns))


@cache  # a cross-validation checks the same files for each fold
def _inspect_state(path: Path, state: tuple[int, int] | None) -> AudioFacts | Skipped:
    """Inspect a file; ``state`` is its size and time, or None where it is none."""
    try:
        return inspect_audio(path)
    except AudioFileError as error:
        return Skipped(error.path, error.reason)


def add_to_list(path: Path, skipped: Iterable[Skipped]) -> None:
    """Add files to a CSV file with the columns ``path,reason``, which may already have others.

    Runs that share the file take turns; the list is written even if another process keeps it locked for a minute.

    Raises:
        UserError: The file is another kind of table.
    """
    with locked(path.with_name(f".{path.name}.lock"), _PATIENCE_SECONDS):
        known = _read_list(path) if path.is_file() else {}
        known.update({str(item.path): item.reason for item in skipped})
        # File names need not be text in Unicode.
        with (
            whole_file(path) as partial,
            partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            csv.writer(file).writerows([["path", "reason"], *known.items()])


def _read_list(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = list(csv.reader(file))
    if rows and (rows[0] != ["path", "reason"] or any(len(row) != 2 for row in rows)):
        raise UserError(f"{path}: not the list of files that were left out (path,reason); move it away")
    return {row[0]: row[1] for row in rows[1:]}
