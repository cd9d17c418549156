"""From a checkpoint to a folder."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from families import as_after_training, family_config

from speechshap.errors import UserError
from speechshap.models import load_classifier
from speechshap.training import EmotionModule, load_checkpoint
from speechshap.training.exporting import export_checkpoint

CLASSES = ["calm", "angry", "sad"]


def save_checkpoint(path: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    module = EmotionModule(CLASSES, backbone_config=family_config("wavlm", do_normalize=True), **options)
    as_after_training(module)
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path


def logits(model: Any) -> torch.Tensor:
    waveforms = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(waveforms, torch.tensor([20_000, 9_000]))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"freeze": "none"},
        {"pooling": "attentive", "num_queries": 2, "standardize": True},
        {"pooling": "mean_std", "hidden_units": 0, "hidden_layer": 1, "window_seconds": 1.0},
        {"convolutions": 1, "dropout": 0.2, "padding": "published"},
    ],
    ids=str,
)
def test_the_folder_decides_as_the_checkpoint(tmp_path: Path, options: dict[str, Any]) -> None:
    path = save_checkpoint(tmp_path / "best.ckpt", **options)
    export_checkpoint(path, tmp_path / "export")
    module, read = load_checkpoint(path).eval(), load_classifier(str(tmp_path / "export"))
    assert torch.equal(logits(read), logits(module))
    assert read.identity == module.identity


def test_a_checkpoint_that_tells_nothing_of_its_training_has_a_card_that_says_so(tmp_path: Path) -> None:
    export_checkpoint(save_checkpoint(tmp_path / "best.ckpt"), tmp_path / "export")
    text = (tmp_path / "export" / "README.md").read_text()
    assert "# export\n" in text
    assert "**Whether its training was finished is not known.**" in text
    assert "speechshap explain --model export --data.files recordings/" in text


def test_a_head_that_was_given_in_python_is_told(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "best.ckpt", head=torch.nn.Linear(32, 3))
    with pytest.raises(UserError, match="if its head was given in Python"):
        export_checkpoint(path, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_folder_in_the_way_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.tex").touch()
    with pytest.raises(UserError, match="has other files"):
        export_checkpoint(tmp_path / "missing.ckpt", tmp_path / "export")
