"""Training from the command line: interrupted, resumed, diverged, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers import tiny_config, unmeasured, write_sound
from sklearn.metrics import balanced_accuracy_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from speechshap.cli.explain import explain
from speechshap.cli.train import train
from speechshap.data.augmentation import Augmentation
from speechshap.data.manifests import read_manifest
from speechshap.data.splits import Splits
from speechshap.errors import UserError
from speechshap.training import AudioDataModule, EmotionModule

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
RUN = Path("runs/tiny/version_0")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # which a run sets, is restored


@pytest.fixture
def config(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Configuration of a tiny training with all kinds of random numbers."""
    backbone = tiny_config(
        do_normalize=True, apply_spec_augment=True, mask_time_prob=0.3, mask_time_length=2, layerdrop=0.2,
        hidden_dropout=0.1,
    )  # fmt: skip
    options = {
        "data": {"root": str(planted_root), "corpus": "planted", "batch_size": 4},
        "model": {"freeze": "none", "backbone_config": backbone},
        "trainer": {
            "max_epochs": 3, "accelerator": "cpu", "logger": {"init_args": {"name": "tiny"}},
            "accumulate_grad_batches": 2, "enable_progress_bar": False, "enable_model_summary": False,
        },
    }  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(options))
    return str(path)


def fit(config: str, *arguments: object) -> None:
    train(["fit", "--config", config, *map(str, arguments)])


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def assert_equal(one: Any, other: Any) -> None:
    """Equality of all that is nested in a checkpoint, bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


KILLED = """
import os, signal, sys
from speechshap.cli.train import train
from speechshap.training import EpochSeed
def die(self, trainer, module, data, number):
    if (trainer.current_epoch, number) == (1, int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGKILL)
