"""A benchmark as text: tables in Markdown, the most important first."""

from collections.abc import Sequence

import numpy as np

from speechshap.data.wording import counted
from speechshap.evaluation import Mean
from speechshap.report.benchmark import BenchmarkSummary, Column

_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def markdown(summary: BenchmarkSummary) -> str:
    """The summary as text with tables."""
    parts = ["# Benchmark of explanations", _about(summary), *_model(summary), *_main(summary)]
    parts += [*_variants(summary), *_by_label(summary), *_agreement(summary)]
    return "\n\n".join(parts) + "\n"


def _about(summary: BenchmarkSummary) -> str:
    counts = [entry.num for entry in summary.entries if entry.column.metric == "seconds" and not entry.label]
    return (
        f"{counted(len(summary.methods), 'method')} on {counted(max(counts, default=0), 'explanation')} each. Means "
        "over utterances, with 95 % intervals over speakers in parentheses (bootstrap; too narrow where there are few "
        "speakers). ↑ higher is better, ↓ lower is better. What each metric shows, and what it does not: "
        "`speechshap benchmark --help`, and `docs/faithfulness.md`."
    )


def _model(summary: BenchmarkSummary) -> list[str]:
    evidence, rest = summary.about_model.get("evidence"), summary.about_model.get("rest")
    if evidence is None or rest is None or np.isnan(evidence.value):
        return []
    relies = "relies" if evidence.low > rest.high or evidence.low > rest.value else "is not shown to rely"
    return [
        "## Does the model rely on the known evidence?",
        f"The output falls by {number(evidence)} when the evidence is replaced by neutral speech of the same speaker, "
        f"and by {number(rest)} when as much of the rest is: the model {relies} on the evidence.",
    ]


def _main(summary: BenchmarkSummary) -> list[str]:
    columns = summary.main_columns()
    head = ["method", *(f"{column}{_ARROWS[column.better]}" for column in columns)]
    ranked, methods = summary.ranked_columns(), summary.best_first()
    rows = [[_code(method), *_cells(summary, method, columns)] for method in methods]
    ranks = [[_code(method), *(_rank(summary, method, column) for column in ranked)] for method in methods]
    return [
        "## Scores",
        table(head, rows),
        "## Ranks",
        table(["method", *map(str, ranked)], ranks),
    ]


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


def number(mean: Mean) -> str:
    """A mean with its interval; empty where there is none.

    Example:
        >>> number(Mean(0.9234, 0.88, 0.951)), number(Mean(12.3, float("nan"), float("nan")))
        ('0.92 (0.88 to 0.95)', '12.3')
    """
    if np.isnan(mean.value):
        return ""
    digits = max(2, max(0, 2 - int(np.floor(np.log10(abs(mean.value))))) if 0 < abs(mean.value) < 0.1 else 2)
    value = f"{mean.value:.3g}" if abs(mean.value) >= 10 else f"{mean.value:.{digits}f}"
    if np.isnan(mean.low):
        return value
    low, high = (f"{end:.3g}" if abs(mean.value) >= 10 else f"{end:.{digits}f}" for end in (mean.low, mean.high))
    return value if low == high == value else f"{value} ({low} to {high})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table in Markdown.

    Example:
        >>> print(table(["a", "b"], [["1", "2|3"]]))
        | a | b |
        | --- | --- |
        | 1 | 2\|3 |
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"
