"""Whether sound files are as long as they say, where libsndfile does not check it."""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple


class _Layout(NamedTuple):
    """How a family of formats lays out its chunks.

    Attributes:
        start: Bytes before the first chunk.
        header: Name and size of a chunk, for :mod:`struct`.
        data: Beginning of the name of the chunk with the samples.
        counts_header: Whether sizes include the header.
        multiple: Chunks start at multiples of as many bytes.
    """

    start: int
    header: str
    data: bytes
    counts_header: bool = False
    multiple: int = 2


_LAYOUTS = {
    b"RIFF": _Layout(12, "<4sI", b"data"),
    b"RIFX": _Layout(12, ">4sI", b"data"),
    b"RF64": _Layout(12, "<4sI", b"data"),
    b"BW64": _Layout(12, "<4sI", b"data"),
    b"FORM": _Layout(12, ">4sI", b"SSND"),
    b"riff": _Layout(40, "<16sQ", b"data", counts_header=True, multiple=8),
    b"caff": _Layout(8, ">4sQ", b"data", multiple=1),
}
"""By the first four bytes: WAV, its 64-bit forms (EBU Tech 3306), AIFF, Sony Wave64 and CAF."""

_UNKNOWN = 0x7FFFFFFF
"""Programs that write to a pipe do not know the length, and write the largest value."""


def ends_early(path: Path) -> bool:
    """Whether a file has fewer bytes than its header promises, or lacks the last page of an Ogg stream."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if magic == b"OggS":
            return _lacks_last_page(file, size)
        if magic == b".snd":
            offset, length = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
            return length < _UNKNOWN and bool(offset + length > size)
        return magic in _LAYOUTS and _lacks_samples(file, size, _LAYOUTS[magic])


def _lacks_samples(file: BinaryIO, size: int, layout: _Layout) -> bool:
    file.seek(layout.start)
    long_size = None  # of the samples, where 32 bits may not hold it
    while len(header := file.read(struct.calcsize(layout.header))) == struct.calcsize(layout.header):
        name, length = struct.unpack(layout.header, header)
        if layout.counts_header:
            length -= len(header)
        begin = file.tell()
        if name.startswith(layout.data):
            if length == 0xFFFFFFFF and long_size is not None:
                return bool(begin + long_size > size)
            is_known = length < (_UNKNOWN if layout.header.endswith("I") else 1 << 62)
            return is_known and bool(begin + length > size)
        if name == b"ds64":
            long_size = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]
        if length < 0 or begin + length > size:
            return True
        file.seek(begin + length + -length % layout.multiple)
    return False


def _lacks_last_page(file: BinaryIO, size: int) -> bool:
    """Whether the last page of an Ogg file is not whole, or not marked as the last one (RFC 3533, section 6)."""
    file.seek(max(0, size - 2 * 65307))  # a page has 65307 bytes at most
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if not page.startswith(b"OggS") or len(page) < 27 or not page[5] & 4:
        return True
    segments = page[27 : 27 + page[26]]
    return len(segments) < page[26] or len(page) < 27 + len(segments) + sum(segments)
