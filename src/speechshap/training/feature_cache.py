"""Features of recordings on disk: what a frozen backbone gives is computed once."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from speechshap.files import remove_partial, user_cache, whole_file
from speechshap.fingerprint import fingerprint
from speechshap.run_lock import RunLock, new_run_id
from speechshap.training.feature_entry import FeatureEntry

_CHECKSUM = "checksum"


def default_folder() -> Path:
    """Folder of all features in the user's cache: ``$XDG_CACHE_HOME`` or ``~/.cache``, and ``speechshap/features``."""
    return user_cache("features")


class FeatureCache:
    """Features of recordings in a folder, a file for each recording; several processes may share it.

    An entry is found by what the recording contains and not by its name, and holds a checksum. It appears under its
    name only when it is whole.

    Args:
        root: Folder of all caches.
        about: What the features are of, in plain types: all that they depend on beside the recording. A cache of
            anything else lies in another folder.

    Attributes:
        folder: Of the entries.

    Example:
        >>> import tempfile, torch
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()), {"model_type": "wavlm"})
        >>> cache.open()
        >>> with cache.writing(rank=0):
        ...     cache.write("5f3a", torch.ones(1, 2, 3))
        >>> cache.read("5f3a").features.shape, cache.intact(["5f3a", "77ab"])
        (torch.Size([1, 2, 3]), {'5f3a': 24})
    """

    def __init__(self, root: Path, about: Mapping[str, Any]) -> None:
        self.root = root
        self.about = dict(about)
        self.folder = root / fingerprint(self.about)

    def open(self) -> None:
        """Make the folder, with a file that says what it is of.

        Raises:
            OSError: It cannot be made.
        """
        told = self.folder / "about.json"
        if not told.is_file():
            with whole_file(told) as partial:
                partial.write_text(f"{json.dumps(self.about, indent=2)}\n", encoding="utf-8")

    @contextmanager
    def writing(self, rank: int) -> Iterator[None]:
        """Write entries within this block; what killed processes left of theirs is removed, if no other writes now.

        Args:
            rank: Of this process in its run.
        """
        lock = RunLock(self.folder, new_run_id(), rank)
        try:
            with lock.register() as others:
                if lock.is_held and not others:
                    remove_partial(self.folder, ".*", "*/.*")
            yield
        finally:
            lock.unregister()

    def path(self, digest: str) -> Path:
        """File of an entry.

        Args:
            digest: Of the recording's samples, in hexadecimal digits.
        """
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def write(self, digest: str, features: Tensor, are_frames: bool = False) -> None:
        """Write an entry.

        Args:
            digest: As for :meth:`path`.
            features: ``(states, frames, size)``.
            are_frames: Whether they are frames, which are stored in half precision, and not statistics.

        Raises:
            OSError: It cannot be written; the error names the file.
        """
        tensors = FeatureEntry.of(features.cpu(), are_frames).tensors
        # Of safetensors' own writing, a full disk would be an error without a number.
        data = safetensors.torch.save(tensors, {_CHECKSUM: fingerprint(digest, tensors)})
        with whole_file(self.path(digest)) as partial:
            partial.write_bytes(data)

    def read(self, digest: str) -> FeatureEntry:
        """An entry, mapped into memory.

        Raises:
            OSError: It is not there.
            SafetensorError: It is no such file, or shorter than it says.
        """
        with safe_open(self.path(digest), "pt") as file:
            return _entry(file)

    def intact(self, digests: Sequence[str], is_quiet: bool = False) -> dict[str, int]:
        """Entries that are there and whose checksum is right, with the size of their numbers in bytes.

        Args:
            digests: Of the recordings.
            is_quiet: Whether to show no progress bar.
        """
        from tqdm.auto import tqdm

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sizes = tqdm(
                pool.map(self._intact_bytes, digests),
                total=len(digests),
                desc="checking features",
                unit="file",
                delay=1,
                leave=False,
                disable=is_quiet,
            )
            return {digest: size for digest, size in zip(digests, sizes, strict=True) if size is not None}

    def _intact_bytes(self, digest: str) -> int | None:
        """Size of an entry's numbers; None where it is missing or damaged."""
        try:
            with safe_open(self.path(digest), "pt") as file:
                metadata, entry = file.metadata() or {}, _entry(file)
        except (OSError, SafetensorError, TypeError):  # the last where its tensors have other names
            return None
        return entry.nbytes if metadata.get(_CHECKSUM) == fingerprint(digest, entry.tensors) else None


def _entry(file: Any) -> FeatureEntry:
    return FeatureEntry.from_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping


def bytes_below(folder: Path) -> int:
    """Size of all files of a folder, 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # of another process
            total += path.stat().st_size if path.is_file() else 0
    return total
