"""A training or test within a command that does many of them."""

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
from speechshap.training.checkpoints import has_ended, last_checkpoint, read_checkpoint
from speechshap.training.metrics import RECALL

_TALKATIVE = ("speechshap", "pytorch_lightning", "lightning_fabric", "lightning.fabric", "lightning.pytorch")


class InnerCLI(TrainCLI):
    """``speechshap train`` for one of many runs, whose epochs are shown by a bar.

    Args:
        options: Those of a subcommand, below its name.
        program: What was called.
        bar: Whose unit is an epoch.
        command: That asked for all of them.
        callbacks: More of them.
    """

    def __init__(
        self,
        options: dict[str, Any],
        program: str,
        bar: Any,
        command: Sequence[str],
        callbacks: Sequence[pl.Callback] = (),
    ) -> None:
        self._callbacks = [EpochBar(bar), *callbacks]
        super().__init__(options, program, command=command)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer, with the callbacks."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.extend(self._callbacks)  # type: ignore[attr-defined]
        return trainer

    def end_interrupted(self) -> NoReturn:
        """The command tells how to go on."""
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
        score = trainer.callback_metrics.get(RECALL)
        if score is not None:
            self._bar.set_postfix_str(f"{RECALL} {float(score):.2f}")
        self._bar.update(1)


def epoch_bar(options: Namespace, title: str, is_shown: bool = True) -> Any:
    """A bar of tqdm for the epochs of a training with these options."""
    epochs = options.trainer.max_epochs
    total = epochs if epochs and epochs > 0 else None
    return tqdm(total=total, desc=title, unit="epoch", leave=False, disable=not is_shown)


def fit(
    folder: Path,
    options: dict[str, Any],
    program: str,
    bar: Any,
    command: Sequence[str],
    callbacks: Sequence[pl.Callback] = (),
) -> None:
    """Train, from the last epoch that was saved on; what had ended already only restores the callbacks.

    Args:
        folder: Of the run.
        options: Of ``speechshap train fit``.
        program: What was called.
        bar: Whose unit is an epoch.
        command: That asked for all of the runs.
        callbacks: More of them.
    """
    last = last_checkpoint(folder)
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)  # no epoch was whole
    else:
        checkpoint, trainer = read_checkpoint(last), options["trainer"]
        if has_ended(checkpoint, trainer["max_epochs"], trainer["min_epochs"]):
            for callback in callbacks:
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
            return
    own = {**options, "ckpt_path": last and str(last)}
    InnerCLI({"subcommand": "fit", "fit": own}, program, bar, command, callbacks)


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
        text = re.sub(r"fold_\d+_seed_\d+|trial_\d+", "", record.getMessage())
        record.is_new = text not in _told
        _told.add(text)
    is_new: bool = record.__dict__["is_new"]
    return is_new
