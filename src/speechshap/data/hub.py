"""Datasets of the Hugging Face hub, and folders of them, as sound files with a manifest.

Whatever else works on files then works on these: checks, the feature cache, and recordings to hear in the report.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechshap.data.hub_files import OWN_COLUMNS, parts_of, write_files
from speechshap.data.manifest_rows import Columns
from speechshap.errors import UserError
from speechshap.files import locked, user_cache
from speechshap.fingerprint import fingerprint

logger = logging.getLogger(__name__)

PREFIX = "hf://"
"""How the name of a dataset begins as the root of a corpus."""

_PATIENCE_SECONDS = 86400.0


class _Source(NamedTuple):
    """What a dataset is loaded from: its version, its largest size in bytes, and how to load it."""

    version: str
    num_bytes: int
    load: Callable[[], Any]


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the hub, or in a folder as a repository of the hub or ``save_to_disk`` has it.

    Attributes:
        name: ``owner/name``, ``owner/name/configuration``, or a folder, which begins with ``.``, ``/`` or ``~``; behind
            it the configuration where the ``README.md`` of the folder has several.

    Example:
        >>> print(HubDataset("owner/name"))
        hf://owner/name
    """

    name: str

    def __str__(self) -> str:
        return PREFIX + self.name

    def manifest(self, columns: Columns, is_quiet: bool = False) -> Path:
        """The manifest of its recordings, which are written as files into the user's cache when first asked for.

        Recordings that are files of this machine already are not copied. What a stopped process has written is used.

        Args:
            columns: What the columns of labels and speakers are called; the files do not depend on it.
            is_quiet: Whether to show no progress bar.

        Raises:
            UserError: The extra ``hub`` is missing, there is no such dataset, or it lacks sound or these columns.
        """
        datasets = _datasets()
        folder = user_cache("datasets") / re.sub(r"[^\w.-]+", "--", self.name).strip("-")
        try:
            source = self._source()
        except UserError:
            earlier = sorted(folder.glob("*/manifest.parquet"), key=lambda path: path.stat().st_mtime)
            if self._is_local or not earlier:
                raise
            logger.info("the Hugging Face hub does not answer; %s is taken as it was written before", self)
            self._require(_columns_of(earlier[-1]), columns)
            return earlier[-1]
        manifest = folder / source.version / "manifest.parquet"
        with locked(folder / f".{source.version}.lock", _PATIENCE_SECONDS, or_raise=UserError):
            if manifest.is_file():
                self._require(_columns_of(manifest), columns)
                return manifest
            with self._told(datasets), _undecoded(datasets):
                parts = parts_of(source.load(), str(self))
                audio, others = self._choose(datasets, parts[0].rows.features or {}, columns)
                write_files(manifest, parts, audio, others, str(self), source.num_bytes, is_quiet)
        return manifest

    @property
    def hub_name(self) -> str:
        """``owner/name`` on the hub; empty for a folder.

        Example:
            >>> HubDataset("owner/name/english").hub_name, HubDataset("./folder").hub_name
            ('owner/name', '')
        """
        return "" if self._is_local else "/".join(self.name.split("/")[:2])

    @property
    def _is_local(self) -> bool:
        return self.name.startswith((".", "/", "~"))

    def _source(self) -> _Source:
        """Where it is loaded from.

        Raises:
            UserError: It is not there, or the hub does not answer.
        """
        if not self._is_local:
            return self._remote_source()
        folder, configuration = Path(self.name).expanduser(), None
        if not folder.is_dir() and (folder.parent / "README.md").is_file():
            folder, configuration = folder.parent, folder.name
        if not folder.is_dir():
            raise UserError(
                f"{self}: no such folder; give that of a dataset, or its name on the hub ({PREFIX}owner/name)"
            )
        states = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
        contents = [(str(path.relative_to(folder)), each.st_size, each.st_mtime_ns) for path, each in states.items()]
        is_saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))

        def load() -> Any:
            import datasets

            if is_saved:
                return datasets.load_from_disk(str(folder))
            return datasets.load_dataset(str(folder), configuration, streaming=True)

        version = fingerprint({"folder": str(folder.resolve()), "configuration": configuration, "contents": contents})
        return _Source(version, sum(each.st_size for each in states.values()), load)

    def _remote_source(self) -> _Source:
        from huggingface_hub import HfApi

        owner, _, rest = self.name.partition("/")
        name, _, configuration = rest.partition("/")
        repository = f"{owner}/{name}" if name else owner
        try:
            # Asked once: loading would try again for long before it says that there is no connection.
            about = HfApi().dataset_info(repository, timeout=5, files_metadata=True)
        except Exception as error:  # which one depends on the HTTP client below
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            folder = f", or give {PREFIX}./{self.name} for the folder" if Path(self.name).is_dir() else ""
            raise UserError(
                f"{self} cannot be had from the Hugging Face hub ({reason}); correct the name{folder}, or download "
                f"it where there is a connection ('hf download {repository} --repo-type dataset --local-dir FOLDER') "
                f"and give {PREFIX} with the whole path of that folder"
            ) from error

        def load() -> Any:
            import datasets

            return datasets.load_dataset(repository, configuration or None, revision=about.sha, streaming=True)

        size = sum(file.size or 0 for file in about.siblings or ())
        return _Source(fingerprint({"revision": about.sha, "configuration": configuration}), size, load)

    @contextmanager
    def _told(self, datasets: Any) -> Iterator[None]:
        """Tell in one line what `datasets` cannot read."""
        from pyarrow import ArrowException

        try:
            yield
        except UserError:
            raise
        except (datasets.exceptions.DatasetsError, ArrowException, ValueError, FileNotFoundError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"{self} cannot be read as a dataset ({' '.join(lines[:3]) or type(error).__name__})"
            ) from error

    def _choose(self, datasets: Any, features: Mapping[str, Any], columns: Columns) -> tuple[str, dict[str, Any]]:
        """The column with the sound, and the others of one value each with what they hold."""
        sounds = [name for name, feature in features.items() if _is_sound(datasets, feature)]
        if len(sounds) > 1 and "audio" in sounds:
            sounds = ["audio"]
        if len(sounds) != 1:
            found = f"several ({', '.join(sounds)})" if sounds else f"none among {', '.join(features)}"
            raise UserError(
                f"{self}: expected one column with sound, or several of which one is called audio; found {found}"
            )
        plain = (datasets.Value, datasets.ClassLabel)
        others = {
            name: feature
            for name, feature in features.items()
            if isinstance(feature, plain) and feature.dtype != "binary" and name not in OWN_COLUMNS
        }
        self._require(others, columns)
        return sounds[0], others

    def _require(self, names: Iterable[str], columns: Columns) -> None:
        """Raise a UserError where the dataset lacks a column that is asked for."""
        there = sorted(names)
        for parameter, name in (("label_column", columns.label or "label"), ("speaker_column", columns.speaker)):
            if name is not None and name not in there:
                raise UserError(f"{self} has no column {name}; name one of {', '.join(there)} as `{parameter}`")


