import subprocess
import sys
from pathlib import Path

import pytest

FREE_AND_LOOK = """
import ctypes, os, sys
from pathlib import Path
from speechshap.cli.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
pages = lambda: int(Path("/proc/self/statm").read_text().split()[1])
before = pages()
piece = library.malloc(ctypes.c_size_t(200_000_000))
ctypes.memset(piece, 1, 200_000_000)
library.free(ctypes.c_void_p(piece))
print((pages() - before) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize(("mode", "is_kept"), [("kept", True), ("plain", False)])
def test_freed_memory_stays_with_the_process(mode: str, is_kept: bool) -> None:
    run = subprocess.run([sys.executable, "-c", FREE_AND_LOOK, mode], check=True, capture_output=True, text=True)
    assert (int(run.stdout) > 150_000_000) is is_kept
