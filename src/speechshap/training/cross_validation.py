"""Cross-validation: its folder, the runs in it, and what their tests say together."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechshap.errors import UserError
from speechshap.files import locked
from speechshap.training.classification_scores import ClassificationScores, SpeakerCounts, classification_scores, pooled
from speechshap.training.predictions import AboutTest, Predictions, read_predictions
from speechshap.training.save_predictions import PREDICTIONS

_PATIENCE_SECONDS = 60.0


class FoldRun(NamedTuple):
    """The training and test of one fold with one seed; ``fold`` counts from 1.

    Example:
        >>> FoldRun(fold=2, seed=0).name
        'fold_2_seed_0'
    """

    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"fold_{self.fold}_seed_{self.seed}"


class CrossValidation:
    """The folder of a cross-validation, in which any number of processes work.

    Args:
        folder: Of all folds.
        num_folds: How many there are.
        seeds: Each fold is trained with each of them.
    """

    def __init__(self, folder: Path, num_folds: int, seeds: Sequence[int]) -> None:
        self.folder = folder
        self.num_folds = num_folds
        self.seeds = list(seeds)

    def runs(self, only: int | None = None) -> list[FoldRun]:
        """All runs, or those of one fold; all folds with the first seed come first."""
        folds = range(1, self.num_folds + 1) if only is None else [only]
        return [FoldRun(fold, seed) for seed in self.seeds for fold in folds]

    def folder_of(self, run: FoldRun) -> Path:
        """Folder of a run."""
        return self.folder / run.name

    def lock_of(self, run: FoldRun) -> Path:
        """File that a process locks while it is at a run; it stays there, as others may wait for it."""
        return self.folder / ".locks" / run.name

    def is_finished(self, run: FoldRun) -> bool:
        """Whether a run has been tested."""
        return (self.folder_of(run) / PREDICTIONS).is_file()

    def title(self, run: FoldRun) -> str:
        """What a run is called.

        Example:
            >>> CrossValidation(Path("runs"), 5, [0]).title(FoldRun(2, 0))
            'fold 2 of 5, seed 0'
        """
        return f"fold {run.fold} of {self.num_folds}, seed {run.seed}"

    def remove_unstarted(self) -> None:
        """Remove the folder if no process has begun a fold, or is at one: a mistake in the options is no folder."""
        if any(self.folder_of(run).exists() for run in self.runs()):
            return
        with suppress(BlockingIOError), ExitStack() as stack:
            for path in (self.folder / ".locks").glob("*"):
                stack.enter_context(locked(path, 0, or_raise=BlockingIOError, stays=True))
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def summarizing(self) -> Iterator[None]:
        """Have the summary to oneself.

        Raises:
            UserError: Another process keeps it locked.
        """
        with locked(self.folder / ".locks" / "summary", _PATIENCE_SECONDS, or_raise=UserError, stays=True):
            yield

    def results(self) -> "Results":
        """Of the runs that are finished so far."""
        return Results(
            self.num_folds,
            self.seeds,
            {run: read_predictions(self.folder_of(run) / PREDICTIONS) for run in self.runs() if self.is_finished(run)},
        )


class Spread(NamedTuple):
    """Mean and standard deviation of several scores; the latter with n - 1, and NaN for one."""

    mean: float
    deviation: float
    num: int


class Results:
    """What the tests of a cross-validation say, each alone and all together.

    The scores of a seed are those of the predictions of all its folds, of which each utterance is tested in one. Those
    of all seeds together come from the sum of their confusion counts, and their intervals from drawing speakers, each
    with what all seeds predict.

    Args:
        num_folds: How many folds there are to be.
        seeds: Of each.
        tests: Those that are there.
    """

    def __init__(self, num_folds: int, seeds: Sequence[int], tests: dict[FoldRun, Predictions]) -> None:
        self.num_folds = num_folds
        self.seeds = list(seeds)
        self.tests = dict(sorted(tests.items()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the networks."""
        return next(iter(self.tests.values())).classes

    @property
    def about(self) -> list[AboutTest]:
        """What was tested, of each run."""
        return [predictions.about for predictions in self.tests.values()]

    @property
    def missing(self) -> list[FoldRun]:
        """Runs that are not finished."""
        runs = (FoldRun(fold, seed) for fold in range(1, self.num_folds + 1) for seed in self.seeds)
        return [run for run in runs if run not in self.tests]

    @cached_property
    def scores(self) -> dict[FoldRun, ClassificationScores]:
        """Scores of each run."""
        return {run: classification_scores(predictions.counts) for run, predictions in self.tests.items()}

    @cached_property
    def counts(self) -> SpeakerCounts:
        """Confusion counts of all runs together."""
        return pooled([predictions.counts for predictions in self.tests.values()])

    @cached_property
    def pooled_scores(self) -> ClassificationScores:
        """Scores of all runs together."""
        return classification_scores(self.counts)

    @cached_property
    def scores_of_seeds(self) -> dict[int, ClassificationScores]:
        """Scores of the seeds, each of all its folds together."""
        there = [seed for seed in self.seeds if any(run.seed == seed for run in self.tests)]
        return {seed: classification_scores(self.counts_of_seed(seed)) for seed in there}

    def counts_of_seed(self, seed: int) -> SpeakerCounts:
        """Confusion counts of all folds of a seed together."""
        return pooled([predictions.counts for run, predictions in self.tests.items() if run.seed == seed])

    def over_seeds(self) -> dict[str, Spread]:
        """Each score over the seeds."""
        return {name: spread(values) for name, values in self._by_name(self.scores_of_seeds.values()).items()}

    def over_folds(self) -> dict[str, Spread]:
        """Each score over the folds, of which each is first averaged over its seeds."""
        folds = sorted({run.fold for run in self.tests})
        of_folds = [self._by_name(each for run, each in self.scores.items() if run.fold == fold) for fold in folds]
        return {name: spread([spread(own[name]).mean for own in of_folds]) for name in of_folds[0]}

    def _by_name(self, scores: Iterable[ClassificationScores]) -> dict[str, list[float]]:
        named = [each.named(self.classes) for each in scores]
        return {name: [own[name].value for own in named] for name in named[0]}


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of the values that are known.

    Example:
        >>> spread([0.5, 0.75, 1.0, float("nan")])
        Spread(mean=0.75, deviation=0.25, num=3)
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return Spread(np.nan, np.nan, 0)
    return Spread(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else np.nan, len(known))
