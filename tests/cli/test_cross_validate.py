"""Cross-validation from the command line: as by hand, killed, several at once, and what is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from families import make_config, save
from helpers import tiny_config
from sklearn.metrics import balanced_accuracy_score
from transformers import AutoModel

from speechshap.cli.cross_validate import cross_validate
from speechshap.cli.train import train
from speechshap.errors import UserError
from speechshap.training import read_checkpoint
from speechshap.training.checkpoints import has_ended

pytestmark = pytest.mark.slow

FOLDER = Path("runs/tiny/cross_validation_0")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # which a run sets, is restored


@pytest.fixture(scope="module")
def config(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Configuration of a tiny training with random numbers in it, fast enough to tell classes apart by chance."""
    options = {
        "data": {"root": str(planted_root), "corpus": "planted", "batch_size": 8},
        "model": {
            "freeze": "none", "learning_rate": 0.01,
            "backbone_config": tiny_config(do_normalize=True, layerdrop=0.2, hidden_dropout=0.1),
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": {"init_args": {"name": "tiny"}}},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(options))
    return str(path)


def command(config: str, *arguments: object) -> list[str]:
    return ["--config", config, "--folds", "2", *map(str, arguments)]


@pytest.fixture(scope="module")
def undisturbed(config: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a cross-validation of two folds and two seeds."""
    place = tmp_path_factory.mktemp("undisturbed")
    code = "import sys; from speechshap.cli.cross_validate import cross_validate; cross_validate(sys.argv[1:])"
    arguments = command(config, "--seeds", "2")
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=place, capture_output=True)
    return place / FOLDER


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "cross_validation.csv")


def assert_same(folder: Path, other: Path) -> None:
    """The same probabilities of every utterance, and the same table."""
    names = sorted(path.relative_to(folder) for path in folder.glob("*/test_predictions.parquet"))
    assert names == sorted(path.relative_to(other) for path in other.glob("*/test_predictions.parquet"))
    for name in names:
        pd.testing.assert_frame_equal(pd.read_parquet(folder / name), pd.read_parquet(other / name))
    pd.testing.assert_frame_equal(table(folder), table(other))


def test_a_fold_is_what_training_and_testing_by_hand_give(undisturbed: Path, config: str) -> None:
    by_hand = ["--config", config, "--data.folds", "2", "--data.fold", "2", "--seed_everything", "1"]
    train(["fit", *by_hand])
    train(["test", *by_hand, "--ckpt_path", "runs/tiny/version_0"])
    one, other = (
        pd.read_parquet(folder / "test_predictions.parquet")
        for folder in (Path("runs/tiny/version_0"), undisturbed / "fold_2_seed_1")
    )
    pd.testing.assert_frame_equal(one, other)


def test_each_utterance_is_tested_once_by_each_seed(undisturbed: Path, planted_root: Path) -> None:
    tested = {path.parent.name: pd.read_parquet(path) for path in undisturbed.glob("*/test_predictions.parquet")}
    assert sorted(tested) == ["fold_1_seed_0", "fold_1_seed_1", "fold_2_seed_0", "fold_2_seed_1"]
    for seed in (0, 1):
        rows = pd.concat([tested[f"fold_{fold}_seed_{seed}"] for fold in (1, 2)])
        assert len(rows) == rows.utterance.nunique() == 60
        scores = table(undisturbed)
        own = scores[scores.fold.isna() & (scores.seed == seed) & (scores.score == "UAR")]
        assert own.value.item() == pytest.approx(balanced_accuracy_score(rows.label, rows.prediction))
    for fold in (1, 2):  # the seed changes the training alone
        one, other = (tested[f"fold_{fold}_seed_{seed}"] for seed in (0, 1))
        assert list(one.utterance) == list(other.utterance)
        assert not np.allclose(one["probability of angry"], other["probability of angry"])
    for name in ("config.yaml", "test_scores.md", "checkpoints/best.ckpt", "hparams.yaml"):
        assert (undisturbed / "fold_1_seed_0" / name).is_file()


def test_each_fold_has_a_card_with_its_test_and_the_command_of_all(undisturbed: Path, config: str) -> None:
    for fold, seed in ((1, 0), (2, 1)):
        text = (undisturbed / f"fold_{fold}_seed_{seed}" / "MODEL_CARD.md").read_text()
        assert "### Test (speaker-independent)" in text
        assert f"- fold that is tested: {fold}" in text
        assert f"- seed: {seed}" in text
        assert f"speechshap cross-validate --config .../{Path(config).name} --folds 2 --seeds 2\n" in text


KILLED = """
import os, signal, sys
from speechshap.cli.cross_validate import cross_validate
from speechshap.training import EmotionModule
def die(module, *given):
    folder = module.trainer.loggers[0].version
    if folder == "fold_1_seed_1" and module.current_epoch == EPOCH:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(EmotionModule, HOOK, die)
cross_validate(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("hook", "epoch"),
    [("on_train_batch_start", 0), ("on_train_batch_start", 1), ("on_fit_end", 2), ("on_test_batch_start", 0)],
    ids=["in the first epoch", "in the second", "before the test", "in the test"],
)
def test_what_was_killed_goes_on_to_the_same_scores(
    undisturbed: Path, config: str, hook: str, epoch: int, caplog: pytest.LogCaptureFixture
) -> None:
    code = KILLED.replace("EPOCH", str(epoch)).replace("HOOK", repr(hook))
    arguments = command(config, "--seeds", "2")
    of_seed_1 = shutil.ignore_patterns("*_seed_1", "cross_validation*")
    shutil.copytree(undisturbed, FOLDER, ignore=of_seed_1)
    killed = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert len(list(FOLDER.glob("*/test_predictions.parquet"))) == 2
    before = {path: path.stat().st_mtime_ns for path in FOLDER.glob("fold_*_seed_0/*")}
    with caplog.at_level("INFO", logger="speechshap"):
        cross_validate(arguments)
    assert "fold 1 of 2, seed 1: UAR " in caplog.text
    assert "fold 1 of 2, seed 0" not in caplog.messages
    assert {path: path.stat().st_mtime_ns for path in FOLDER.glob("fold_*_seed_0/*")} == before
    assert_same(FOLDER, undisturbed)
    assert not list(FOLDER.rglob("*.partial"))


def test_without_validation_the_last_epoch_is_tested(config: str) -> None:
    cross_validate(command(config, "--data.val_fraction", "0"))
    for fold in (1, 2):
        best = read_checkpoint(FOLDER / f"fold_{fold}_seed_0" / "checkpoints" / "best.ckpt")
        assert best["epoch"] == 1
        assert [len(best["AudioDataModule"][name]["ids"]) for name in ("train", "val", "test")] == [30, 0, 30]


@pytest.fixture
def emobox(planted_root: Path, tmp_path: Path) -> Path:
    """Two folds of the planted corpus as EmoBox has them."""
    rows = pd.read_csv(planted_root / "manifest.csv")
    for fold in (1, 2):
        folder = tmp_path / "emobox" / f"fold_{fold}"
        folder.mkdir(parents=True)
        is_test = rows.speaker.isin(sorted(rows.speaker.unique())[fold - 1 :: 2])
        for name, part in (("train", rows[~is_test]), ("test", rows[is_test])):
            lines = part.rename(columns={"path": "wav", "label": "emo"})[["wav", "emo", "speaker"]].assign(
                key=part.path
            )
            lines.to_json(folder / f"planted_{name}_fold_{fold}.jsonl", orient="records", lines=True)
    return tmp_path / "emobox"


@pytest.mark.parametrize("name", ["wavlm_base", "wavlm_base_plus", "wavlm_large"])
def test_the_folds_of_emobox_are_taken_as_they_are(name: str, emobox: Path, planted_root: Path, tmp_path: Path) -> None:
    backbone = save(AutoModel.from_config(make_config("wavlm", "group")), tmp_path / "backbone", do_normalize=False)
    cross_validate([
        "--config", f"emobox/{name}", "--data.root", str(emobox), "--data.audio_root", str(planted_root),
        "--model.backbone", str(backbone), "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu",
    ])  # fmt: skip
    folder = Path(f"runs/emobox_{name}/cross_validation_0")
    tested = [pd.read_parquet(folder / f"fold_{fold}_seed_0" / "test_predictions.parquet") for fold in (1, 2)]
    assert sorted(pd.concat(tested).utterance) == sorted(pd.read_csv(planted_root / "manifest.csv").path)
    assert "speaker-independent" in (folder / "cross_validation.md").read_text()


def test_a_training_that_stopped_early_has_ended(config: str) -> None:
    stopped = ["--early_stopping.patience", "1", "--model.learning_rate", "1e-9", "--trainer.max_epochs", "5"]
    train(["fit", "--config", config, *stopped])
    checkpoint = read_checkpoint("runs/tiny/version_0/checkpoints/last.ckpt")
    assert checkpoint["epoch"] < 4
    assert has_ended(checkpoint, max_epochs=5, min_epochs=None)


def test_several_at_once_give_the_same_table(undisturbed: Path, config: str) -> None:
    cross_validate(command(config, "--seeds", "2", "--jobs", "2"))
    assert_same(FOLDER, undisturbed)


def test_a_job_array_does_each_fold_once(undisturbed: Path, config: str) -> None:
    cross_validate(command(config, "--seeds", "2", "--only", "2"))
    text = (FOLDER / "cross_validation.md").read_text()
    assert "missing: fold 1, seed 0; fold 1, seed 1" in text
    cross_validate(command(config, "--only", "1", "--seeds", "2"))
    assert_same(FOLDER, undisturbed)
    assert "missing" not in (FOLDER / "cross_validation.md").read_text()


def test_what_is_finished_is_told_again_and_other_options_have_another_folder(
    config: str, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = command(config, "--trainer.max_epochs", "1", "--only", "1")
    cross_validate(arguments)
    before = {path: path.stat().st_mtime_ns for path in FOLDER.glob("fold_*/*")}
    with caplog.at_level("INFO", logger="speechshap"):
        cross_validate(arguments)
    assert "| UAR " in caplog.text
    assert {path: path.stat().st_mtime_ns for path in FOLDER.glob("fold_*/*")} == before
    cross_validate([*arguments, "--model.dropout", "0.2"])
    assert sorted(path.name for path in FOLDER.parent.glob("c*")) == ["cross_validation_0", "cross_validation_1"]


def test_a_corpus_that_has_grown_has_another_folder(config: str, planted_root: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(planted_root / "manifest.csv")
    rows["path"] = [str(planted_root / path) for path in rows.path]
    own = tmp_path / "own.csv"
    arguments = command(config, "--data.corpus", "manifest", "--data.root", own, "--trainer.max_epochs", "1")
    for count in (50, 60):
        rows[:count].to_csv(own, index=False)
        cross_validate([*arguments, "--only", "1"])
    assert sorted(path.name for path in FOLDER.parent.glob("c*")) == ["cross_validation_0", "cross_validation_1"]


def test_a_fold_that_another_process_is_at_is_waited_for(config: str, undisturbed: Path) -> None:
    """Two at once: each does what the other is not at, and both end with the whole table."""
    code = "import sys; from speechshap.cli.cross_validate import cross_validate; cross_validate(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, *command(config, "--seeds", "2")]
    both = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] is not None and process.returncode for process in both] == [0, 0]
    assert_same(FOLDER, undisturbed)
    for folder in FOLDER.glob("fold_*"):
        assert len(list(folder.glob("events.*"))) == 2  # of one training and one test


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "--folds is 1; "),
        (["--folds", "9"], "--folds is 9, but the corpus has 4 speakers; .* --data.split_by utterance"),
        (["--folds", "2", "--only", "7"], "--only is 7; expected a fold from 1 to 2"),
        (["--data.fold", "2"], "--data.fold are for speechshap train; here --folds"),
        (["--only", "0"], "--only is 0; expected 1 at least"),
        (["--jobs", "0"], "--jobs is 0; expected 1 at least"),
        (["--seeds", "0"], "--seeds is 0; expected 1 at least"),
        (["--trainer.devices", "2"], "--trainer.devices is 2 .*--jobs"),
        (["--trainer.logger", "false"], "--trainer.logger is False"),
        (["--trainer.fast_dev_run", "true"], "--trainer.fast_dev_run is True"),
        (["--checkpoint.dirpath", "here"], "--checkpoint.dirpath is given"),
        (["--trainer.logger.init_args.version", "mine"], "--trainer.logger has a version"),
        (["--early_stopping.monitor", "val/ua"], "fold 1 of 4, seed 0: --early_stopping.monitor is val/ua"),
    ],
)
def test_options_that_cannot_be_met_are_told_before_training(config: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cross_validate(["--config", config, "--folds", "speaker", *arguments])
    assert not list(Path().rglob("cross_validation_*"))
