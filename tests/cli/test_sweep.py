"""Sweeps from the command line: killed, continued, pruned, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import tiny_config

from speechshap.cli.sweep import sweep
from speechshap.cli.train import train
from speechshap.errors import UserError
from speechshap.training import read_checkpoint

pytestmark = pytest.mark.slow

FOLDER = Path("runs/tiny/sweep_0")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # which a run sets, is restored


@pytest.fixture(scope="module")
def config(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    options = {
        "data": {"root": str(planted_root), "corpus": "planted", "batch_size": 8, "cache": "off"},
        "model": {"freeze": "none", "backbone_config": tiny_config(do_normalize=True, layerdrop=0.2)},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": {"init_args": {"name": "tiny"}}},
        "search": {"model.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "model.hidden_units": [0, 16]},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(options))
    return str(path)


def trials(folder: Path) -> pd.DataFrame:
    """What was tried, and what it came to, without the numbers by which Optuna knows it."""
    return pd.read_csv(folder / "sweep.csv").drop(columns="trial")


KILLED = """
import os, signal, sys
from speechshap.cli.sweep import sweep
from speechshap.training import EmotionModule
def die(module, *given):
    if module.trainer.loggers[0].version == "trial_1" and module.current_epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
EmotionModule.on_train_batch_start = die
sweep(sys.argv[1:])
"""


def test_a_sweep_that_was_killed_goes_on_to_the_same_scores(config: str, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--config", config, "--trials", "3"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert read_checkpoint(FOLDER / "trial_1" / "checkpoints" / "last.ckpt")["epoch"] == 0
    with caplog.at_level("INFO", logger="speechshap"):
        sweep(arguments)
    undisturbed = ["--trainer.logger.init_args.save_dir", "elsewhere"]
    sweep([*arguments, *undisturbed])
    found, expected = trials(FOLDER), trials(Path("elsewhere/tiny/sweep_0"))
    expected.folder = found.folder  # the one after the killed one has a number more
    pd.testing.assert_frame_equal(found, expected)
    best = found.iloc[0]
    assert found["val/uar"].is_monotonic_decreasing
    assert f"best of 3 trainings: val/uar {best['val/uar']:.3f}, {FOLDER / best.folder}" in caplog.text
    assert [path.parts[-3] for path in FOLDER.rglob("*.ckpt")] == [best.folder]


def test_a_trial_is_what_a_training_with_its_options_is(config: str) -> None:
    sweep(["--config", config, "--trials", "1"])
    (tried,) = trials(FOLDER).itertuples()
    own = yaml.safe_load(Path(config).read_text())
    del own["search"]
    Path("own.yaml").write_text(yaml.safe_dump(own))
    table = pd.read_csv(FOLDER / "sweep.csv").iloc[0]
    options = [part for name in ("learning_rate", "hidden_units")
               for part in (f"--model.{name}", str(table[f"model.{name}"]))]  # fmt: skip
    train(["fit", "--config", "own.yaml", *options])
    one, other = (
        read_checkpoint(folder / "checkpoints" / "best.ckpt")
        for folder in (FOLDER / tried.folder, Path("runs/tiny/version_0"))
    )
    assert one["epoch"] == other["epoch"]
    for name, value in one["state_dict"].items():
        assert value.equal(other["state_dict"][name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.val_fraction", "0"], "--data.val_fraction is 0, but trials are compared by validation"),
        (
            ["--search", '{"model.learningrate": [0.1]}'],
            r"no option model\.learningrate; did you mean model\.learning_",
        ),
        (["--search", '{"model.dropout": {"low": 1, "high": 0}}'], "expected low below high"),
        (["--trials", "0"], "--trials is 0"),
        (["--search", '{"model.hidden_units": [16, "many"]}'], r"model\.hidden_units cannot be 'many': "),
        (["--search", '{"model.dropout": [2.0]}'], r"trial_2 \(--model.dropout 2.0\): --model.dropout is 2.0;"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_way_out(config: str, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep(["--config", config, *options])


def test_options_that_do_not_go_together_are_told_and_the_sweep_goes_on(
    config: str, caplog: pytest.LogCaptureFixture
) -> None:
    space = '{"model.hidden_units": [0, 16], "model.dropout": [0.2, 0.3], "model.spec_augment.time": [0.1]}'
    sweep(["--config", config, "--trials", "4", "--search", space, "--trainer.max_epochs", "1"])
    table = pd.read_csv(FOLDER / "sweep.csv")
    refused = table.state.str.contains("a linear head drops nothing")
    assert list(refused) == list(table["model.hidden_units"] == 0)
    assert 0 < refused.sum() < len(table) == 4
    assert caplog.text.count("a linear head drops nothing") == refused.sum()
    assert "failed: " in (FOLDER / "sweep.md").read_text()
    assert len(list(FOLDER.rglob("best.ckpt"))) == 1