def find_root(root: str) -> Path | HubDataset:
    """A folder or a manifest, or the dataset that a name with ``hf://`` is for.

    Example:
        >>> find_root("corpus/manifest.csv").name, find_root("hf://owner/name/english")
        ('manifest.csv', HubDataset(name='owner/name/english'))
    """
    return HubDataset(root.removeprefix(PREFIX)) if root.startswith(PREFIX) else Path(root).expanduser()


def _datasets() -> Any:
    """The package, which is told to ask for nothing but the dataset."""
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"`root` {PREFIX}… needs speechshap[hub]: pip install 'speechshap[hub]'") from error
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return datasets


@contextmanager
def _undecoded(datasets: Any) -> Iterator[None]:
    """Have sound in folders and tar files stay bytes, which `datasets` would otherwise not read without torchcodec."""
    kept = datasets.Audio.encode_example
    datasets.Audio.encode_example = lambda feature, value: (
        value
        if isinstance(value, Mapping)
        else {
            "bytes": None if isinstance(value, str) else bytes(value),
            "path": value if isinstance(value, str) else None,
        }
    )
    try:
        yield
    finally:
        datasets.Audio.encode_example = kept


def _is_sound(datasets: Any, feature: Any) -> bool:
    """Whether a column has sound: bytes, or a path, or both."""
    return isinstance(feature, datasets.Audio) or (isinstance(feature, Mapping) and {"bytes", "path"} <= set(feature))


def _columns_of(manifest: Path) -> list[str]:
    from pyarrow.parquet import read_schema

    return [name for name in read_schema(manifest).names if name not in OWN_COLUMNS]
