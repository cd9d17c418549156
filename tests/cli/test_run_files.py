from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from speechshap.cli.run_files import SaveConfig, logger_of_run, write_beside

DEFAULT = {"save_dir": "runs", "name": "emotion"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_text_is_written_once_and_another_one_beside_it() -> None:
    path = Path("run/config.yaml")
    path.parent.mkdir()
    names = [write_beside(path, text).name for text in ("a", "b", "a", "c", "b")]
    assert names == ["config.yaml", "config-2.yaml", "config.yaml", "config-3.yaml", "config-2.yaml"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["config-2.yaml", "config-3.yaml", "config.yaml"]


def test_a_folder_of_the_name_is_left_alone() -> None:
    Path("config.yaml").mkdir()
    assert write_beside(Path("config.yaml"), "a").name == "config-2.yaml"


class Options:
    """Stands for a parser."""

    def dump(self, config: Namespace, **options: Any) -> str:
        return str(config.text)


def save(folder: Path, **options: Any) -> None:
    trainer = pl.Trainer(logger=False, default_root_dir=folder, accelerator="cpu", **options)
    callback = SaveConfig(Options(), Namespace(text="a: 1"))  # type: ignore[arg-type]
    callback.setup(trainer, pl.LightningModule(), "fit")
    callback.setup(trainer, pl.LightningModule(), "validate")


def test_the_options_of_a_run_are_saved_in_its_folder_once(tmp_path: Path) -> None:
    Path("run").mkdir()
    save(tmp_path / "run")
    assert {file.name: file.read_text() for file in Path("run").iterdir()} == {"config.yaml": "a: 1"}


def test_a_run_without_files_saves_no_options(tmp_path: Path) -> None:
    save(tmp_path / "run", fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []


def resumed(checkpoint: str, **settings: Any) -> Any:
    """Logger that is taken where these settings were asked for, and the one made from them."""
    settings = {**DEFAULT, **settings}
    given = TensorBoardLogger(**settings)
    return logger_of_run(given, Namespace(init_args=Namespace(**settings)), DEFAULT, Path(checkpoint), 7), given


@pytest.mark.parametrize(
    ("checkpoint", "settings"),
    [
        ("runs/demo/version_3/checkpoints/last.ckpt", {}),
        ("runs/demo/version_3/checkpoints/last.ckpt", {"name": "demo"}),
        ("runs/demo/version_3/checkpoints/last.ckpt", {"name": "demo", "version": "version_3"}),
    ],
)
def test_the_last_checkpoint_goes_on_in_its_run(checkpoint: str, settings: dict[str, Any]) -> None:
    logger, given = resumed(checkpoint, **settings)
    assert logger is not given
    assert Path(logger.log_dir) == Path("runs/demo/version_3")


@pytest.mark.parametrize(
    ("checkpoint", "settings"),
    [
        ("runs/demo/version_3/checkpoints/best.ckpt", {}),
        ("downloads/last.ckpt", {}),
        ("runs/demo/version_3/checkpoints/last.ckpt", {"name": "other"}),
        ("runs/demo/version_3/checkpoints/last.ckpt", {"name": "demo", "version": "new"}),
    ],
)
def test_any_other_checkpoint_or_experiment_starts_a_new_run(checkpoint: str, settings: dict[str, Any]) -> None:
    logger, given = resumed(checkpoint, **settings)
    assert logger is given


def test_another_kind_of_logger_is_kept() -> None:
    given = CSVLogger("logs")
    options = Namespace(init_args=Namespace(**DEFAULT))
    checkpoint = Path("runs/demo/version_3/checkpoints/last.ckpt")
    assert logger_of_run(given, options, DEFAULT, checkpoint, 7) is given
