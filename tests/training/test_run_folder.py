"""What a run leaves in its folder when it fails."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from speechshap.errors import UserError
from speechshap.training.run_folder import guarded_run, results_folder, unstarted_run_removed

OWN_EVENTS = f"events.out.tfevents.1.host.{os.getpid()}.0"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of the files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fail(folder: Path, *made: str, has_started: bool = False) -> None:
    """Fail in a run that has made these files."""

    @unstarted_run_removed(folder, lambda: has_started)
    def run() -> None:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for name in made:
            (folder / name).write_text("made")
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        run()


@pytest.mark.parametrize("folder", ["", "runs/mine/version_0"])
def test_what_was_there_before_a_failed_start_stays(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "config-2.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.1.host.1.0"):
        (place / name).write_text(f"the user's {name}")
    before = contents(tmp_path)
    fail(place, "config-3.yaml", OWN_EVENTS)
    assert contents(tmp_path) == before


def test_an_empty_folder_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    fail(tmp_path / "runs" / "er" / "version_0", "hparams.yaml", "config.yaml")
    assert contents(tmp_path) == {"runs": None}


def test_a_list_of_bad_files_outlives_a_failed_start(tmp_path: Path) -> None:
    fail(tmp_path / "run", "config.yaml", "skipped.csv")
    assert contents(tmp_path) == {"run": None, "run/skipped.csv": b"made"}


@pytest.mark.parametrize(
    ("name", "has_started"), [("hparams.yaml", True), ("events.out.tfevents.1.host.1.0", False)],
    ids=["after the first step", "where another process writes"],
)  # fmt: skip
def test_files_of_a_run_that_has_begun_stay(tmp_path: Path, name: str, has_started: bool) -> None:
    fail(tmp_path / "run", name, has_started=has_started)
    assert contents(tmp_path / "run") == {name: b"made"}


class Elsewhere(Logger):
    """A logger without ``log_dir``."""

    name, version, save_dir = "er", 3, "logs"  # type: ignore[assignment]

    def log_hyperparams(self, *args: object, **options: object) -> None: ...

    def log_metrics(self, *args: object, **options: object) -> None: ...


@pytest.mark.parametrize(
    ("options", "given", "folder"),
    [
        ({"logger": False}, None, ""),
        ({"logger": False, "default_root_dir": "root"}, None, "root"),
        ({"logger": Elsewhere(), "default_root_dir": "root"}, None, "logs/er/version_3"),
        ({"logger": Elsewhere()}, "out", "out"),
    ],
)
def test_results_go_where_other_files_of_the_run_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], given: str | None, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = pl.Trainer(accelerator="cpu", **options)
    assert results_folder(trainer, given).absolute() == tmp_path / folder


def trainer_in(folder: Path) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", logger=False, default_root_dir=folder)


def test_what_a_killed_training_left_of_its_checkpoints_goes(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in (".best.ckpt.0123.partial", "best.ckpt"):
        (tmp_path / "checkpoints" / name).write_text("made")
    with guarded_run(trainer_in(tmp_path), trains=True):
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]
    assert contents(tmp_path).keys() == {"checkpoints", "checkpoints/best.ckpt"}


def test_two_trainings_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with guarded_run(trainer_in(tmp_path), trains=True):
        left = tmp_path / "checkpoints" / ".best.ckpt.0123.partial"
        left.parent.mkdir(exist_ok=True)
        left.write_text("being written")
        with (
            pytest.raises(UserError, match="another training writes to"),
            guarded_run(trainer_in(tmp_path), trains=True),
        ):
            pytest.fail("the folder is another's")
        with guarded_run(trainer_in(tmp_path), trains=False):
            assert left.exists()


def test_trainings_whose_folder_is_not_known_yet_do_not_meet(tmp_path: Path) -> None:
    """As with W&B, which gives a run its name when it begins."""

    class Unnamed(Elsewhere):
        version, save_dir = None, str(tmp_path)  # type: ignore[assignment]

    one, other = (pl.Trainer(accelerator="cpu", logger=Unnamed(), default_root_dir=tmp_path) for _ in range(2))
    with guarded_run(one, trains=True), guarded_run(other, trains=True):
        pass


@pytest.mark.parametrize(("saved", "way_on"), [("last.ckpt", "go on with the run's folder"), ("", "same command")])
def test_a_full_disk_tells_how_to_go_on(tmp_path: Path, saved: str, way_on: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / (saved or "best.ckpt")).touch()
    message = f"^best.ckpt cannot be written: No space left on device. Make room, and .*{way_on}"
    with pytest.raises(UserError, match=message), guarded_run(trainer_in(tmp_path), trains=True):
        raise OSError(errno.ENOSPC, "No space left on device", "best.ckpt")
