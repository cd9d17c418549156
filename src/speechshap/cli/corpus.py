"""The corpus of a checkpoint, where the options name none."""

from pathlib import Path

from jsonargparse import Namespace

from speechshap.data.planted import find_planted_corpus
from speechshap.data.planted_clip import PLANTED_KINDS


def take_planted_corpus(data: Namespace, run: Path) -> None:
    """Take the planted-evidence corpus that a run was trained on, wherever the command is called.

    Args:
        data: Options of the data, which are changed.
        run: Folder of the run, or a checkpoint in it.
    """
    kind = "planted" if data.corpus == "auto" else data.corpus
    if data.root is None and kind in PLANTED_KINDS:
        found = find_planted_corpus(run, kind, is_needed=not data.get("files"))
        if found is not None:
            data.root, data.corpus = str(found), kind
