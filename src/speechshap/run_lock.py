"""Which processes are writing into a folder: each holds a lock for as long as it lives."""

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from speechshap.errors import UserError
from speechshap.files import locked

RUN_ID = r"\d{8}T\d{12}-[0-9a-f]{8}"
"""Pattern of :func:`new_run_id`."""

_LOCK_NAME = re.compile(rf"\.run-(?P<run>{RUN_ID})-\d+(-(?P<group>\w+))?\.lock")

PATIENCE_SECONDS = 300.0
"""How long to wait for another process that writes into the folder."""


def new_run_id() -> str:
    """An id that no other run has; ids sort by the time they were made.

    Example:
        >>> re.fullmatch(RUN_ID, new_run_id()) is not None
        True
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


class Other(NamedTuple):
    """Another process that is alive.

    Attributes:
        run: Id of its run.
        group: Of runs that never write the same; None for a run by itself.
    """

    run: str
    group: str | None


class RunLock:
    """Tells others that this process writes into a folder, from :meth:`register` to :meth:`unregister`.

    Each process locks a file of its own, and the system releases the lock however the process ends; so it is known of
    every file whether its process is alive. Files of the dead are removed. A file system without locks tells nothing:
    there, no other process seems to be alive.

    Args:
        folder: Made if it is not there.
        run: Id of the run, common to its ranks.
        rank: Rank of this process in the run.
        group: Of runs that never write the same, in letters and digits; None for a run by itself.

    Attributes:
        is_held: Whether others can tell that this process is alive: not before it is registered, and not on a file
            system without locks.
    """

    def __init__(self, folder: Path, run: str, rank: int, group: str | None = None) -> None:
        self.folder = folder
        self.run = run
        self.group = group
        self.is_held = False
        self._path = folder / f".run-{run}-{rank}{'' if group is None else f'-{group}'}.lock"
        self._shared_path = folder / ".write.lock"
        self._registered = ExitStack()

    @contextmanager
    def register(self) -> Iterator[list[Other]]:
        """Lock the file, and have the folder to oneself; yields all other processes that are alive."""
        # Nobody looks at a file, or removes it, while it is made.
        with self.exclusive():
            self.is_held = self._registered.enter_context(locked(self._path, PATIENCE_SECONDS, or_raise=UserError))
            yield self.others() if self.is_held else []

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have the folder to oneself, as short as possible.

        Raises:
            UserError: Another process has it for long.
        """
        with locked(self._shared_path, PATIENCE_SECONDS, or_raise=UserError, stays=True):
            yield

    def unregister(self) -> None:
        """Release the lock; a second time does nothing."""
        self.is_held = False
        self._registered.close()

    def is_rival(self, other: Other) -> bool:
        """Whether another process may write what this one writes: it is of another run, and not of the same group."""
        return other.run != self.run and (self.group is None or other.group != self.group)

    def comings_and_goings(self) -> int:
        """A number that changes when a process comes or goes; 0 where there has been none."""
        return self.folder.stat().st_mtime_ns if self.folder.is_dir() else 0

    def others(self) -> list[Other]:
        """The other processes that are alive; to be asked while one has the folder to oneself."""
        alive = []
        for path in self.folder.glob(".run-*.lock"):
            name = _LOCK_NAME.fullmatch(path.name)
            if name is None or path == self._path:
                continue
            with locked(path, 0) as is_dead:  # which removes it
                if not is_dead:
                    alive.append(Other(name["run"], name["group"]))
        return alive
