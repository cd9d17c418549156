"""Files and folders that appear under their name only when they are whole, and locks between processes."""

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

EXPLANATIONS = "explanations"
"""Folder of the explanations within that of a run."""

PARTIAL_SUFFIX = ".partial"

_NO_LOCKS = (errno.ENOLCK, errno.ESTALE, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

_SILENT_SECONDS = 5.0
"""How long to wait for a lock without a word."""


def user_cache(name: str) -> Path:
    """A folder in the user's cache: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``speechshap`` and its name."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path("~/.cache").expanduser()) / "speechshap" / name


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` once the block has ended well.

    A reader sees the former file or the whole new one, never a half, even if the process is killed or the disk is
    full in between. What a killed process leaves behind ends in ``.partial``. Two processes may write the same file at
    once: the later one wins.

    Raises:
        OSError: The file cannot be written; the error names ``path``.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with whole_file(target) as partial:
        ...     _ = partial.write_text("all of it")
        >>> target.read_text()
        'all of it'
    """
    partial = _partial(path)
    try:
        with named_in_errors(path, instead_of=partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` and rename it to ``path`` once the block has ended well, as for a file.

    A folder that is there already is replaced.

    Raises:
        OSError: The folder cannot be written; the error names ``path``, or a file in it.
    """
    partial = _partial(path)
    former = partial.with_name(f"{partial.name}.former{PARTIAL_SUFFIX}")
    try:
        with named_in_errors(path, instead_of=partial):
            partial.mkdir(parents=True)
            yield partial
            # A folder can only take the place of an empty one.
            with suppress(FileNotFoundError):
                path.rename(former)
            partial.rename(path)
    finally:
        for left in (partial, former):
            shutil.rmtree(left, ignore_errors=True)


def remove_partial(folder: Path, *patterns: str) -> None:
    """Remove what killed processes have left of files and folders, which must not be those of a living process.

    Args:
        folder: Where they were written.
        patterns: What their hidden temporary names begin with (``.report.*``), as for ``Path.glob``.
    """
    for pattern in patterns:
        for left in list(folder.glob(f"{pattern}{PARTIAL_SUFFIX}")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


@contextmanager
def named_in_errors(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Name a file or folder in errors of the system that name none, like those of a disk that becomes full.

    Args:
        path: What to name.
        instead_of: Temporary path that nobody knows, in whose place ``path`` is named, too.

    Example:
        >>> with named_in_errors(Path("table.csv")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device: 'table.csv'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        named = str(path)
        if error.filename is not None:
            if instead_of is None or str(instead_of) not in str(error.filename):
                raise
            named = str(error.filename).replace(str(instead_of), named)
        # Some libraries write a longer text, with the temporary path.
        raise OSError(error.errno, os.strerror(error.errno), named) from error


@contextmanager
def locked(
    path: Path, seconds: float, *, or_raise: type[Exception] | None = None, stays: bool = False
) -> Iterator[bool]:
    """Hold a lock, which the system releases however the process ends.

    Args:
        path: File of the lock, which is removed when it is released; a killed process leaves it behind.
        seconds: How long to wait for another process that holds the lock.
        or_raise: What to raise with a message after that time; None goes on without the lock.
        stays: Whether to leave the file. On NFS, who waits for a lock may get that of a removed file, which guards
            nothing; a lock that many wait for, and on which results depend, has to stay.

    Yields:
        Whether the lock is held. It never is on a file system without locks, of which a warning tells once.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / ".table.lock"
        >>> with locked(path, seconds=60) as is_held, locked(path, seconds=0) as is_held_twice:
        ...     is_held, is_held_twice
        (True, False)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A soft lock would outlive a process that is killed.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    is_held = False
    try:
        _acquire(lock, seconds)
        is_held = True
    except Timeout:
        if or_raise is not None:
            raise or_raise(
                f"{path} has been locked for {seconds:.0f} s; end the process that holds it (one that was paused?), "
                "and give the same command again"
            ) from None
    except NotImplementedError:
        _warn_without_locks("not implemented")
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_without_locks(os.strerror(error.errno))
    try:
        yield is_held
    finally:
        # Before the lock is released: who waits for a removed file notices it (except on NFS), and makes a new one.
        if is_held and not stays:
            with suppress(OSError):  # of Windows, which removes no open file
                path.unlink()
        lock.release()


def _acquire(lock: FileLock, seconds: float) -> None:
    try:
        lock.acquire(min(seconds, _SILENT_SECONDS))
    except Timeout:
        if seconds <= _SILENT_SECONDS:
            raise
        logger.warning("waiting for another process, which holds %s", lock.lock_file)
        lock.acquire(seconds - _SILENT_SECONDS)


@cache
def _warn_without_locks(reason: str) -> None:
    logger.warning(
        "the file system has no locks (%s): two runs at once may do the same work, and what a killed run leaves behind "
        "is not removed",
        reason,
    )


def _partial(path: Path) -> Path:
    """A hidden name beside a file or folder that no other process has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
