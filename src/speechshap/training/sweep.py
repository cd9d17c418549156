"""Sweep: trainings with other options, of which Optuna chooses the next by what the former ones scored."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from speechshap.errors import UserError
from speechshap.files import locked
from speechshap.training.checkpoints import CHECKPOINTS
from speechshap.training.save_card import CARD
from speechshap.training.search_space import SearchSpace, suggest

if TYPE_CHECKING:
    import optuna

STUDY = "study.journal"
"""What Optuna keeps of the trials, in the folder of a sweep."""

_PATIENCE_SECONDS = 60.0
_FOLDER, _FAILED = "folder", "failed"
"""What is kept of a trial: its folder where that is not named by its number, and why it failed."""


class Trial(NamedTuple):
    """A training of a sweep.

    Attributes:
        number: Of the trial, from 0 on.
        folder: Of its run.
        options: Values that it tries, by the name of the option.
    """

    number: int
    folder: Path
    options: dict[str, Any]


class Sweep:
    """The folder of a sweep, in which any number of processes work.

    The trials that a process was killed in are taken up by the next that asks: their training goes on. What is chosen
    depends on the seed and the trials before, so that an interrupted sweep of one process tries the same.

    Args:
        folder: Of all trials.
        space: What they try.
        seed: Of the choice.

    Raises:
        UserError: Optuna is missing.
    """

    def __init__(self, folder: Path, space: SearchSpace, seed: int) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise UserError("Optuna is missing; install it with pip install 'speechshap[sweep]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = folder
        self.space = space
        self.seed = seed
        self._locks = folder / ".locks"
        self._locks.mkdir(parents=True, exist_ok=True)
        backend = JournalFileBackend(str(folder / STUDY))
        self._storage = optuna.storages.JournalStorage(backend)

    def study(self) -> "optuna.Study":
        """The trials so far, as Optuna has them."""
        import optuna

        return optuna.create_study(
            storage=self._storage,
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        )

    @contextmanager
    def next_trial(self, most: int) -> Iterator["optuna.Trial | None"]:
        """The next trial, which no other process works at within this block; None where there are ``most``.

        Args:
            most: Trials that count: those that have ended, or that a process is at.
        """
        with ExitStack() as stack:
            with self.alone():
                study = self.study()
                self._take_up(study)
                trial = self._ask(study, most)
                if trial is not None:
                    stack.enter_context(locked(self._lock_of(trial), 0, or_raise=UserError, stays=True))
            yield trial

    def described(self, trial: "optuna.Trial | optuna.trial.FrozenTrial") -> Trial:
        """A trial with its folder and its values."""
        name = trial.user_attrs.get(_FOLDER, f"trial_{trial.number}")
        return Trial(trial.number, self.folder / name, {each: trial.params[each] for each in self.space})

    def best(self) -> "optuna.trial.FrozenTrial | None":
        """The trial of the highest score so far."""
        ended = [trial for trial in self.ended() if trial.value is not None]
        return max(ended, key=lambda trial: trial.value or 0.0, default=None)

    def failed(self) -> dict[int, str]:
        """Why trials failed that diverged, or whose options do not go together, by their numbers."""
        return {trial.number: trial.user_attrs[_FAILED] for trial in self.failed_trials()}

    def failed_trials(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that came to no score."""
        import optuna

        failed = self.study().get_trials(states=(optuna.trial.TrialState.FAIL,))
        return [trial for trial in failed if _FAILED in trial.user_attrs]

    def end(self, trial: "optuna.Trial", score: float, is_pruned: bool = False) -> None:
        """Keep the score of a trial, and of all checkpoints and cards those of the best.

        Args:
            trial: That was trained.
            score: Its highest.
            is_pruned: Whether it was ended before its time.
        """
        import optuna

        with self.alone():
            if is_pruned:
                self.study().tell(trial.number, state=optuna.trial.TrialState.PRUNED)
            else:
                self.study().tell(trial.number, score)
            best = self.best()
            for other in self.ended():
                if best is None or other.number != best.number:
                    self._remove_model(self.described(other).folder)

    def fail(self, trial: "optuna.Trial", reason: str) -> None:
        """Count a trial that came to no score.

        Args:
            trial: That was tried.
            reason: Why.
        """
        import optuna

        with self.alone():
            trial.set_user_attr(_FAILED, reason)
            self.study().tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._remove_model(self.described(trial).folder)

    def _remove_model(self, folder: Path) -> None:
        """Remove what was trained, but not how it went."""
        (folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

    def ended(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that were trained to their end, or as far as was worth it."""
        import optuna

        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        return self.study().get_trials(states=states)

    def alone(self) -> AbstractContextManager[bool]:
        """Have the sweep to oneself for a moment."""
        return locked(self._locks / "study", _PATIENCE_SECONDS, or_raise=UserError, stays=True)

    def _lock_of(self, trial: "optuna.Trial | optuna.trial.FrozenTrial") -> Path:
        return self._locks / f"trial_{trial.number}"

    def _take_up(self, study: "optuna.Study") -> None:
        """Have trials that no process is at any more tried by the next that asks, from where they were."""
        import optuna

        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            try:
                with locked(self._lock_of(trial), 0, or_raise=BlockingIOError, stays=True):
                    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                    if trial.params.keys() == self.space.keys():
                        study.enqueue_trial(trial.params, {_FOLDER: self.described(trial).folder.name})
            except BlockingIOError:
                continue

    def _ask(self, study: "optuna.Study", most: int) -> "optuna.Trial | None":
        import optuna

        states = optuna.trial.TrialState
        counting = study.get_trials(states=(states.COMPLETE, states.PRUNED, states.RUNNING))
        num_trials = len(counting) + len(self.failed())
        if num_trials >= most:
            return None
        # A seed of its own for each choice, so that processes and later calls choose anew.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + num_trials)
        trial = study.ask()
        suggest(trial, self.space)
        return trial
