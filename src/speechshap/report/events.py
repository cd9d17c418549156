"""TensorBoard event files whose records say what they show, so that nothing is missed or written twice.

A record carries a *mark*: a value of a plugin that TensorBoard does not know, and therefore does not show. After a
process was killed, the marks of the records that are whole tell what its files show.
"""

import io
import logging
import os
import socket
import struct
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from speechshap.files import locked, named_in_errors

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

logger = logging.getLogger(__name__)

PLUGIN = "speechshap"
"""Plugin that the values with marks are of."""

_HEADER = struct.Struct("<QI")  # length of a record, and the checksum of these eight bytes
_CHECKSUM_BYTES = 4  # behind the record

_EVENTS = "events.out.tfevents."
_PATIENCE_SECONDS = 60.0


def new_event_file(folder: Path, suffix: str = "") -> Path:
    """Where to :func:`append_record` what TensorBoard is to read last of a folder."""
    # TensorBoard reads the files of a folder in the order of their names.
    stamp = f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    return folder / f"{_EVENTS}{stamp}{suffix}"


def append_record(path: Path, record: bytes) -> int:
    """Append a :func:`record` to an event file, which is made with its first one; returns the new size of the file.

    Unlike those of ``SummaryWriter``, records are written in the calling thread: an error is raised where it is met,
    and leaves the file with whole records only.

    Raises:
        OSError: The file cannot be written; its name is in the message.
    """
    with named_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                from tensorboard.compat.proto.event_pb2 import Event

                record = _framed(Event(file_version="brain.Event:2")) + record
            try:
                rest = memoryview(record)
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[file.write(rest) :]
            except BaseException:
                # Whatever follows a broken record is not read.
                file.truncate(size)
                raise
    return size + len(record)


class MarkedEvents:
    """The event files of a folder: writes to the last one, and knows the marks of all.

    Several threads and processes may write to a folder at the same time; what one of them shows, the others do not.
    They write to the same file, since TensorBoard drops what it has read of a curve when a smaller step follows, be it
    in another file. Where another process keeps the folder locked, or the file system has no locks, records are written
    without one, and to a file of this process: at worst, something is shown twice, or points of a curve are not.

    Args:
        folder: Folder of the event files.
        rank: Rank of this process, for the name of its own file.

    Attributes:
        steps: Step of every mark.

    Example:
        >>> import tempfile
        >>> from torch.utils.tensorboard.summary import scalar
        >>> folder = Path(tempfile.mkdtemp())
        >>> MarkedEvents(folder).write("error of a.wav", scalar("error", 0.5).value, step=1)
        >>> "error of a.wav" in MarkedEvents(folder)
        True
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.steps: dict[str, int] = {}
        self._last_point = -1  # step of the last point of a curve
        self._own = new_event_file(folder, f".explain.{rank}")
        self._made: list[Path] = []
        self._positions: dict[Path, int] = {}
        self._unreadable: set[Path] = set()
        self._lock = Lock()
        self._patience_seconds = _PATIENCE_SECONDS
        self._read()

    def __contains__(self, mark: str) -> bool:
        return mark in self.steps

    def write(self, mark: str, values: Iterable["Summary.Value"], step: int) -> None:
        """Write values, whose tags TensorBoard shows, and their mark; nothing if the mark is in the folder already.

        Points of a curve whose step is not behind those of all others get the next step.

        Raises:
            OSError: The file cannot be written; its name is in the message.
        """
        if mark in self:
            return
        values = [*values, _marked(mark)]
        made = record(values, step)  # takes a while for a picture, for which nobody has to wait
        with self._lock, self.only_writer() as is_alone:
            self._read()
            if mark in self:
                return
            if _has_points(values) and step <= self._last_point:
                step = self._last_point + 1
                made = record(values, step)
            path = self._shared() if is_alone else self._own
            self._positions[path] = append_record(path, made)
            self._note([mark], values, step)

    @contextmanager
    def only_writer(self) -> Iterator[bool]:
        """Keep other processes from writing to the folder, which is made if it is not there.

        Yields:
            Whether they are kept from it. One that holds the lock for a minute, being paused, is waited for only once.
        """
        with ExitStack() as stack:
            is_alone = False
            with suppress(OSError):  # a disk that is full has no room for the lock
                lock = locked(self.folder / ".explain.lock", self._patience_seconds, stays=True)
                is_alone = stack.enter_context(lock)
            self._patience_seconds = _PATIENCE_SECONDS if is_alone else 0.0
            yield is_alone

    def _read(self) -> None:
        """Read the marks that other processes have written since the last time."""
        for path in sorted(self.folder.glob(f"{_EVENTS}*.explain*")):
            if path in self._unreadable:
                continue
            try:
                for event, position in events(path, self._positions.get(path, 0)):
                    self._note(_marks(event), event.summary.value, event.step)
                    self._positions[path] = position
            except FileNotFoundError:
                pass  # removed meanwhile
            except OSError as error:
                self._unreadable.add(path)
                logger.warning("%s; what it shows may be written a second time", error)

    def _note(self, marks: Iterable[str], values: Iterable["Summary.Value"], step: int) -> None:
        self.steps.update(dict.fromkeys(marks, step))
        if _has_points(values):
            self._last_point = max(self._last_point, step)

    def _shared(self) -> Path:
        """The last file that is written to with the lock.

        A new one if a killed process left half a record there, or if a training has begun a later file since:
        TensorBoard reads them by their names, and looks at none again when it has come to the next one.
        """
        others = max((path.name for path in self.folder.glob(f"{_EVENTS}*") if ".explain" not in path.name), default="")
        last = [path for path in sorted(self.folder.glob(f"{_EVENTS}*.explain"))[-1:] if path.name > others]
        for path in (*last, *self._made):  # what was made here may be older where clocks differ
            if path.exists() and self._positions.get(path, 0) == path.stat().st_size and os.access(path, os.W_OK):
                return path
        self._made = [new_event_file(self.folder, ".explain")]
        return self._made[0]


def events(path: Path, position: int = 0) -> Iterator[tuple["Event", int]]:
    """Events of the whole records of an event file, each with the position behind it.

    TensorBoard's own reader computes the checksums of the records in Python, which takes seconds for some pictures.
    Here it is only that of the record's length, which tells where the next one is.

    Args:
        path: The file, which may be growing.
        position: Where to start; 0, or what an earlier call has yielded.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    if path.stat().st_size <= position:
        return
    with path.open("rb") as file:
        file.seek(position)
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                return
            content = file.read(length)
            if len(file.read(_CHECKSUM_BYTES)) < _CHECKSUM_BYTES:
                return
            try:
                yield Event.FromString(content), file.tell()
            except DecodeError:
                return


def record(values: Iterable["Summary.Value"], step: int = 0) -> bytes:
    """The values of a summary as a record of an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return _framed(Event(step=step, summary=Summary(value=values)))


def _framed(event: "Event") -> bytes:
    """An event of now with its length and checksums."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    event.wall_time = time.time()
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _has_points(values: Iterable["Summary.Value"]) -> bool:
    return any(value.HasField("simple_value") for value in values)


def _marked(mark: str) -> "Summary.Value":
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN, content=mark.encode())
    return Summary.Value(tag=PLUGIN, metadata=SummaryMetadata(plugin_data=plugin))


def _marks(event: "Event") -> Iterator[str]:
    for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == PLUGIN:
            yield value.metadata.plugin_data.content.decode(errors="replace")  # a disk may have changed it
