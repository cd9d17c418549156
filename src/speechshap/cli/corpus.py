"""The corpus of a checkpoint, where the options name none."""

from pathlib import Path

from jsonargparse import Namespace

from speechshap.data.catalogue import find_planted_corpus


def take_planted_corpus(data: Namespace, run: Path) -> None:
    """Take the planted-evidence corpus that a run was trained on, wherever the command is called.

    Args:
        data: Options of the data, which are changed.
        run: Folder of the run, or a checkpoint in it.
    """
    if data.root is None and data.corpus in ("auto", "planted"):
        found = find_planted_corpus(run, is_needed=not data.get("files"))
        if found is not None:
            data.root, data.corpus = str(found), "planted"
