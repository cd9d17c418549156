"""Runs explanations without Lightning: with each of its methods, batch by batch."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from speechshap.attribution import MethodChoice, ReferenceSettings
from speechshap.data import Batch
from speechshap.data.batches import select_utterances
from speechshap.data.shards import Portion
from speechshap.errors import UserError
from speechshap.explaining.batch_explainer import BatchExplainer, UnfitMethodError
from speechshap.explaining.method_run import MethodRun
from speechshap.explaining.options import Arithmetic, Place, RunOptions
from speechshap.files import EXPLANATIONS
from speechshap.models import SpeechClassifier
from speechshap.report.display import Display
from speechshap.report.loggers import LoggerLog, tell_what_is_left_out
from speechshap.report.rendering import BackgroundRenderer
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import Explanation
from speechshap.results.folder import file_name
from speechshap.results.shards import Coverage, ShardRun
from speechshap.results.writer import ResultsWriter

logger = logging.getLogger(__name__)


class Runner:
    """Explains utterances, batch by batch, into a results folder, TensorBoard's event file beside it, and loggers.

    Explanations that the folder already holds, of the same sound with the same settings and weights, are skipped. Of
    several methods, each has an event file in a folder of its own, so that TensorBoard shows them side by side; the
    event file of the run then has a picture with all of them.

    Args:
        model: On its device.
        methods: How to explain, each with its settings. One of several that cannot explain the model is left out, with
            a warning.
        folder: Of the run; results go to its ``explanations/``.
        options: How to compute and show.
        references: Training clips ``(references, time)`` for settings whose ``baselines`` are of the ``dataset``.
        calibration: This many waveforms ``(time,)``, that a method learns from before it explains.
        arithmetic: Precision.
        place: Rank of this process, and step of the model.
        num_utterances: That this process will be given, for the progress bar; None where unknown.
        portion: The part of a corpus that this run explains, where others explain the rest.
        common_folder: What tags leave out of the ids of utterances.
        loggers: Loggers of Lightning that take what TensorBoard takes, as far as they can; the first process gives it.

    Attributes:
        coverage: How much of the corpus is done, once this run is; None for a run that explains all of it.

    Raises:
        UserError: A setting does not fit the model, no method does, or the part is another run's.
    """

    def __init__(
        self,
        model: SpeechClassifier,
        methods: Sequence[MethodChoice],
        folder: Path,
        options: RunOptions = RunOptions(),  # noqa: B008 - immutable
        *,
        references: Callable[[ReferenceSettings], Tensor] | None = None,
        calibration: Callable[[int], Sequence[Tensor]] | None = None,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - immutable
        place: Place = Place(),  # noqa: B008 - immutable
        num_utterances: int | None = None,
        portion: Portion | None = None,
        common_folder: str = "",
        loggers: Sequence[Any] = (),
    ) -> None:
        self.place = place
        self.coverage: Coverage | None = None
        self._shard_run: ShardRun | None = None
        self.num_evaluations = 0
        explainers = _explainers(model, methods, options, arithmetic, references)
        is_alone = len(methods) == 1
        with ExitStack() as stack:
            group = None if portion is None else f"of{portion.shard.count}"
            self.writer = stack.enter_context(ResultsWriter(folder / EXPLANATIONS, place.run, place.rank, group))
            self.results = self.writer.results
            renderer = BackgroundRenderer()
            max_drawn = options.max_drawn if portion is None else portion.share_of(options.max_drawn)

            def display(
                log: ExplanationLog, label: str | None = None, tells_what_is_not_drawn: bool = False
            ) -> Display:
                others = [LoggerLog(each, log, label) for each in loggers if place.rank == 0]
                shown = Display(
                    [log, *others], options.draw, options.log_every, max_drawn, options.top_k_frames, place.step,
                    renderer=renderer, tells=tells_what_is_not_drawn, has_curve=portion is None,
                )  # fmt: skip
                stack.callback(shown.close, wait=False)
                return shown

            if place.rank == 0:
                tell_what_is_left_out(loggers)
            self._log = ExplanationLog(folder, place.rank, common_folder)
            self.runs = []
            for number, explainer in enumerate(explainers):
                own = self._log
                if explainer.label is not None:
                    own_folder = folder / file_name(explainer.label, legible="(),= ")
                    own = ExplanationLog(own_folder, place.rank, common_folder)
                num_learnt = getattr(explainer.settings, "calibration", 0)
                clips = partial(calibration, num_learnt) if num_learnt and calibration else None
                shown = display(own, explainer.label, tells_what_is_not_drawn=number == 0)
                self.runs.append(MethodRun(explainer, self.writer, shown, place, clips, is_alone=is_alone))
                explainer.progress = self._count
            if portion is not None:
                self._take_part(portion, stack)
            self.comparison = None if is_alone else display(self._log)
            self._bar = tqdm(
                total=num_utterances,
                desc="explaining",
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} utterances [{elapsed}<{remaining}{postfix}]",
                disable=place.rank != 0,
            )
            stack.pop_all()

    def _take_part(self, portion: Portion, stack: ExitStack) -> None:
        """Have the first process take the part of all of them, which end together where it cannot."""
        settings = {run.explainer.settings_fingerprint: run.shown_settings for run in self.runs}
        problem = None
        if self.place.rank == 0:
            try:
                self._shard_run = stack.enter_context(ShardRun(self.writer, portion, settings))
            except UserError as error:
                problem = str(error)
        if (told := self.place.share(problem)) is not None:
            raise UserError(told)

    @property
    def num_explained(self) -> int:
        """Utterances that were explained, once for each method."""
        return sum(run.num_explained for run in self.runs)

    @property
    def num_found(self) -> int:
        """Utterances that were explained already, once for each method."""
        return sum(run.num_found for run in self.runs)

    def explain(self, batch: Batch, logits: Tensor | None = None) -> list[Explanation]:
        """Explain the utterances of a batch that are not explained yet, write the explanations and show them.

        Args:
            batch: On the device of the model.
            logits: Of the model for the batch ``(batch, classes)``; None asks the model.

        Returns:
            What was explained just now.
        """
        explained: list[Explanation] = []
        usable = [run.explainer.explainable(batch) for run in self.runs]
        if logits is None and any(usable):
            logits = self._logits(batch, sorted(set().union(*usable)))
        # The report has first what was explained last.
        for run, rows in reversed(list(zip(self.runs, usable, strict=True))):
            if rows and logits is not None:
                chosen, own = select_utterances(batch, rows), logits[rows]
                finite = run.explainer.with_finite_outputs(chosen, own)
                explained += run.explain(select_utterances(chosen, finite), own[finite]) if finite else []
        self._bar.update(len(batch.ids))
        return explained

    def _logits(self, batch: Batch, rows: Sequence[int]) -> Tensor:
        """Logits of some utterances of a batch ``(batch, classes)``; NaN for the others."""
        explainer = self.runs[0].explainer
        with explainer.model.ready():
            own = explainer.logits(select_utterances(batch, rows))
        logits = own.new_full((len(batch.ids), own.shape[1]), float("nan"))
        logits[rows] = own
        return logits

    def _count(self, evaluations: int) -> None:
        self.num_evaluations += evaluations
        self._bar.set_postfix_str(f"{self.num_evaluations} model evaluations")

    def finish(self) -> None:
        """Show what is known of all utterances; every process has to be done."""
        if self.place.rank != 0:
            return
        if self._shard_run is not None:
            self.coverage = self._shard_run.finish()
            if self.coverage.missing:
                return  # whoever ends last shows all
        for run in self.runs:
            run.finish()
        if self.comparison is not None:
            self.comparison.compare(self.results, [run.explainer.settings_fingerprint for run in self.runs])
        self._log.compare_settings(self.place.step)

    def close(self, wait: bool = True) -> None:
        """Close the files.

        Args:
            wait: Whether to wait for pictures that are still being drawn; a later run draws the rest.
        """
        self._bar.close()
        with ExitStack() as stack:
            stack.callback(self.writer.close)
            if self._shard_run is not None:
                stack.callback(self._shard_run.close)
            for display in (self.comparison, *(run.display for run in reversed(self.runs))):
                if display is not None:
                    stack.callback(display.close, wait)

    def report(self) -> None:
        """Log a summary of the run."""
        for run in self.runs:
            run.report()
        if self.coverage is not None and self.coverage.missing:
            number = self.results.num_explained(self.coverage.plan.settings_fingerprints[0])
            logger.info("%s; the process that ends last shows all of them", self.coverage.tell(number))


def _explainers(
    model: SpeechClassifier,
    methods: Sequence[MethodChoice],
    options: RunOptions,
    arithmetic: Arithmetic,
    references: Callable[[ReferenceSettings], Tensor] | None,
) -> list[BatchExplainer]:
    """Of the methods that can explain the model.

    Raises:
        UserError: None can, or a setting does not fit the model.
    """
    explainers, unfit = [], None
    for choice in methods:
        settings = choice.settings
        clips = None
        if references and isinstance(settings, ReferenceSettings) and settings.from_dataset:
            clips = references(settings)
        label = str(choice) if len(methods) > 1 else None
        try:
            explainers.append(BatchExplainer(model, choice.name, settings, options, arithmetic, clips, label=label))
        except UnfitMethodError as error:
            if label is not None:
                logger.warning("%s; it is left out", error)
            unfit = error
    if not explainers and unfit is not None:
        raise unfit
    return explainers
