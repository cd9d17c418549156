import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from speechshap.errors import UserError
from speechshap.evaluation import mean_with_interval
from speechshap.report.benchmark import BenchmarkSummary, Column
from speechshap.report.benchmark_report import write_benchmark
from speechshap.report.benchmark_text import markdown
from speechshap.results.parts import PartsWriter, Row
from speechshap.results.scores import SCHEMA, ScoresFolder

TRUTH, DELETION = Column("auc", "signed 180 ms"), Column("deletion", "noise")


def row(utterance: str, method: str, column: Column, value: float | None, **others: object) -> Row:
    return {
        **dict.fromkeys(SCHEMA.names),
        "utterance": utterance,
        "label": "happy" if int(utterance) % 2 else "sad",
        "speaker": f"speaker {int(utterance) // 2}",
        "target": "happy",
        "model": "m",
        "checkpoint": "demo/version_0",
        "method": method,
        "metric": column.metric,
        "variant": column.variant,
        "value": value,
        "fingerprint": f"{method}{utterance}",
        **others,
    }


def scores(means: dict[str, float], column: Column, seed: int = 0) -> Iterable[Row]:
    generator = np.random.default_rng(seed)
    for method, mean in means.items():
        for number in range(8):
            yield row(str(number), method, column, mean + generator.normal(0, 0.01))


def write(folder: Path, rows: Iterable[Row]) -> ScoresFolder:
    with PartsWriter(ScoresFolder(folder)) as writer:
        writer.write_rows(list(rows))
    return ScoresFolder(folder)


def test_means_intervals_and_ranks() -> None:
    rows = [
        *scores({"good": 0.9, "fair": 0.7, "random": 0.5}, TRUTH),
        *scores({"good": -3.0, "fair": -1.0, "random": 0.0}, DELETION),
    ]
    summary = BenchmarkSummary(rows)
    entry = summary.entry("good", TRUTH)
    own = [each for each in rows if each["method"] == "good" and each["metric"] == "auc"]
    assert entry is not None
    assert entry.mean == mean_with_interval(np.array([r["value"] for r in own]), [r["speaker"] for r in own])
    assert entry.num == 8
    for column in (TRUTH, DELETION):  # where lower is better, too
        assert [summary.entry(method, column).rank for method in ("good", "fair", "random")] == [1, 2, 3]
    assert summary.best_first() == ["good", "fair", "random"]
    assert summary.labels == ["happy", "sad"]
    assert summary.entry("good", TRUTH, "happy").num == 4


def test_a_score_that_says_nothing_is_left_out() -> None:
    summary = BenchmarkSummary([row("0", "a", TRUTH, None), row("1", "a", TRUTH, 0.5), row("2", "b", TRUTH, None)])
    assert summary.entry("a", TRUTH).mean.value == 0.5
    assert summary.entry("a", TRUTH).num == 1
    assert summary.entry("b", TRUTH).rank is None


def test_explanations_are_judged_by_evidence_that_the_model_relies_on() -> None:
    falls = [("0", 3.0, 1.0), ("1", 1.0, 1.5), ("2", -0.5, -1.0)]
    rows = [
        row(name, "", Column("reliance", variant), value, fingerprint=name)
        for name, *values in falls
        for variant, value in zip(("evidence", "rest"), values, strict=True)
    ]
    rows += [row(name, "a", TRUTH, value) for name, value in (("0", 0.9), ("1", 0.1), ("2", 0.1), ("3", 0.7))]
    rows += [row(name, "a", DELETION, 1.0) for name in "0123"]
    summary = BenchmarkSummary(rows)
    assert summary.unreliant == ["1", "2"]
    assert summary.entry("a", TRUTH).mean.value == pytest.approx(0.8)  # of 3 it is not known
    assert summary.entry("a", DELETION).num == 4
    assert "It does not rely on that of 2 utterances" in markdown(summary)


def test_metrics_agree_as_scipy_says() -> None:
    truth = {"a": 0.9, "b": 0.8, "c": 0.6, "d": 0.5}
    deletion = {"a": 0.5, "b": 1.0, "c": 0.7, "d": 2.0}
    summary = BenchmarkSummary([*scores(truth, TRUTH), *scores(deletion, DELETION)])
    expected = spearmanr(list(truth.values()), [-value for value in deletion.values()]).statistic
    assert summary.metric_agreement()[TRUTH, DELETION] == pytest.approx(expected)


def test_explanations_of_several_checkpoints_are_compared() -> None:
    column = Column("attribution", "")
    rows = [row("0", "a", column, None, model=model, frames=frames, fingerprint=model)
            for model, frames in (("m", [1.0, 2, 3]), ("n", [1.0, 2, 3]), ("o", [3.0, 2, 1]))]  # fmt: skip
    agreement = BenchmarkSummary(rows).entry("a", Column("training_agreement", ""))
    assert agreement is not None
    assert agreement.mean.value == pytest.approx((1 - 1 - 1) / 3)


