"""The summary of a cross-validation: text, table, figure, and what TensorBoard shows."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from speechshap.bootstrap import Estimate
from speechshap.data.wording import counted
from speechshap.files import whole_file
from speechshap.markdown import plain, table
from speechshap.report.events import append_record, new_event_file, record
from speechshap.report.rendering import png_bytes
from speechshap.training.classification_scores import ClassificationScores, SpeakerCounts
from speechshap.training.confusion_matrix import confusion_matrix_figure
from speechshap.training.cross_validation import CrossValidation, FoldRun, Results, Spread
from speechshap.training.hyperparameters import hyperparameter_summaries
from speechshap.training.scores_text import about_facts, facts_text, legend, precise, speakers_text, warning_text

SUMMARY = "cross_validation.md"

_EVENTS = ".summary"


def write_summary(
    validation: CrossValidation, results: Results, command: str, parameters: Mapping[str, bool | int | float | str]
) -> None:
    """Write ``cross_validation.md``, ``cross_validation.csv``, ``confusion_matrix.png`` and TensorBoard's entries.

    Args:
        validation: Its folder.
        results: Of one test at least.
        command: That was given.
        parameters: Hyperparameters for TensorBoard.

    Raises:
        OSError: A file cannot be written.
    """
    counts = results.counts.counts.sum(0)
    seeds = len(results.scores_of_seeds)
    notes = [f"of {seeds} seeds"] * (seeds > 1) + list(dict.fromkeys(each.warning for each in results.about))
    note = ", ".join(note for note in notes if note)
    picture, size = png_bytes(confusion_matrix_figure(counts, results.classes, note))
    text = markdown(results, command)
    for name, content in (
        ("confusion_matrix.png", picture),
        ("cross_validation.csv", csv_text(results).encode()),
        (SUMMARY, text.encode()),
    ):
        with whole_file(validation.folder / name) as partial:
            partial.write_bytes(content)
    _write_events(validation.folder, results, text, picture, size, parameters)


def markdown(results: Results, command: str) -> str:
    """The summary as text with tables."""
    parts = [
        f"# Cross-validation{warning_text(results.about)}",
        facts_text({**_facts(results), "command": f"`{' '.join(command.split())}`"}),
        "## Scores",
        scores_table(results),
        _legend(results),
        "![Confusion matrix of all folds](confusion_matrix.png)",
        "## Folds",
        _folds_table(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short_text(results: Results) -> str:
    """The summary as the command line shows it."""
    facts = facts_text({name: value for name, value in _facts(results).items() if name != "left out"})
    return f"{facts}\n\n{scores_table(results)}".replace("`", "")


def scores_table(results: Results) -> str:
    """Each score: of all predictions with its interval, over folds, and over seeds."""
    seeds, folds = results.over_seeds(), results.over_folds()
    several = len(results.scores_of_seeds) > 1
    head = ["score", "all predictions (95 % interval)", "folds: mean ± sd"]
    rows = [
        [plain(name), precise(mean), _spread(folds[name]), *([_spread(seeds[name])] if several else [])]
        for name, mean in results.pooled_scores.named(results.classes).items()
    ]
    return table([*head, *(["seeds: mean ± sd"] if several else [])], rows)


def csv_text(results: Results) -> str:
    """A line for each score: of each run, of each seed over all folds (without a fold), and of all (without a seed)."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["fold", "seed", "score", "value", "low", "high", "predictions", "speakers"])
    for fold, seed, scores, counts in _all_scores(results):
        size, names = int(counts.counts.sum()), " ".join(name for name in counts.speakers if name)
        for name, mean in scores.named(results.classes).items():
            cells = ["" if np.isnan(value) else repr(value) for value in mean]
            writer.writerow([fold, seed, name, *cells, size, names])
    return file.getvalue()


