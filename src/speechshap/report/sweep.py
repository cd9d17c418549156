"""The summary of a sweep: text with a table, and a file of all trials."""

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from speechshap.data.wording import counted
from speechshap.files import whole_file
from speechshap.markdown import plain, table
from speechshap.training.metrics import RECALL
from speechshap.training.sweep import STUDY, Sweep

if TYPE_CHECKING:
    import optuna

SUMMARY = "sweep.md"

_MOST_ROWS = 20


def write_summary(sweep: Sweep, command: str) -> None:
    """Write ``sweep.md`` and ``sweep.csv``.

    Args:
        sweep: Its folder.
        command: That was given.

    Raises:
        OSError: A file cannot be written.
    """
    for name, text in ((SUMMARY, markdown(sweep, command)), ("sweep.csv", csv_text(sweep))):
        with whole_file(sweep.folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def markdown(sweep: Sweep, command: str) -> str:
    """The best trials, and what their scores say."""
    ended, failed = _ranked(sweep), Counter(sweep.failed().values())
    pruned = sum(trial.state.name == "PRUNED" for trial in ended)
    facts = [f"{counted(len(ended) + failed.total(), 'training')} tried"]
    facts += [f"{pruned} ended early"] * bool(pruned) + [f"{failed.total()} failed"] * bool(failed)
    shown = ended[:_MOST_ROWS]
    rows = [
        [
            sweep.described(trial).folder.name,
            f"{trial.value:.3f}",
            f"{_epochs(trial)}{' (ended early)' if trial.state.name == 'PRUNED' else ''}",
            *(plain(_short(trial.params[name])) for name in sweep.space),
        ]
        for trial in shown
    ]
    title = "All trials" if len(shown) == len(ended) else f"The best {len(shown)} of {len(ended)} trials"
    parts = [
        "# Sweep",
        f"{', '.join(facts)}, compared by the highest unweighted average recall on the validation utterances.",
        "\n".join(f"- {number} failed: {plain(reason)}" for reason, number in failed.most_common()),
        f"## {title}",
        table(["trial", RECALL, "epochs", *map(plain, sweep.space)], rows),
        "The best of many on the same utterances is better on these than it will be on others: "
        "`speechshap train test` or `speechshap cross-validate` with its options says how good it is. "
        f"`optuna-dashboard {STUDY}` in this folder shows how options and scores go together.",
        f"    {command}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_text(sweep: Sweep) -> str:
    """A line for each trial, the best first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "folder", "state", RECALL, "epochs", *sweep.space])
    failed = sweep.failed()
    for trial in [*_ranked(sweep), *sweep.failed_trials()]:
        state = failed.get(trial.number, trial.state.name.lower())
        values: list[Any] = [trial.params[name] for name in sweep.space]
        folder = sweep.described(trial).folder.name
        score = "" if trial.value is None else repr(trial.value)
        writer.writerow([trial.number, folder, state, score, _epochs(trial), *values])
    return file.getvalue()


def _ranked(sweep: Sweep) -> list["optuna.trial.FrozenTrial"]:
    return sorted(sweep.ended(), key=lambda trial: (-(trial.value or 0.0), trial.number))


def _epochs(trial: "optuna.trial.FrozenTrial") -> int:
    return max(trial.intermediate_values, default=-1) + 1


def _short(value: Any) -> str:
    return "null" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