EpochSeed.on_train_batch_start = die
train(["fit", "--config", sys.argv[2]])
"""


@pytest.mark.parametrize("batch", [0, 3])
def test_a_training_that_was_killed_and_resumed_equals_an_undisturbed_one(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "undisturbed")
    fit(config)
    monkeypatch.chdir(tmp_path / "killed")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(batch), config], check=False, capture_output=True)
    assert killed.returncode == -9
    assert content(RUN / "checkpoints" / "last.ckpt")["epoch"] == 0
    assert not (RUN / "MODEL_CARD.md").exists()
    fit(config, "--ckpt_path", RUN)
    assert [path.name for path in Path("runs/tiny").iterdir()] == ["version_0"]
    cards = [(tmp_path / run / RUN / "MODEL_CARD.md").read_text() for run in ("undisturbed", "killed")]
    assert cards[0] == cards[1]
    for name in ("last", "best"):
        one, other = (content(tmp_path / run / RUN / f"checkpoints/{name}.ckpt") for run in ("undisturbed", "killed"))
        assert_equal(one, other)
    curves = [EventAccumulator(str(tmp_path / run / RUN)).Reload() for run in ("undisturbed", "killed")]
    for tag in ("val/uar", "val/uar_best", "val/loss", "train/loss"):
        one, other = ([(event.step, event.value) for event in curve.Scalars(tag)] for curve in curves)
        assert one == other
    assert [image.step for image in curves[1].Images("val/confusion_matrix")] == [3, 7, 11]


def noisy(waveform: Tensor) -> Tensor:
    """Augmentation that draws a random number."""
    return waveform + 0.1 * torch.randn_like(waveform)


@pytest.mark.parametrize(
    ("options", "workers_later"),
    [
        ({"transform": noisy}, 1),
        ({"augment": Augmentation(noise_snr=(5, 30), speed=(0.9, 1.1))}, 0),
    ],
    ids=["transform", "augment"],
)
def test_augmentation_in_worker_processes_is_that_of_an_undisturbed_training(
    planted_root: Path, tmp_path: Path, options: dict[str, Any], workers_later: int
) -> None:
    from speechshap.data import Batch
    from speechshap.training import AudioDataModule, EpochSeed

    def batches(epochs: int, checkpoint: Path | None, num_workers: int = 1) -> dict[tuple[int, int], float]:
        seen: dict[tuple[int, int], float] = {}

        class Watching(EmotionModule):
            def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
                seen[self.current_epoch, batch_idx] = float(batch.waveforms.double().sum())
                return super().training_step(batch, batch_idx)

        pl.seed_everything(0, workers=True)
        data = AudioDataModule(root=str(planted_root), corpus="planted", num_workers=num_workers, **options)
        module = Watching(data.classes, backbone_config=tiny_config())
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[EpochSeed()], limit_val_batches=0, logger=False, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return seen

    whole = batches(3, None)
    first = batches(1, None)
    resumed = batches(3, tmp_path / "1.ckpt", workers_later)
    assert {**first, **resumed} == whole
    assert len(set(whole.values())) == len(whole)


def test_a_resumed_run_keeps_the_best_so_far_though_it_is_newer_than_the_last(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    best, last = (RUN / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    checkpoint = content(best)
    (key,) = (key for key in checkpoint["callbacks"] if key.startswith("ModelCheckpoint") and "'val/uar'" in key)
    score = torch.tensor(0.99)
    state = checkpoint["callbacks"][key]
    state.update(best_model_score=score, kth_value=score, best_k_models=dict.fromkeys(state["best_k_models"], score))
    torch.save(checkpoint, best)
    before = best.read_bytes()
    fit(config, "--trainer.max_epochs", "2", "--ckpt_path", last)
    assert best.read_bytes() == before
    assert content(last)["callbacks"][key]["best_model_score"] == score
    fit(config, "--trainer.max_epochs", "3", "--ckpt_path", last, "--trainer.logger.init_args.name", "other")
    assert Path("runs/other/version_0/checkpoints/best.ckpt").read_bytes() == before


def test_a_run_is_continued_without_its_name(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    fit(config, "--ckpt_path", RUN, "--trainer.logger.init_args.name", "emotion", "--trainer.max_epochs", "2")
    assert [path.name for path in Path("runs").iterdir()] == ["tiny"]
    assert content(RUN / "checkpoints" / "last.ckpt")["epoch"] == 1


def test_the_configuration_of_a_resumed_run_starts_a_run_of_its_own(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    fit(config, "--ckpt_path", RUN, "--trainer.max_epochs", "2")
    for name in ("config.yaml", "config-2.yaml"):  # of the start, and of the training that goes on
        saved = yaml.safe_load((RUN / name).read_text())
        assert saved["ckpt_path"] is None
        assert saved["trainer"]["logger"]["init_args"]["version"] is None


def test_going_on_from_the_best_checkpoint_leaves_the_run_alone(config: str, caplog: pytest.LogCaptureFixture) -> None:
    fit(config, "--trainer.max_epochs", "1")
    last = RUN / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    with caplog.at_level("INFO", logger="speechshap"):
        fit(config, "--ckpt_path", RUN / "checkpoints" / "best.ckpt", "--trainer.max_epochs", "2")
    assert last.read_bytes() == before
    assert content(Path("runs/tiny/version_1/checkpoints/last.ckpt"))["epoch"] == 1
    assert "goes on in a new folder" in caplog.text


def test_a_training_that_diverges_ends_with_a_sentence_and_keeps_its_checkpoints(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    before = {path.name: path.read_bytes() for path in (RUN / "checkpoints").iterdir()}
    with pytest.raises(UserError, match=r"diverged: the (loss is nan|weights).*smaller --model.learning_rate"):
        fit(config, "--model.learning_rate", "1e6", "--trainer.logger.init_args.version", "version_0")
    assert {path.name: path.read_bytes() for path in (RUN / "checkpoints").iterdir()} == before


@pytest.mark.parametrize(
    "option", ["--trainer.logger=false", "--trainer.fast_dev_run=true", "--trainer.fast_dev_run=2"]
)
def test_what_leaves_no_file(config: str, option: str) -> None:
    fit(config, option, "--trainer.max_epochs", "1")
    assert not list(Path().iterdir())


def test_without_a_logger_checkpoints_go_to_a_folder_that_is_named(config: str) -> None:
    fit(config, "--trainer.logger=false", "--trainer.max_epochs", "1", "--trainer.default_root_dir", "out")
    names = sorted(str(path) for path in Path().rglob("*.*"))
    assert names == ["out/MODEL_CARD.md", "out/checkpoints/best.ckpt", "out/checkpoints/last.ckpt", "out/config.yaml",
                     "out/val_confusion_matrix.csv"]  # fmt: skip


def test_checkpoints_can_be_switched_off(config: str) -> None:
    fit(config, "--trainer.enable_checkpointing=false", "--trainer.max_epochs", "1")
    assert RUN.is_dir()
    assert not [*RUN.rglob("*.ckpt"), *RUN.rglob("*.md")]  # a card is about a checkpoint


def test_a_failed_start_leaves_no_run_folder(config: str) -> None:
    with pytest.raises(UserError, match="precision"):
        fit(config, "--trainer.precision", "16-true")
    assert not list(Path().iterdir())


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_a_failed_start_leaves_an_earlier_run_alone(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    before = files()
    with pytest.raises(UserError, match="precision"):
        fit(config, "--trainer.precision", "16-true", "--ckpt_path", RUN)
    assert files() == before


def test_a_failed_start_leaves_the_files_of_the_user_alone(config: str) -> None:
    Path("config.yaml").write_text("data: {on_bad_file: raise}")
    for name in ("hparams.yaml", "metrics.csv"):
        Path(name).write_text(f"the user's {name}")
    write_sound(Path("sounds/a/1.wav")).write_bytes(b"")
    write_sound(Path("sounds/b/1.wav"))
    before = files()
    with pytest.raises(UserError, match=r"1\.wav"):
        fit(config, "--config", "config.yaml", "--data.root", "sounds", "--data.corpus", "folder",
            "--data.split_by", "utterance", "--trainer.logger=false", "--trainer.default_root_dir", ".")  # fmt: skip
    after = files()
    assert "1.wav" in after.pop("skipped.csv").decode()
    assert after == before


def test_options_are_saved_beside_a_file_that_is_there(config: str) -> None:
    Path("out").mkdir()
    Path("out/config.yaml").write_text("trainer: {max_epochs: 1}")
    fit(config, "--config", "out/config.yaml", "--trainer.logger=false", "--trainer.default_root_dir", "out")
    assert Path("out/config.yaml").read_text() == "trainer: {max_epochs: 1}"
    assert yaml.safe_load(Path("out/config-2.yaml").read_text())["trainer"]["max_epochs"] == 1


def test_predictions_are_left_to_explaining() -> None:
    with pytest.raises(UserError, match=r"has no predict: .* --ckpt_path"):
        train(["predict"])


def test_a_run_folder_is_tested_with_its_best_checkpoint(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    fit(config, "--trainer.max_epochs", "1")
    (RUN / "checkpoints" / "last.ckpt").unlink()
    train(["test", "--config", config, "--ckpt_path", str(RUN), "--trainer.logger=false"])
    assert "test/uar" in capsys.readouterr().out


@pytest.mark.parametrize("named", [True, False], ids=["with its configuration", "by the run alone"])
def test_a_test_leaves_its_scores_in_the_run_that_is_tested(config: str, named: bool) -> None:
    fit(config, "--trainer.max_epochs", "1")
    before = (RUN / "config.yaml").read_bytes()
    train(["test", *(["--config", config] if named else []), "--ckpt_path", str(RUN)])
    assert [str(path) for path in Path("runs").glob("*/*") if path.is_dir()] == [str(RUN)]
    assert (RUN / "config.yaml").read_bytes() == before
    assert yaml.safe_load((RUN / "config-test.yaml").read_text())["ckpt_path"] == str(RUN / "checkpoints/best.ckpt")
    rows = pd.read_parquet(RUN / "test_predictions.parquet")
    scores = EventAccumulator(str(RUN)).Reload().Scalars("test/uar")
    assert scores[-1].value == pytest.approx(balanced_accuracy_score(rows.label, rows.prediction))
    assert "of 1 speaker: " in (RUN / "test_scores.md").read_text()
    card = (RUN / "MODEL_CARD.md").read_text()
    assert f"value: {scores[-1].value:.4f}".rstrip("0") in card
    assert f"speechshap train fit --config .../{Path(config).name} --trainer.max_epochs 1\n" in card


def test_a_test_of_another_experiment_has_a_folder_of_its_own(config: str) -> None:
    fit(config, "--trainer.max_epochs", "1")
    train(["test", "--config", config, "--ckpt_path", str(RUN), "--trainer.logger.init_args.name", "other"])
    assert Path("runs/other/version_0/test_predictions.parquet").is_file()
    assert not (RUN / "test_predictions.parquet").exists()


FULL = """
import resource, sys
from speechshap.cli.program import run
from speechshap.cli.train import train
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
run(train)
"""


@pytest.mark.parametrize(
    ("limit", "name"),
    [(1000, "version_0"), (10_000, "version_0"), (100_000, "checkpoints/best.ckpt")],
    ids=["configuration", "events", "checkpoint"],
)
def test_a_file_that_cannot_be_written_is_named_in_one_line(config: str, limit: int, name: str) -> None:
    command = [sys.executable, "-c", FULL, str(limit), "fit", "--config", config]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=unmeasured())
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "cannot be written: File too large" in error[0]
    assert name in error[0]
    assert not list(Path().rglob("*.partial"))


def test_of_several_processes_one_tells_what_is_wrong(config: str, tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "bad" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / f"{name}.wav").write_text("no sound")
    arguments = ["--data.root", "bad", "--data.corpus", "folder", "--data.split_by", "utterance"]
    command = [sys.executable, str(PROJECT / "train.py"), "fit", "--config", config, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--trainer.devices", "2"], check=False, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 1
    assert result.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed_everything=-1"], "--seed_everything is -1; expected 0 to 4294967295"),
        (["--trainer.devices=0"], "--trainer.devices is 0; expected a number of processes"),
        (["--trainer.max_epochs=-5"], "--trainer.max_epochs must be"),
        (["--early_stopping.monitor=val/ua"], "--early_stopping.monitor is val/ua, .*did you mean val/uar"),
        (["--checkpoint.monitor=nope"], "--checkpoint.monitor is nope, which is not logged; there are train/loss"),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=nope"],
            "monitor of EarlyStopping is nope",
        ),
        (["--trainer.limit_val_batches=0"], "not logged without validation .--trainer.limit_val_batches.; there are"),
    ],
)
def test_options_that_cannot_be_met_are_told_before_training(config: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(config, *arguments)
    assert not list(Path().iterdir())


def test_a_metric_that_is_not_required_may_be_missing(config: str) -> None:
    own = ["--early_stopping.monitor=nope", "--early_stopping.strict=false", "--last_checkpoint.monitor=step"]
    fit(config, *own, "--last_checkpoint.mode=max", "--trainer.max_epochs=1")


def test_a_checkpoint_is_read_once(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(config, "--trainer.max_epochs", "1")
    read: list[bool] = []
    load = torch.load

    def counted(*arguments: Any, **options: Any) -> Any:
        read.append(not options.get("mmap"))  # what is mapped is read where it is used
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", counted)
    fit(config, "--ckpt_path", RUN, "--trainer.max_epochs", "2")
    assert sum(read) == 1


@pytest.mark.parametrize("named", [(), ("--data.corpus", "planted")])
def test_the_corpus_of_the_checkpoint_is_tested_from_any_folder(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted_root: Path, named: tuple[str, ...]
) -> None:
    (tmp_path / "project" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("data/planted").symlink_to(planted_root)
    fit(config, "--trainer.max_epochs", "1", *(["--data.root", "null"] if named else []))
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(["test", "--ckpt_path", str(tmp_path / "project" / RUN), "--trainer.logger=false", *named])
    assert not list(Path().iterdir())


def test_one_fold_is_trained_by_hand(config: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "speechshap")
    fit(config, "--data.folds", "4", "--data.fold", "2", "--trainer.fast_dev_run=true")
    assert "split as fold 2 of 4 by speaker, seed 0" in caplog.text
    with pytest.raises(UserError, match=r"--data\.fold is 7; this corpus has 4 folds"):
        fit(config, "--data.folds", "4", "--data.fold", "7", "--trainer.fast_dev_run=true")


def fold_files(root: Path, folder: Path) -> Path:
    """Files of two folds in the form of EmoBox, each of which tests two speakers of a planted-evidence corpus."""
    utterances = read_manifest(root)[0]
    speakers = sorted({str(utterance.speaker) for utterance in utterances})
    for fold, tested in ((1, speakers[:2]), (2, speakers[2:])):
        (folder / f"fold_{fold}").mkdir(parents=True)
        for name in ("train", "test"):
            lines = [
                json.dumps({"key": u.id, "wav": str(u.path.absolute()), "emo": u.label, "speaker": u.speaker})
                for u in utterances
                if (u.speaker in tested) == (name == "test")
            ]
            (folder / f"fold_{fold}" / f"planted_{name}_fold_{fold}.jsonl").write_text("\n".join(lines))
    return folder


def explained(run: Path) -> list[str]:
    """Ids of the utterances that were explained."""
    return sorted(set(pd.read_parquet(sorted((run / "explanations").glob("part-*.parquet"))).utterance))


@pytest.mark.parametrize("folds", ["2", "emobox"])
def test_the_fold_of_a_checkpoint_is_tested_and_explained(
    config: str, planted_root: Path, monkeypatch: pytest.MonkeyPatch, folds: str
) -> None:
    tested: list[list[str]] = []
    test_dataloader = AudioDataModule.test_dataloader

    def watched(data: AudioDataModule) -> Any:
        tested.append(sorted(utterance.id for utterance in (data.splits or Splits([], [], [])).test))
        return test_dataloader(data)

    monkeypatch.setattr(AudioDataModule, "test_dataloader", watched)
    corpus = ["--data.root", fold_files(planted_root, Path("folds")), "--data.corpus=auto"] if folds == "emobox" else []
    own = ["--data.folds", folds, "--data.fold", "2", "--data.split_seed", "3"]
    fit(config, *corpus, *own, "--trainer.max_epochs=1")
    kept = content(RUN / "checkpoints" / "last.ckpt")
    assert [kept["datamodule_hyper_parameters"][name] for name in ("fold", "split_seed")] == [2, 3]
    trained_for = sorted(kept["AudioDataModule"]["test"]["ids"])
    train(["test", "--ckpt_path", str(RUN), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert tested == [trained_for]
    explain(
        ["--ckpt_path", str(RUN), "--explain.preset=textbook", "--explain.n_samples=4", "--explain.max_drawn=0",
         "--trainer.accelerator=cpu", "--report=false"]
    )  # fmt: skip
    assert explained(RUN) == trained_for
    with pytest.raises(UserError, match="the checkpoint was trained on"):
        train(["test", "--ckpt_path", str(RUN), "--trainer.logger=false", "--data.fold=1"])


def test_speakers_that_are_named_take_the_place_of_the_fold_of_a_checkpoint(config: str) -> None:
    fit(config, "--data.folds=2", "--data.fold=1", "--trainer.max_epochs=1")
    speakers = {part: content(RUN / "checkpoints" / "last.ckpt")["AudioDataModule"][part]["speakers"][0]
                for part in ("train", "val")}  # fmt: skip
    named = [f"--data.test_speakers=[{speakers['train']}]", f"--data.val_speakers=[{speakers['val']}]"]
    with pytest.raises(UserError, match="the checkpoint was trained on"):
        train(["test", "--ckpt_path", str(RUN), "--trainer.logger=false", *named])
    options = ["--ckpt_path", str(RUN), "--explain.preset=textbook", "--explain.n_samples=4", "--explain.max_drawn=0",
               "--trainer.accelerator=cpu", "--report=false", "--data.max_utterances=2"]  # fmt: skip
    explain([*options, *named])
    assert {row.split("/")[-1] for row in explained(RUN)} <= {
        Path(id_).name for id_ in content(RUN / "checkpoints" / "last.ckpt")["AudioDataModule"]["train"]["ids"]
    }


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """Run a command in which Ctrl-C is pressed in some epoch; returns what it says at its end."""
    former = signal.getsignal(signal.SIGINT)

    def run_it(epoch: int, *arguments: object) -> object:
        def interrupt(module: EmotionModule, *given: object) -> None:
            if module.current_epoch == epoch:
                raise KeyboardInterrupt

        for name in ("on_train_batch_start", "on_test_batch_start"):
            monkeypatch.setattr(EmotionModule, name, interrupt)
        with pytest.raises(SystemExit) as exit_:
            train(list(map(str, arguments)))
        return exit_.value.code

    yield run_it
    signal.signal(signal.SIGINT, former)  # which Lightning ignores from then on


def test_an_interrupted_run_tells_how_to_go_on(config: str, interrupted: Callable[..., object]) -> None:
    fitting = "fit", "--config", config
    assert interrupted(0, *fitting) == "interrupted; no epoch was whole: the same command starts again"
    again = f"the same command with --ckpt_path {RUN} goes on after the last epoch that was saved"
    assert interrupted(1, *fitting) == f"interrupted; {again}"
    assert interrupted(1, *fitting, "--ckpt_path", RUN) == f"interrupted; {again}"
    testing = "test", "--config", config, "--ckpt_path", RUN
    again = "nothing is kept of a test that has not ended: give the same command again"
    assert interrupted(0, *testing) == f"interrupted; {again}"


WITHOUT_AUDIOMENTATIONS = """
import sys
sys.modules["audiomentations"] = None
from speechshap.cli import main
main()
"""


def test_an_augmented_training_is_explained_and_tested_where_the_extra_is_not_installed(
    config: str,
) -> None:
    options = ["--data.augment.noise_snr", "[5,30]", "--model.mixup", "0.2", "--model.spec_augment.time", "0.3"]
    fit(config, "--trainer.max_epochs", "1", *options)
    assert "augment" not in content(RUN / "checkpoints" / "best.ckpt")["datamodule_hyper_parameters"]
    for arguments in (
        ["train", "test", "--config", RUN / "config.yaml", "--ckpt_path", RUN],
        [
            "explain",
            "--ckpt_path",
            RUN,
            "--data.max_utterances",
            "1",
            "--explain.method",
            "saliency",
            "--report",
            "false",
        ],
    ):
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_AUDIOMENTATIONS, *map(str, arguments)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr


def test_a_dataset_is_trained_tested_and_explained_by_its_name(
    planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    listed, _ = read_manifest(planted_root)
    features = datasets.Features(
        {"audio": datasets.Audio(), "emotion": datasets.Value("string"), "voice": datasets.Value("string")}
    )
    columns = {
        "audio": [{"bytes": each.path.read_bytes(), "path": each.path.name} for each in listed],
        "emotion": [each.label for each in listed],
        "voice": [each.speaker for each in listed],
    }
    datasets.Dataset(pa.table(columns, schema=features.arrow_schema)).save_to_disk("planted")
    of_data = ("--data.root", "hf://./planted", "--data.corpus", "auto")
    named = ("--data.label_column", "emotion", "--data.speaker_column", "voice")
    fit(config, *of_data, *named, "--data.check", "lazily", "--trainer.max_epochs", "1")
    split = content(RUN / "checkpoints" / "best.ckpt")["AudioDataModule"]
    assert set(split["train"]["speakers"]).isdisjoint(split["test"]["speakers"])
    train(["test", "--ckpt_path", str(RUN), "--trainer.accelerator", "cpu"])
    assert set(pd.read_parquet(RUN / "test_predictions.parquet").utterance) == set(split["test"]["ids"])
    explain(
        ["--ckpt_path", str(RUN), "--data.max_utterances", "2", "--explain.method", "energy", "--trainer.accelerator",
         "cpu"]
    )  # fmt: skip
    rows = pd.read_parquet(sorted((RUN / "explanations").glob("part-*.parquet")))
    assert set(rows.utterance) <= set(split["test"]["ids"])
    assert all(Path(path).is_relative_to(tmp_path / "cache") and Path(path).is_file() for path in rows.path)
    assert (RUN / "explanations" / "report.html").is_file()
