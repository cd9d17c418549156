"""A checkpoint, and the options of the data where they are left out: as the training had them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from speechshap.cli.corpus import take_planted_corpus
from speechshap.data.hub import find_root
from speechshap.errors import UserError
from speechshap.training.checkpoints import find_checkpoint, read_checkpoint, run_of
from speechshap.training.datamodule import CORPUS_OPTIONS, SPLIT_OPTIONS, AudioDataModule


class CheckpointAndOptions(NamedTuple):
    """A checkpoint, and the options with what it knows of the data.

    Attributes:
        path: Of the checkpoint.
        checkpoint: What is in it.
        run: Folder of its run, or the one that it lies in.
        options: Read once more.
        state: Of the data: recordings of the splits.
    """

    path: Path
    checkpoint: dict[str, Any]
    run: Path
    options: Namespace
    state: dict[str, Any]


def read_checkpoint_and_options(
    parser: ArgumentParser, arguments: Sequence[str], options: Namespace, ckpt_path: str
) -> CheckpointAndOptions:
    """Read a checkpoint, and the options with its own corpus and split where they are left out.

    Args:
        parser: Of options that have a group ``data``; its defaults are changed.
        arguments: Of the command line.
        options: What the parser read.
        ckpt_path: The checkpoint, or the folder of its run.

    Raises:
        UserError: There is no such checkpoint, or no such corpus.
    """
    path = find_checkpoint(ckpt_path, prefer="best")
    checkpoint = read_checkpoint(path)
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    names = SPLIT_OPTIONS if options.data.root is not None else (*SPLIT_OPTIONS, *CORPUS_OPTIONS)
    kept = without_other_groups(options.data, {name: saved[name] for name in names if name in saved})
    parser.set_defaults({f"data.{name}": value for name, value in kept.items()})
    options = parser.parse_args(list(arguments))
    run = run_of(path.absolute()) or path.absolute().parent
    take_planted_corpus(options.data, run)
    refuse_missing_corpus(options)
    return CheckpointAndOptions(path, checkpoint, run, options, checkpoint.get(AudioDataModule.__qualname__, {}))


def without_other_groups(data: Namespace, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a checkpoint without its folds or speakers where the command line names others to test.

    Args:
        data: Options of the data as given.
        saved: Those of the checkpoint.

    Example:
        >>> data = Namespace(folds="speaker", val_speakers=None, test_speakers=None)
        >>> without_other_groups(data, {"folds": 5, "fold": 2, "test_speakers": None, "split_seed": 3})
        {'split_seed': 3}
    """
    left_out: tuple[str, ...] = ()
    if data.folds not in (None, saved.get("folds")):
        left_out = ("folds", "fold", "val_speakers", "test_speakers")
    elif data.val_speakers or data.test_speakers:
        left_out = ("folds", "fold")
    return {name: value for name, value in saved.items() if name not in left_out}


def take_fold(data: Namespace, saved: Mapping[str, Any], parser: ArgumentParser) -> None:
    """Take the fold of a checkpoint, and what decides who is in it, where the options leave these out.

    Args:
        data: Options of the data, which are changed.
        saved: Those of the checkpoint.
        parser: Of the options, whose defaults tell what was left out.
    """
    kept = without_other_groups(data, saved)
    for name in ("folds", "fold", *SPLIT_OPTIONS) if kept.get("folds") is not None else ():
        if data[name] == parser.get_default(f"data.{name}"):
            data[name] = kept.get(name, data[name])


def refuse_missing_corpus(options: Namespace) -> None:
    """Raise a UserError where the corpus of the options is not there."""
    root = options.data.root
    takes_files = "files" in options.data
    place = None if root is None else find_root(root)
    if isinstance(place, Path) and not (takes_files and options.data.files) and not place.exists():
        files = ", or recordings to explain with `files`" if takes_files else ""
        raise UserError(f"{root}: no such folder; give that of the corpus with `root`{files}")
