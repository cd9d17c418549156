"""Judging methods on a batch: what is written, what fails, and what is computed a second time."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation.bursts import CLASSES, Listener, bursts
from torch import Tensor

from speechshap.attribution import Attribution, Evaluator, parse_methods
from speechshap.attribution.methods import energy, gradient_x_input
from speechshap.data import Batch, Utterance
from speechshap.data.dataset import Example, collate
from speechshap.errors import UserError
from speechshap.evaluation.metrics import METRICS
from speechshap.explaining.benchmark import Benchmark, Clip
from speechshap.results.parts import PartsWriter, Row
from speechshap.results.scores import ScoresFolder

METHODS = "gradient_x_input, energy, random"


class Counting(Listener):
    """Counts the waveforms that it hears."""

    num_heard = 0

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        self.num_heard += len(waveforms)
        return super().forward(waveforms, lengths)


@pytest.fixture
def model() -> Counting:
    torch.manual_seed(0)
    return Counting().eval()


@pytest.fixture(scope="module")
def material() -> tuple[Batch, list[Clip]]:
    """Four clips of two speakers: neutral, low, high, neutral."""
    drawn = bursts(4, seed=0)
    neutral = bursts(2, seed=1, classes=(0,)).waveforms
    examples, clips = [], []
    for number, (waveform, label) in enumerate(zip(drawn.waveforms, drawn.labels.tolist(), strict=True)):
        own = Utterance(
            f"{number}.wav", Path(f"{number}.wav"), CLASSES[label], f"speaker {number % 2}",
            stretches=tuple(drawn.stretches[number]),
        )  # fmt: skip
        examples.append(Example(waveform, label, own))
        clips.append(Clip(own, None, neutral))
    return collate(examples), clips


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[PartsWriter]:
    with PartsWriter(ScoresFolder(tmp_path)) as own:
        yield own


def judge(
    model: Listener, clips: tuple[Batch, list[Clip]], writer: PartsWriter, methods: str = METHODS,
    metrics: str = "deletion, auc", **options: Any,
) -> Benchmark:  # fmt: skip
    options = {"against": "neutral", "operators": {"clips": clips[1][0].neutral}, **options}
    names = [name.strip() for name in metrics.split(",")]
    own = Benchmark(model, parse_methods(methods), names, writer, "demo/version_0", **options)
    own.judge(*clips)
    return own


def rows(writer: PartsWriter, **wanted: str) -> list[Row]:
    return writer.results.rows(**wanted)


def test_a_row_for_each_method_metric_variant_and_utterance(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    judge(model, material, writer, material="the test split of bursts")
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows(writer):
        found[row["method"], row["metric"]].append(row)
    metrics = {"attribution": 1, "seconds": 1, "evaluations": 1, "deletion": 3, "auc": 6}
    expected = {(method, metric): 4 * count for method in METHODS.split(", ") for metric, count in metrics.items()}
    assert {key: len(own) for key, own in found.items()} == {**expected, ("", "reliance"): 4 * 3}
    own = found["energy", "deletion"]
    assert {row["variant"] for row in own} == {"silence", "noise", "clips"}
    first = next(row for row in own if row["utterance"] == "1.wav")
    told = ("label", "speaker", "target", "against", "checkpoint", "material")
    assert [first[name] for name in told] == [
        "low", "speaker 1", "low", "neutral", "demo/version_0", "the test split of bursts"
    ]  # fmt: skip
    # What is subtracted from a neutral clip's own class is the strongest other one.
    (neutral,) = [row for row in found["energy", "evaluations"] if row["utterance"] == "0.wav"]
    assert (neutral["target"], neutral["against"] in ("low", "high")) == ("neutral", True)
    # Where the evidence is not known there is no value, but a row, so that nothing is computed again.
    assert all((row["value"] is None) == (row["label"] == "neutral") for row in found["energy", "auc"])
    frames = next(row["frames"] for row in found["energy", "attribution"])
    assert len(frames) == Listener.grid.num_frames(material[0].waveforms.shape[1])


def test_values_are_those_of_the_metric_for_the_utterance_alone(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, tmp_path: Path
) -> None:
    batch, clips = material
    judge(model, material, writer)
    alone = Batch(*(part[1:2] for part in batch))
    with PartsWriter(ScoresFolder(tmp_path / "alone")) as other:
        judge(model, (alone, clips[1:2]), other)
        expected = {(row["method"], row["metric"], row["variant"]): row["value"] for row in rows(other)}
    for row in rows(writer, utterance="1.wav"):
        if row["value"] is not None and row["metric"] != "seconds":
            assert row["value"] == pytest.approx(expected[row["method"], row["metric"], row["variant"]], abs=1e-4)


def test_a_second_run_computes_nothing(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    judge(model, material, writer, "occlusion, random", ", ".join(METRICS))
    before, heard = len(rows(writer)), model.num_heard
    judge(model, material, writer, "occlusion, random", ", ".join(METRICS))
    assert len(rows(writer)) == before
    assert model.num_heard - heard == len(material[0].ids)  # which class is the strongest other one


def test_one_that_was_killed_between_methods_goes_on_there(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain = energy.METHOD.explain

    def interrupted(*arguments: Any) -> Attribution:
        raise KeyboardInterrupt

    monkeypatch.setattr(energy, "METHOD", energy.METHOD._replace(explain=interrupted))
    with pytest.raises(KeyboardInterrupt):
        judge(model, material, writer)
    assert {row["method"] for row in rows(writer)} == {"", "gradient_x_input"}
    monkeypatch.setattr(energy, "METHOD", energy.METHOD._replace(explain=explain))
    monkeypatch.setattr(gradient_x_input, "METHOD", gradient_x_input.METHOD._replace(explain=interrupted))
    judge(model, material, writer)
    assert {row["method"] for row in rows(writer)} == {"", "gradient_x_input", "energy", "random"}


def test_what_is_asked_for_later_is_all_that_is_computed(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(model, material, writer, "occlusion", "sparseness")
    before = {(row["utterance"], row["fingerprint"], row["metric"], row["variant"]) for row in rows(writer)}
    judge(model, material, writer, "occlusion, random", "sparseness, deletion")  # a metric, and a method
    after = rows(writer)
    keys = {(row["utterance"], row["fingerprint"], row["metric"], row["variant"]) for row in after}
    assert before < keys
    assert len(after) == len(keys)
    judge(model, material, writer, "random", "sparseness", against=None)  # another target
    assert {row["against"] for row in rows(writer, method="random")} >= {"neutral", None}
    # Nothing that is there already is computed for a metric that is new.
    forbidden = METRICS["deletion"]._replace(compute=lambda judged: pytest.fail("computed again"))
    monkeypatch.setitem(METRICS, "deletion", forbidden)
    judge(model, material, writer, "occlusion, random", "deletion, insertion")
    assert len(rows(writer, metric="insertion")) == 2 * 4 * 3


@pytest.mark.parametrize("other", [{"operators": {"clips": torch.ones(1, 800)}}, {"material": "another split"}])
def test_other_clips_or_another_split_have_scores_of_their_own(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, other: dict[str, Any]
) -> None:
    judge(model, material, writer, "random", "deletion")
    before = len(rows(writer))
    judge(model, material, writer, "random", "deletion", **other)
    assert len(rows(writer)) == 2 * before


def test_an_utterance_that_a_method_fails_on_costs_that_method_alone(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    explain = energy.METHOD.explain

    def failing(evaluator: Evaluator, *arguments: Any) -> Attribution:
        found = explain(evaluator, *arguments)
        if "2.wav" in evaluator.ids:
            found.frames[evaluator.ids.index("2.wav")] = torch.nan
        return found

    monkeypatch.setattr(energy, "METHOD", energy.METHOD._replace(explain=failing))
    done: list[int] = []
    own = judge(model, material, writer, progress=done.append)
    assert own.failed == {("energy", "2.wav"): "an attribution of 2.wav is not finite"}
    assert "2.wav is left out of energy: an attribution of 2.wav is not finite" in caplog.text
    judged = {method: {row["utterance"] for row in rows(writer, method=method)} for method in METHODS.split(", ")}
    assert judged["energy"] == {"0.wav", "1.wav", "3.wav"}
    assert judged["random"] == judged["gradient_x_input"] == set(material[0].ids)
    assert sum(done) == 3 * 4  # the bar comes to its end


def test_an_utterance_that_is_too_short_or_not_finite_is_left_out(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    batch, clips = material
    waveforms = batch.waveforms.clone()
    waveforms[0, 100] = torch.inf
    lengths = torch.tensor([12800, 300, 12800, 12800])
    own = judge(model, (batch._replace(waveforms=waveforms, lengths=lengths), clips), writer)
    assert set(own.failed) == {("", "0.wav"), ("", "1.wav")}
    assert {row["utterance"] for row in rows(writer)} == {"2.wav", "3.wav"}


def test_evidence_beyond_the_end_costs_its_utterance(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    batch, clips = material
    lengths = torch.tensor([12800, 3300, 12800, 12800])
    shorter = Batch(batch.waveforms[1:2, :3300], lengths[1:2], *(part[1:2] for part in batch[2:]))
    own = judge(model, (shorter, clips[1:2]), writer)
    assert "1.wav: a stretch ends at" in own.failed["", "1.wav"]
    assert rows(writer) == []


def test_some_utterances_are_explained_again(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    judge(model, material, writer, "occlusion", "sparseness, seed_agreement", again=frozenset({"1.wav"}))
    utterances = {metric: {row["utterance"] for row in rows(writer, metric=metric)}
                  for metric in ("sparseness", "seed_agreement")}  # fmt: skip
    assert utterances == {"sparseness": set(material[0].ids), "seed_agreement": {"1.wav"}}
    before = len(rows(writer))
    judge(model, material, writer, "occlusion", "sparseness, seed_agreement")  # all of them
    assert len(rows(writer)) == before + 3 * 3  # three variants of the one metric


def test_several_checkpoints_share_a_folder(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    judge(model, material, writer)
    torch.manual_seed(1)
    judge(Listener().eval(), material, writer)
    attributions = rows(writer, metric="attribution", method="gradient_x_input", utterance="1.wav")
    assert len({row["model"] for row in attributions}) == len(attributions) == 2


def test_a_method_that_does_not_fit_the_model_is_left_out(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, caplog: pytest.LogCaptureFixture
) -> None:
    judge(model, material, writer, "attention_rollout, random")
    assert "attention_rollout is left out: `method` is attention_rollout, which cannot explain" in caplog.text
    assert {row["method"] for row in rows(writer)} == {"", "random"}
    with pytest.raises(UserError, match="none of the `methods` can explain this model"):
        judge(model, material, writer, "attention_rollout")


def test_a_method_that_gives_up_later_is_left_out_then(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def give_up(*arguments: Any) -> Attribution:
        raise UserError("a part is called twice")

    monkeypatch.setattr(energy, "METHOD", energy.METHOD._replace(explain=give_up))
    own = judge(model, material, writer)
    own.judge(*material)  # asks it no more
    assert caplog.text.count("energy is left out: a part is called twice") == 1
    assert {row["method"] for row in rows(writer)} == {"", "gradient_x_input", "random"}
    with pytest.raises(UserError, match="none of the `methods`"):
        judge(model, material, writer, "energy")


def test_a_model_that_cannot_be_judged_is_refused(
    model: Counting, material: tuple[Batch, list[Clip]], writer: PartsWriter
) -> None:
    with pytest.raises(UserError, match=r"`against` is 'bored'; expected none or one of neutral, low, high"):
        judge(model, material, writer, against="bored")
    model.is_regression = True
    with pytest.raises(UserError, match="explanations of classes by their names, and this model has none"):
        judge(model, material, writer)
