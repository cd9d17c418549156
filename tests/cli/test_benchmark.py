"""``speechshap benchmark`` as it is typed."""

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from families import family_config
from helpers import full_from, unmeasured, write_sound
from jsonargparse import ArgumentError

from speechshap.attribution.methods import energy
from speechshap.cli.benchmark import benchmark
from speechshap.cli.program import run
from speechshap.data.corpora import NAMING_RULES
from speechshap.errors import UserError
from speechshap.training import EmotionModule

pytestmark = pytest.mark.slow

METHODS = "gradient_x_input, energy, random"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(tiny_checkpoint: Path, planted_root: Path) -> list[str]:
    return [
        "--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.max_utterances", "4",
        "--benchmark.methods", METHODS, "--benchmark.metrics", "auc, deletion", "--benchmark.output_dir", "out",
        "--data.batch_size", "2", "--trainer.accelerator", "cpu",
    ]  # fmt: skip


def saved(folder: Path, classes: list[str]) -> Path:
    """A checkpoint of a tiny model of these classes that was trained on nothing."""
    module = EmotionModule(classes, backbone_config=family_config("wavlm"))
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    path = folder / "checkpoints" / "best.ckpt"
    trainer.save_checkpoint(path)
    return path


def told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The sentence that a command ends with."""
    with pytest.raises(SystemExit) as exit_:
        run(benchmark, arguments=arguments)
    assert isinstance(exit_.value.code, str)
    assert "\n" not in exit_.value.code
    return exit_.value.code


def scores(folder: Path = Path("out")) -> pd.DataFrame:
    return pd.read_parquet(sorted((folder / "scores").glob("part-*.parquet")))


def test_the_tables_and_what_is_in_them(command: list[str]) -> None:
    benchmark(command)
    text = Path("out", "table.md").read_text()
    assert "- judged: the test split of planted" in text
    assert "- utterances: 4 of " in text
    assert "- methods: 3, with 4 explanations each" in text
    assert "- `deletion` ↓: " in text
    assert "no explanation can be judged by it" in text  # an untrained model relies on no evidence
    assert text.index("## Scores") < text.index("## What the columns show") < text.index("## By label")
    lines = list(csv.DictReader(Path("out", "table.csv").read_text().splitlines()))
    assert {line["method"] for line in lines} == set(METHODS.split(", "))
    assert {line["metric"] for line in lines} == {"deletion", "seconds", "evaluations"}
    assert Path("out", "figure.png").read_bytes().startswith(b"\x89PNG")
    assert list(Path("out", "tensorboard").glob("events.*"))
    assert set(Path().iterdir()) == {Path("out")}  # nothing is left in the working folder


def test_the_same_command_again_computes_nothing_and_another_method_is_added(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark(command)
    before = len(scores())
    forbidden = energy.METHOD._replace(explain=lambda *arguments: pytest.fail("computed again"))
    monkeypatch.setattr(energy, "METHOD", forbidden)
    benchmark(command)
    assert len(scores()) == before
    benchmark([*command, "--benchmark.methods", "energy, saliency"])
    assert len(scores()) == before + before // 3 - 4  # all but what is said of the model
    assert "`saliency`" in Path("out", "table.md").read_text()


def test_the_results_go_to_the_run_and_the_split_is_named(
    command: list[str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "runs" / "demo" / "version_0" / "checkpoints" / "best.ckpt"
    copy.parent.mkdir(parents=True)
    shutil.copy(tiny_checkpoint, copy)
    place = command.index("--benchmark.output_dir")
    own = ["--ckpt_path", str(copy.parents[1]), *command[2:place], *command[place + 2 :]]
    benchmark([*own, "--data.predict_split", "train"])
    text = (copy.parents[1] / "benchmark" / "table.md").read_text()
    assert "- judged: the train split of planted" in text
    assert "test" not in text
    assert "- checkpoints: demo/version_0" in text
    benchmark(own)
    text = (copy.parents[1] / "benchmark" / "table.md").read_text()
    assert "- judged: the test split of planted" in text
    assert "- utterances: 4 of" in text  # those of the training split are in the folder, and not in the table


def test_several_checkpoints_are_compared(command: list[str], tiny_checkpoint: Path, tmp_path: Path) -> None:
    classes = torch.load(tiny_checkpoint, weights_only=True)["hyper_parameters"]["classes"]
    torch.manual_seed(5)
    other = saved(tmp_path / "runs" / "other", classes)
    benchmark(["--ckpt_path", str(tiny_checkpoint), str(other), *command[2:]])
    assert "training_agreement" in Path("out", "table.md").read_text()


def test_all_metrics(command: list[str]) -> None:
    benchmark([*command, "--benchmark.metrics", "all", "--benchmark.again", "2", "--benchmark.methods", "random"])
    table = scores()
    again = table[table.metric == "randomization"]
    assert again.utterance.nunique() == 2
    assert table[table.metric == "deletion"].utterance.nunique() == 4


def test_without_known_evidence(tiny_checkpoint: Path, command: list[str], capsys: Any, caplog: Any) -> None:
    classes = torch.load(tiny_checkpoint, weights_only=True)["hyper_parameters"]["classes"]
    for place, label in enumerate(4 * classes):
        write_sound(Path("corpus", label, f"{place}.wav"), seconds=0.4, seed=place)
    own = [*command, "--data.root", "corpus", "--data.split_by", "utterance", "--data.predict_split", "all"]
    assert "--benchmark.metrics: auc: the evidence of no utterance is known" in told(capsys, own)
    assert not Path("out").exists()
    default = [*own, "--benchmark.metrics", "default", "--benchmark.against", "none"]
    benchmark([*default, "--data.val_fraction", "0.3", "--data.test_fraction", "0.3"])
    assert "the evidence of no utterance is known; left out: auc, pointing, mass, precision" in caplog.text
    text = Path("out", "table.md").read_text()
    assert "deletion" in text
    assert "auc" not in text.replace("with `auc`", "")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus whose files are named as those of RAVDESS, and a checkpoint of its classes."""
    from data.test_splicing import voice

    root = tmp_path_factory.mktemp("spoken") / "RAVDESS"
    for actor in (1, 2, 3):
        for emotion, pitch in (("01", 100), ("03", 180)):
            path = root / f"Actor_{actor:02d}" / f"03-01-{emotion}-01-01-01-{actor:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(pitch + 10 * actor), 16000)
    return root, saved(root.parent / "run", NAMING_RULES["ravdess"].classes)