def _all_scores(results: Results) -> Iterator[tuple[int | str, int | str, ClassificationScores, SpeakerCounts]]:
    for run, predictions in results.tests.items():
        yield run.fold, run.seed, results.scores[run], predictions.counts
    for seed, scores in results.scores_of_seeds.items():
        yield "", seed, scores, results.counts_of_seed(seed)
    yield "", "", results.pooled_scores, results.counts


def _facts(results: Results) -> dict[str, str]:
    tests = results.tests
    utterances = {name for predictions in tests.values() for name in predictions.utterances}
    missing = [f"fold {run.fold}, seed {run.seed}" for run in results.missing]
    seeds = f", each with {counted(len(results.seeds), 'seed')}" if len(results.seeds) > 1 else ""
    return {
        "folds": f"{results.num_folds}{seeds}",
        "missing": f"{'; '.join(missing)} (the scores are of what is there)" if missing else "",
        "tested": f"{counted(len(utterances), 'utterance')} {speakers_text(results.counts)}",
        **about_facts(results.about),
    }


def _legend(results: Results) -> str:
    text = (
        "All predictions: of all folds together, where each utterance is tested once. "
        "Folds: mean and standard deviation over the folds"
    )
    if len(results.scores_of_seeds) > 1:
        text += (
            ", each averaged over its seeds. Seeds: over the scores that each seed has of all its folds together. The "
            "folds are the same for all seeds, which change the training alone; `split_seed` changes the folds"
        )
    return f"{text}.\n\n{legend(results.counts)}"


def _folds_table(results: Results) -> str:
    several = len(results.seeds) > 1
    head = ["fold", *(["seed"] if several else []), "speakers tested", "utterances", "UAR", "WA", "macro F1"]
    rows = [_fold_row(results, run, several) for run in results.tests]
    return table([*head, *(plain(f"recall of {name}") for name in results.classes)], rows)


def _fold_row(results: Results, run: FoldRun, several: bool) -> list[str]:
    predictions, scores = results.tests[run], results.scores[run]
    speakers = ", ".join(plain(name) for name in predictions.counts.speakers if name) or "unknown"
    return [
        str(run.fold),
        *([str(run.seed)] if several else []),
        speakers,
        str(len(predictions.true)),
        precise(scores.uar),
        *(precise(Estimate(mean.value, np.nan, np.nan)) for mean in (scores.wa, scores.f1, *scores.recall)),
    ]


def _spread(over: Spread) -> str:
    if np.isnan(over.mean):
        return ""
    return f"{over.mean:.3f}" if np.isnan(over.deviation) else f"{over.mean:.3f} ± {over.deviation:.3f}"


def _write_events(
    folder: Path,
    results: Results,
    text: str,
    picture: bytes,
    size: tuple[int, int],
    parameters: Mapping[str, bool | int | float | str],
) -> None:
    """A run of its own in place of a former one; those of the folds are below it."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import summary as make

    width, height = size
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=picture)
    scores = {
        "cross_validation/uar": results.pooled_scores.uar.value,
        "cross_validation/wa": results.pooled_scores.wa.value,
        "cross_validation/f1": results.pooled_scores.f1.value,
        **{f"cross_validation/recall/{name}": mean.value
           for name, mean in zip(results.classes, results.pooled_scores.recall, strict=True)},
        "test/uar": results.pooled_scores.uar.value,
    }  # fmt: skip
    known = {name: value for name, value in scores.items() if not np.isnan(value)}
    former = list(folder.glob(f"events.out.tfevents.*{_EVENTS}"))
    parts = [
        *hyperparameter_summaries(parameters),
        make.text("cross_validation/summary", text),
        *(make.scalar(name, value) for name, value in known.items()),
    ]
    values = [
        *(value for part in parts for value in part.value),
        Summary.Value(tag="cross_validation/confusion_matrix", image=image),
    ]
    append_record(new_event_file(folder, _EVENTS), record(values))
    for path in former:
        path.unlink(missing_ok=True)
