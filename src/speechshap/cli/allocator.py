"""How the process keeps memory that it has freed."""

import ctypes
import sys

# Numbers of the parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Keep up to 1 GB of freed memory for what is allocated next, where the C library is glibc.

    A gradient allocates and frees some hundred megabytes. glibc hands large pieces back to the system at once, which
    then clears every page anew: 3 to 15 % of the time of an explanation on a CPU. For programs, not for libraries: it
    holds for the whole process.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**30)
