"""``speechshap export``: a trained classifier as a folder that others take."""

import logging
import shlex
from pathlib import Path

from jsonargparse import ArgumentParser

from speechshap.cli.flags import parameters_as_flags

logger = logging.getLogger(__name__)


def export(arguments: list[str], program: str = "speechshap export") -> None:
    """``speechshap export``: a trained classifier as a folder that others take.

    Args:
        arguments: Of the command line.
        program: What was called.
    """
    parser = ArgumentParser(
        prog=program,
        usage=f"{program} runs/<experiment>/version_N FOLDER [--overwrite]",
        description="Write a trained classifier as a folder for the Hugging Face hub, or for anyone: "
        "model.safetensors, config.json, and the model card as README.md. No code is in it, and none is run when it is "
        "loaded, so that a head of your own class has to be given in Python again. speechshap explain --model FOLDER "
        "explains its predictions, or --model owner/name once it is on the hub (hf upload owner/name FOLDER); "
        "transformers alone does not read it. Nothing is uploaded here. Read the card before you publish it: it names "
        "the speakers of the corpus, and says nothing of a license.",
        exit_on_error=False,
    )
    parser.add_argument("checkpoint", type=str, help="Folder of a run, for its best checkpoint, or a checkpoint.")
    parser.add_argument("folder", type=str, help="Folder to be made; its name is that of the model on the card.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an export that is there.")
    options = parser.parse_args(arguments)
    flags = {"ckpt_path": "checkpoint", "overwrite": "--overwrite"}
    with parameters_as_flags(lambda: flags):
        from speechshap.training.checkpoints import find_checkpoint
        from speechshap.training.exporting import export_checkpoint

        folder = Path(options.folder).expanduser()
        export_checkpoint(find_checkpoint(options.checkpoint, prefer="best"), folder, options.overwrite)
    logger.info(
        "export: %s; its README.md says how to load it, and hf upload owner/name %s publishes it",
        folder,
        shlex.quote(str(folder)),
    )
