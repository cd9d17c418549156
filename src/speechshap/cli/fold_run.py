"""One fold of a cross-validation: ``speechshap train fit`` and ``speechshap train test`` within a process."""

import gc
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from jsonargparse import Namespace
from tqdm.auto import tqdm

from speechshap.cli.train import TrainCLI
from speechshap.errors import UserError
from speechshap.training import read_checkpoint
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.cross_validation import CrossValidation, FoldRun, has_ended, last_checkpoint

_TALKATIVE = ("speechshap", "pytorch_lightning", "lightning_fabric", "lightning.fabric", "lightning.pytorch")


class FoldCLI(TrainCLI):
    """``speechshap train`` for a fold, whose epochs are shown by a bar.

    Args:
        options: Those of a subcommand, below its name.
        program: What was called.
        bar: Whose unit is an epoch.
        command: That asked for the cross-validation.
    """

    def __init__(self, options: dict[str, Any], program: str, bar: Any, command: Sequence[str]) -> None:
        self._bar = bar
        super().__init__(options, program, command=command)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer, with the bar."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(EpochBar(self._bar))  # type: ignore[attr-defined]
        return trainer

    def end_interrupted(self) -> NoReturn:
        """The cross-validation tells how to go on."""
        raise KeyboardInterrupt


class EpochBar(pl.callbacks.ProgressBar):
    """Show the epochs of a training by a bar.

    Args:
        bar: Of tqdm.
    """

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self._bar = bar
        self.is_enabled = not bar.disable  # other bars of the run are shown as well, or not

    def disable(self) -> None:
        """Show nothing."""
        self._bar.disable, self.is_enabled = True, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin where the training goes on."""
        self._bar.update(trainer.current_epoch - self._bar.n)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count an epoch."""
        score = trainer.callback_metrics.get("val/uar")
        if score is not None:
            self._bar.set_postfix_str(f"val/uar {float(score):.2f}")
        self._bar.update(1)


def run_fold(
    validation: CrossValidation,
    run: FoldRun,
    options: Namespace,
    program: str,
    command: Sequence[str],
    shows_bar: bool = True,
) -> None:
    """Train a fold, from its last epoch that was saved on, and test its best checkpoint.

    Args:
        validation: Its folder.
        run: Which fold and seed.
        options: Of ``speechshap train fit``.
        program: What was called.
        command: That asked for the cross-validation, word by word.
        shows_bar: Whether epochs are shown.

    Raises:
        UserError: An option cannot be met, or the training diverged; the fold is named.
    """
    try:
        _run(validation, run, options, program, command, shows_bar)
    except UserError as error:
        raise UserError(f"{validation.title(run)}: {error}") from error


def _run(
    validation: CrossValidation,
    run: FoldRun,
    options: Namespace,
    program: str,
    command: Sequence[str],
    shows_bar: bool,
) -> None:
    folder = validation.folder_of(run)
    last = last_checkpoint(folder)
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)  # no epoch was whole
    own = _options_of(options, run, folder)
    epochs = options.trainer.max_epochs
    total = epochs if epochs and epochs > 0 else None
    bar = tqdm(total=total, desc=validation.title(run), unit="epoch", leave=False, disable=not shows_bar)
    with bar, quiet():
        if last is None or not has_ended(read_checkpoint(last), epochs, options.trainer.min_epochs):
            FoldCLI({"subcommand": "fit", "fit": {**own, "ckpt_path": last and str(last)}}, program, bar, command)
        FoldCLI(
            {"subcommand": "test", "test": {**own, "ckpt_path": str(folder), "verbose": False}}, program, bar, command
        )
    (folder / CHECKPOINTS / "last.ckpt").unlink(missing_ok=True)  # nothing goes on from it, and it is large
    gc.collect()  # a trainer and its module know each other


def _options_of(options: Namespace, run: FoldRun, folder: Path) -> dict[str, Any]:
    own: dict[str, Any] = options.clone().as_dict()
    own["seed_everything"] = run.seed
    own["data"]["fold"] = run.fold
    place = {"save_dir": str(folder.parent.parent), "name": folder.parent.name, "version": folder.name}
    own["trainer"]["logger"]["init_args"].update(place)
    return own


@contextmanager
def quiet() -> Iterator[None]:
    """Have what each of many runs says said not at all, and warnings that differ by the folder of a run once."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of weights that are loaded
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    handlers = logging.getLogger().handlers
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    for handler in handlers:
        handler.addFilter(_is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_new)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_told: set[str] = set()


def _is_new(record: logging.LogRecord) -> bool:
    """Whether a record says something new, asked by each handler."""
    if not hasattr(record, "is_new"):
        text = re.sub(r"fold_\d+_seed_\d+", "", record.getMessage())
        record.is_new = text not in _told
        _told.add(text)
    is_new: bool = record.__dict__["is_new"]
    return is_new
