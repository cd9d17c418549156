"""Which processes are writing into a folder: each holds a lock for as long as it lives."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from speechshap.errors import UserError

RUN_ID = r"\d{8}T\d{12}-[0-9a-f]{8}"
"""Pattern of :func:`new_run_id`."""

_MARK = re.compile(rf"\.run-(?P<run>{RUN_ID})-\d+\.lock")

PATIENCE_SECONDS = 300.0
"""How long to wait for another process that writes into the folder."""


def new_run_id() -> str:
    """An id that no other run has; ids sort by the time they were made.

    Example:
        >>> re.fullmatch(RUN_ID, new_run_id()) is not None
        True
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


class Presence:
    """Marks this process as one that writes into a folder, from :meth:`arrive` to :meth:`leave`.

    The mark is the lock of a file of its own, which the system lets go of however the process ends; so it is known of
    every other mark whether its process is alive. Marks of the dead are removed.

    Args:
        folder: Made if it is not there.
        run: Id of the run, common to its ranks.
        rank: Rank of this process in the run.
    """

    def __init__(self, folder: Path, run: str, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.run = run
        self._turn = FileLock(folder / ".write.lock", timeout=PATIENCE_SECONDS, thread_local=False)
        self._path = folder / f".run-{run}-{rank}.lock"
        self._mark = FileLock(self._path, timeout=PATIENCE_SECONDS, thread_local=False)

    @contextmanager
    def arrive(self) -> Iterator[list[str]]:
        """Make the mark, and have the folder to oneself; yields the runs of all other processes that are alive."""
        # Nobody looks at a mark, or removes it, while it is made.
        with self.turn():
            self._mark.acquire()
            yield self._others()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the folder to oneself, as short as possible.

        Raises:
            UserError: Another process has it for long.
        """
        try:
            self._turn.acquire()
        except Timeout:
            raise UserError(
                f"{self._turn.lock_file} has been locked for {PATIENCE_SECONDS:.0f} s; end the process that holds it "
                "(one that was paused?), and give the same command again"
            ) from None
        try:
            yield
        finally:
            self._turn.release()

    def leave(self) -> None:
        """Take the mark away; a second time does nothing."""
        if not self._mark.is_locked:
            return
        try:
            with self.turn():
                self._mark.release()  # first, since Windows removes no open file
                self._path.unlink(missing_ok=True)
        finally:
            self._mark.release()

    def _others(self) -> list[str]:
        """Runs of the other processes that are alive."""
        alive = []
        for path in self.folder.glob(".run-*.lock"):
            name = _MARK.fullmatch(path.name)
            if name is None or path == self._path:
                continue
            mark = FileLock(path, timeout=0)
            try:
                mark.acquire()
            except Timeout:
                alive.append(name["run"])
            else:
                mark.release()
                path.unlink(missing_ok=True)
        return alive
