"""Files that appear under their name only when they are whole."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_SUFFIX = ".partial"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Disk full, quota used up, file larger than the system or a limit allows."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` once the block has ended well.

    A reader sees the former file or the whole new one, never a half, even if the process is killed or the disk is
    full in between. What a killed process leaves behind ends in ``.partial``. Two processes may write the same file at
    once: the later one wins.

    Raises:
        OSError: There is no room for the file; the error names ``path``, which writers of bytes do not.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with whole_file(target) as partial:
        ...     _ = partial.write_text("all of it")
        >>> target.read_text()
        'all of it'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