def of_spoken(spoken: tuple[Path, Path], *options: str) -> list[str]:
    return [
        "--ckpt_path", str(spoken[1]), "--data.root", str(spoken[0]), "--data.val_speakers", "[2]",
        "--data.test_speakers", "[3]", "--benchmark.methods", "random, energy", "--benchmark.metrics", "auc",
        "--benchmark.output_dir", "out", "--trainer.accelerator", "cpu", *options,
    ]  # fmt: skip


def test_spliced_speech(spoken: tuple[Path, Path]) -> None:
    for speech, words in (
        ("spliced", "spliced, against"),
        ("spliced_level", "spliced at the level of what it replaces, against"),
    ):
        benchmark(of_spoken(spoken, "--benchmark.speech", speech))
        text = Path("out", "table.md").read_text()
        assert f"- judged: the test split of RAVDESS, {words} neutral" in text
        assert "- utterances: 1 of 1 known speaker" in text
        assert "no intervals, as there is one speaker" in text
        assert "Does the model rely on the known evidence?" in text
    table = scores()
    assert set(table.label) == {"happy"}
    assert set(table.speaker) == {"Actor_03"}
    assert np.isfinite(table[table.metric == "auc"].value).all()


def test_speech_that_cannot_be_spliced(command: list[str], spoken: tuple[Path, Path], capsys: Any) -> None:
    message = told(capsys, of_spoken(spoken, "--benchmark.speech", "spliced", "--benchmark.against", "calm"))
    assert "--benchmark.speech spliced needs calm speech, and the labels are happy, neutral" in message
    assert "--benchmark.against" in message
    assert "no sentence is known" in told(
        capsys, [*command, "--benchmark.speech", "spliced", "--benchmark.against", "sad"]
    )
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--benchmark.methods", "oclusion"], "--benchmark.methods: there is no method 'oclusion'; did you mean occl"),
        (["--benchmark.methods", "occlusion(n_drawz=4)"], "occlusion has no setting 'n_drawz'"),
        (["--benchmark.metrics", "auk"], "--benchmark.metrics is 'auk'; expected all, default, auc"),
        (["--benchmark.against", "bored"], "--benchmark.against is 'bored'; expected none or one of neutral, angry"),
        (["--benchmark.speech", "sung"], "--benchmark.speech is sung; expected recordings, spliced or spliced_level"),
        (["--benchmark.again", "-1"], "--benchmark.again is -1; expected 0 at least"),
        (["--benchmark.method", "random"], "did you mean --benchmark.methods?"),
        (["--data.root", "nowhere"], "nowhere: no such folder; give that of the corpus with --data.root"),
        (["--ckpt_path", "nowhere"], "--ckpt_path: no file nowhere"),
        (
            ["--benchmark.methods", "deep_lift, attention_rollout(seed=1)", "--trainer.accelerator", "tpx"],
            "accelerator",
        ),
        (["--benchmark.methods", "occlusion(baselines=dataset:bored)"], "no training recording is labelled 'bored'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(command: list[str], capsys: Any, options: list[str], words: str) -> None:
    assert words in told(capsys, [*command, *options])


def test_a_run_without_checkpoints(command: list[str], capsys: Any) -> None:
    Path("runs", "demo", "version_0", "checkpoints").mkdir(parents=True)
    assert "has no checkpoints/best.ckpt" in told(capsys, ["--ckpt_path", "runs/demo/version_0", *command[2:]])


def test_checkpoints_of_other_classes(command: list[str], tiny_checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    other = saved(tmp_path / "other", ["no", "yes"])
    message = told(capsys, ["--ckpt_path", str(tiny_checkpoint), str(other), *command[2:]])
    assert "are no, yes, and those of the first checkpoint neutral, angry, " in message


def test_methods_that_do_not_fit_the_model(command: list[str], capsys: Any, caplog: Any) -> None:
    benchmark([*command, "--benchmark.methods", "deep_lift, random"])
    assert "deep_lift is left out" in caplog.text
    assert set(scores().method) == {"", "random"}
    assert "none of the --benchmark.methods can explain this model" in told(
        capsys, [*command, "--benchmark.methods", "deep_lift"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_is_judged(
    command: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole, explain, done = [*command, "--benchmark.output_dir", "whole"], energy.METHOD.explain, []
    benchmark(whole)

    def interrupt(*arguments: Any) -> Any:
        done.append(arguments)
        if len(done) == 2:
            os.kill(os.getpid(), number)
        return explain(*arguments)

    monkeypatch.setattr(energy, "METHOD", energy.METHOD._replace(explain=interrupt))
    assert told(capsys, command) == "interrupted"
    before = scores()
    assert 0 < len(before) < len(scores(Path("whole")))
    benchmark(command)
    key = ["utterance", "fingerprint", "metric", "variant"]
    after, expected = (table.sort_values(key).reset_index(drop=True) for table in (scores(), scores(Path("whole"))))
    assert after[key].equals(expected[key])
    assert not after.duplicated(key).any()


def test_a_full_disk_is_told_and_leaves_whole_parts(command: list[str], capsys: Any) -> None:
    benchmark([*command, "--data.max_utterances", "3"])
    before = len(scores())
    pid = os.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update(unmeasured())
        status = 1
        try:
            with full_from(4000):
                run(benchmark, arguments=command)
        except SystemExit as exit_:
            Path("told.txt").touch()
            status = 7 if "cannot be written" in str(exit_.code) else 8
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert len(scores()) >= before
    assert not list(Path("out").rglob("*.partial"))
    benchmark(command)
    assert scores().utterance.nunique() >= 4  # the two that were drawn at first may be others


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark(["--help"])
    text = capsys.readouterr().out
    assert '--benchmark.methods "gradient_shap(n_samples=64), occlusion, random"' in text
    assert "How Lightning's trainer predicts" in text
    assert "``" not in text
    assert "those that tell a right explanation from a wrong one" in " ".join(text.split())


def test_options_that_are_missing_are_named() -> None:
    with pytest.raises(ArgumentError, match="ckpt_path"):
        benchmark(["--benchmark.methods", "random"])


def test_a_mistake_below_is_one_of_the_user(command: list[str]) -> None:
    with pytest.raises(UserError, match=r"^--benchmark\.methods: "):
        benchmark([*command, "--benchmark.methods", "occlusion("])