def test_tables_say_what_is_better_and_whether_the_model_relies_on_the_evidence() -> None:
    about_model = Column("reliance", "evidence"), Column("reliance", "rest")
    rows = [*scores({"good": 0.9, "random": 0.5}, TRUTH), *scores({"": 4.0}, about_model[0])]
    text = markdown(BenchmarkSummary([*rows, *scores({"": 0.5}, about_model[1])]))
    assert "the model relies on the evidence" in text
    assert "| method   | auc (signed 180 ms) ↑ |" in text
    assert text.index("| `good`   | 0.9") < text.index("| `random` | 0.")
    assert "is not shown to rely" in markdown(BenchmarkSummary([*rows, *scores({"": 4.5}, about_model[1])]))


def test_the_csv_has_every_mean() -> None:
    summary = BenchmarkSummary([*scores({"a(b=c, d=2)": 0.9, "random": 0.5}, TRUTH)])
    lines = list(csv.DictReader(io.StringIO(summary.csv())))
    assert len(lines) == 2 * 3
    first = lines[0]
    assert (first["method"], first["metric"], first["variant"], first["label"]) == ("a(b=c, d=2)", *TRUTH, "")
    assert float(first["value"]) == pytest.approx(summary.entry("a(b=c, d=2)", TRUTH).mean.value, rel=1e-5)
    assert (first["better"], first["rank"], first["count"]) == ("higher", "1", "8")


def test_the_files_of_a_benchmark(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = write(tmp_path / "scores", scores({"good": 0.9, "random": 0.5}, TRUTH))
    for _ in range(2):  # a second time in place of the first
        assert write_benchmark(folder, tmp_path).methods == ["good", "random"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "scores",
        "table.md",
        "table.csv",
        "figure.png",
        "tensorboard",
    }
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["benchmark/figure"]
    assert events.Tags()["scalars"] == []
    (event,) = events.Tensors("benchmark/table/text_summary")
    assert event.tensor_proto.string_val[0].decode() == (tmp_path / "table.md").read_text(encoding="utf-8")


def test_without_scores_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no scores"):
        write_benchmark(ScoresFolder(tmp_path / "scores"), tmp_path)


def test_the_table_tells_what_was_judged_and_what_its_columns_show() -> None:
    facts = {"material": "the test split of demo, against neutral", "checkpoint": "demo/version_0"}
    cost = Column("seconds", "")
    rows = [row(str(number), method, column, 0.5, **facts)
            for method in ("good", "random") for column in (TRUTH, DELETION, cost) for number in range(4)]  # fmt: skip
    text = markdown(BenchmarkSummary(rows))
    about = text[: text.index("## Scores")]
    for line in (
        "- judged: the test split of demo, against neutral",
        "- checkpoints: demo/version_0",
        "- methods: 2, with 4 explanations each",
        "- utterances: 4 of 2 known speakers",
        "- frames replaced by: noise",
    ):
        assert line in about
    legend = text[text.index("## What the columns show") :]
    assert "- `auc` ↑: how often a frame of the known evidence outranks" in legend
    assert "- `deletion` ↓: " in legend
    assert "- `seconds` ↓: time of an explanation" in legend
    groups = ["### Is the known evidence found?", "### Does the output follow?", "### Stability and cost"]
    assert sorted(groups, key=text.index) == groups
    fewer = markdown(BenchmarkSummary(rows[:-1]))
    assert "- methods: 2, with 3 to 4 explanations each" in fewer
    assert "- not all methods were judged on the same utterances" in fewer


def test_one_speaker_has_means_without_intervals() -> None:
    text = markdown(BenchmarkSummary([row("0", "good", TRUTH, 0.9), row("1", "good", TRUTH, 0.7)]))
    assert "with no intervals, as there is one speaker" in text
    assert "| `good` | 0.80" in text


def test_a_column_without_any_number_is_left_out() -> None:
    rows = [row("0", "a", TRUTH, 0.5), row("0", "a", Column("time_frequency_auc", "signed"), None)]
    assert [column.metric for column in BenchmarkSummary(rows).columns] == ["auc"]


def test_scores_of_something_else_are_not_in_the_table(tmp_path: Path) -> None:
    own = [row(str(number), "good", TRUTH, 0.9, material="test") for number in range(4)]
    others = [row(str(number), "bad", TRUTH, 0.1, material="train", fingerprint="b") for number in range(4)]
    write_benchmark(write(tmp_path / "scores", [*own, *others]), tmp_path, "test")
    text = (tmp_path / "table.md").read_text()
    assert "`good`" in text
    assert "`bad`" not in text


def test_what_is_known_of_the_model_alone_is_no_score(tmp_path: Path) -> None:
    rows = [row("0", "", Column("reliance", "evidence"), 1.0)]
    with pytest.raises(UserError, match="has no scores"):
        write_benchmark(write(tmp_path / "scores", rows), tmp_path)
