"""Features of recordings on disk: what a frozen backbone gives is computed once."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from speechshap.files import remove_partial, user_cache, whole_file
from speechshap.fingerprint import fingerprint
from speechshap.run_lock import RunLock, new_run_id

_EXACT, _MEAN, _DEVIATION = "features", "mean", "deviation"
"""Tensors of an entry's file: features, or the mean of frames over time and what each frame differs from it."""

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
        >>> import tempfile
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()), {"model_type": "wavlm"})
        >>> cache.open()
        >>> with cache.writing(rank=0):
        ...     cache.write("5f3a", torch.ones(1, 2, 3))
        >>> cache.read("5f3a").shape, cache.intact(["5f3a", "77ab"])
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
        tensors = to_store(features.cpu(), are_frames)
        # Of safetensors' own writing, a full disk would be an error without a number.
        data = safetensors.torch.save(tensors, {_CHECKSUM: fingerprint(digest, tensors)})
        with whole_file(self.path(digest)) as partial:
            partial.write_bytes(data)

    def read(self, digest: str) -> Tensor:
        """Features ``(states, frames, size)`` of an intact entry, in single precision or in double.

        The file is mapped into memory.

        Raises:
            OSError: It is not there.
            SafetensorError: It is no such file, or shorter than it says.
        """
        with safe_open(self.path(digest), "pt") as entry:
            tensors = _tensors(entry)
        return tensors[_EXACT] if _EXACT in tensors else tensors[_MEAN] + tensors[_DEVIATION]

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
            with safe_open(self.path(digest), "pt") as entry:
                metadata, tensors = entry.metadata() or {}, _tensors(entry)
        except (OSError, SafetensorError):
            return None
        is_intact = metadata.get(_CHECKSUM) == fingerprint(digest, tensors)
        return sum(tensor.nbytes for tensor in tensors.values()) if is_intact else None


def _tensors(entry: Any) -> dict[str, Tensor]:
    return {name: entry.get_tensor(name) for name in entry.keys()}  # noqa: SIM118 - of safetensors, no mapping


def to_store(features: Tensor, are_frames: bool) -> dict[str, Tensor]:
    """Tensors that features are stored as: statistics exactly; frames as their mean and, in half precision, the rest.

    Some features are hundreds of times larger than they vary, so that half precision alone would lose what they say.

    Args:
        features: ``(states, frames, size)``.
        are_frames: Whether they are frames. Where one differs from the mean by more than half precision holds, the
            entry is exact, too.

    Example:
        >>> values = torch.tensor([[[400.1], [400.3]]])
        >>> {name: str(tensor.dtype) for name, tensor in to_store(values, are_frames=True).items()}
        {'mean': 'torch.float32', 'deviation': 'torch.float16'}
    """
    exact = features.to(torch.promote_types(features.dtype, torch.float32)).contiguous()
    if are_frames:
        mean = exact.mean(1, keepdim=True)
        deviation = (exact - mean).half()
        if bool(deviation.isfinite().all()):
            return {_MEAN: mean, _DEVIATION: deviation}
    return {_EXACT: exact}


def bytes_below(folder: Path) -> int:
    """Size of all files of a folder, 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # of another process
            total += path.stat().st_size if path.is_file() else 0
    return total
