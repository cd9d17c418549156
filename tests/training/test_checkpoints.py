from pathlib import Path

import pytest
import torch

from speechshap.errors import UserError
from speechshap.training import EmotionModule, find_checkpoint, load_checkpoint, read_checkpoint
from speechshap.training.checkpoints import has_ended


def make_run(folder: Path, *names: str) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in names:
        (folder / "checkpoints" / name).touch()
    return folder


@pytest.mark.parametrize("prefer", ["best", "last"])
def test_a_run_folder_means_one_of_its_checkpoints(tmp_path: Path, prefer: str) -> None:
    run = make_run(tmp_path / "run", "best.ckpt", "last.ckpt")
    expected = run / "checkpoints" / f"{prefer}.ckpt"
    for path in (run, run / "checkpoints", expected, str(run)):
        assert find_checkpoint(path, prefer) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none", "`ckpt_path`: no file .*none"),
        ("run", r"has no checkpoints/best.ckpt; name one of checkpoints/last.ckpt"),
        ("experiment", "give one of its runs: version_0"),
        ("empty", "give the folder of a run"),
    ],
)
def test_what_is_no_checkpoint_is_told_with_what_is_there(tmp_path: Path, path: str, words: str) -> None:
    make_run(tmp_path / "run", "last.ckpt")
    make_run(tmp_path / "experiment" / "version_0", "best.ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        find_checkpoint(tmp_path / path, "best")


def test_a_checkpoint_that_was_read_is_not_read_again(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint(tiny_checkpoint)
    monkeypatch.delattr("torch.load")
    module = load_checkpoint(tiny_checkpoint, checkpoint)
    assert module.trained_steps == 2
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][name])


def test_a_loaded_module_is_that_of_lightning(tiny_checkpoint: Path) -> None:
    one, other = load_checkpoint(tiny_checkpoint), EmotionModule.load_from_checkpoint(tiny_checkpoint)
    assert one.identity == other.identity
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_weights_of_another_model_are_refused(tiny_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(tiny_checkpoint)
    del checkpoint["state_dict"]["classifier.layer_weights"]
    with pytest.raises(UserError, match="do not fit the model that it describes"):
        load_checkpoint(tiny_checkpoint, checkpoint)


@pytest.mark.parametrize(
    ("epoch", "stopped", "max_epochs", "min_epochs", "expected"),
    [
        (1, 0, 2, None, True),  # of two epochs, counted from 0
        (1, 0, 3, None, False),
        (4, 4, 30, None, True),
        (6, 4, 30, 6, False),  # went on, as it had to
        (4, 4, 30, 8, False),
        (4, 0, -1, None, False),
        (4, 0, None, None, False),
    ],
)
def test_a_training_that_was_at_its_end_is_not_gone_on_with(
    epoch: int, stopped: int, max_epochs: int | None, min_epochs: int | None, expected: bool
) -> None:
    checkpoint = {"epoch": epoch, "callbacks": {"EarlyStopping": {"stopped_epoch": stopped}, "Other": {}}}
    assert has_ended(checkpoint, max_epochs, min_epochs) is expected
