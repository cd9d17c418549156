"""A benchmark as text: tables in Markdown, the most important first."""

from collections.abc import Sequence

import numpy as np

from speechshap.bootstrap import number
from speechshap.data.wording import counted
from speechshap.evaluation.metrics import METRICS
from speechshap.markdown import table
from speechshap.report.benchmark import BenchmarkSummary, Column

_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def markdown(summary: BenchmarkSummary) -> str:
    """The summary as text with tables."""
    parts = ["# Benchmark of explanations", _about(summary), *_main(summary), *_model(summary), *_legend(summary)]
    parts += [*_variants(summary), *_by_label(summary), *_agreement(summary)]
    return "\n\n".join(parts) + "\n"


def _about(summary: BenchmarkSummary) -> str:
    counts = {
        entry.method: entry.num for entry in summary.entries if entry.column.metric == "seconds" and not entry.label
    }
    fewest, most = (end(counts.values(), default=0) for end in (min, max))
    per_method = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    operators = [column.variant for column in summary.columns if column.metric == "deletion"]
    facts = [
        ("judged", "; ".join(summary.materials)),
        ("checkpoints", ", ".join(summary.checkpoints)),
        ("methods", f"{len(summary.methods)}, with {per_method} explanations each"),
        ("utterances", f"{summary.num_utterances} of {counted(summary.num_speakers, 'known speaker')}"),
        ("frames replaced by", ", ".join(operators)),
    ]
    lines = [f"- {name}: {value}" for name, value in facts if value]
    if fewest != most:
        lines.append(
            "- not all methods were judged on the same utterances: some failed, as the warnings told, or were stopped"
        )
    interval = (
        "95 % intervals over speakers in parentheses (bootstrap; too narrow where there are few speakers)"
        if summary.num_speakers != 1
        else "no intervals, as there is one speaker"
    )
    text = f"Means over utterances, with {interval}. ↑ higher is better, ↓ lower is better."
    return "\n".join(lines) + f"\n\n{text}"


def _legend(summary: BenchmarkSummary) -> list[str]:
    lines = {column.metric: f"- `{column.metric}`{_ARROWS[column.better]}: {column.summary}"
             for column in summary.columns}  # fmt: skip
    variants = (
        "In parentheses: the width that attributions are read over and whether with their sign, what frames are "
        "replaced by, or what part of the model is shuffled. `seconds` are of this computer."
    )
    return ["## What the columns show", "\n".join(lines.values()), variants]


def _model(summary: BenchmarkSummary) -> list[str]:
    evidence, rest = summary.about_model.get("evidence"), summary.about_model.get("rest")
    if evidence is None or rest is None or np.isnan(evidence.value):
        return []
    relies = "relies" if evidence.low > rest.high or evidence.low > rest.value else "is not shown to rely"
    text = (
        f"The output falls by {number(evidence)} when the evidence is replaced by neutral speech of the same speaker, "
        f"and by {number(rest)} when as much of the rest is: the model {relies} on the evidence."
    )
    if summary.unreliant:
        text += (
            f" It does not rely on that of {counted(len(summary.unreliant), 'utterance')}: no explanation can be "
            "judged by it, and the metrics of known evidence leave them out."
        )
    return ["## Does the model rely on the known evidence?", text]


def scores_text(summary: BenchmarkSummary) -> str:
    """The tables of scores alone, as the command line shows them."""
    return "\n\n".join(_scores(summary)).replace("`", " ")  # which messages have around parameters alone


def _main(summary: BenchmarkSummary) -> list[str]:
    ranked = summary.ranked_columns()
    parts = ["## Scores", *_scores(summary)]
    if ranked:
        ranks = [
            [_code(method), *(_rank(summary, method, column) for column in ranked)] for method in summary.best_first()
        ]
        parts += ["### Ranks", table(["method", *(column.metric for column in ranked)], ranks)]
    return parts


def _scores(summary: BenchmarkSummary) -> list[str]:
    methods, parts = summary.best_first(), []
    for title, columns in _groups(summary.main_columns()).items():
        head = ["method", *(f"{column}{_ARROWS[column.better]}" for column in columns)]
        rows = [[_code(method), *_cells(summary, method, columns)] for method in methods]
        parts += [f"### {title}", table(head, rows)]
    return parts


def _groups(columns: Sequence[Column]) -> dict[str, list[Column]]:
    """Columns by what they ask, those first that can tell a right explanation from a wrong one."""
    groups: dict[str, list[Column]] = {
        "Is the known evidence found?": [],
        "Does the output follow?": [],
        "Stability and cost: a good value shows no more than that this one thing is in order": [],
    }
    known, follows, others = groups.values()
    for column in columns:
        metric = METRICS.get(column.metric)
        if metric is None or not metric.tells_apart:
            others.append(column)
        else:
            (known if metric.needs_truth else follows).append(column)
    return {title: own for title, own in groups.items() if own}


def _variants(summary: BenchmarkSummary) -> list[str]:
    parts = []
    for metric in dict.fromkeys(column.metric for column in summary.columns):
        columns = [column for column in summary.columns if column.metric == metric]
        if len(columns) < 2:
            continue
        rows = [[_code(method), *_cells(summary, method, columns)] for method in summary.methods]
        arrow = _ARROWS[columns[0].better]
        parts += [f"## {metric}{arrow}", table(["method", *(column.variant for column in columns)], rows)]
    return parts


def _by_label(summary: BenchmarkSummary) -> list[str]:
    labels = summary.labels
    if len(labels) < 2:
        return []
    parts = []
    for column in summary.ranked_columns():
        rows = [
            [_code(method), *("" if (e := summary.entry(method, column, label)) is None else number(e.mean)
                              for label in labels)]
            for method in summary.methods
        ]  # fmt: skip
        parts += [f"### {column}{_ARROWS[column.better]}", table(["method", *labels], rows)]
    return ["## By label", *parts]


def _agreement(summary: BenchmarkSummary) -> list[str]:
    found = summary.metric_agreement()
    columns = list(dict.fromkeys(column for pair in found for column in pair))
    if not found:
        return []
    rows = [
        [str(one), *(f"{found.get((one, other), found.get((other, one), np.nan)):.2f}".replace("nan", "")
                     for other in columns)]
        for one in columns
    ]  # fmt: skip
    return [
        "## Do the metrics agree?",
        "Rank correlation of the methods' means, better being higher; with `auc`, where the evidence is known, it says "
        "how far a metric can be trusted to find the methods that point to the evidence.",
        table(["", *map(str, columns)], rows),
    ]


def _cells(summary: BenchmarkSummary, method: str, columns: Sequence[Column]) -> list[str]:
    return ["" if (entry := summary.entry(method, column)) is None else number(entry.mean) for column in columns]


def _rank(summary: BenchmarkSummary, method: str, column: Column) -> str:
    entry = summary.entry(method, column)
    return "" if entry is None or entry.rank is None else f"{entry.rank:g}"


def _code(text: str) -> str:
    return f"`{text}`"
