import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from speechshap.training import RunCheckpoint


@pytest.mark.parametrize(("score", "is_best"), [(0.5, True), (float("nan"), False), (float("inf"), False)])
def test_a_score_that_is_not_finite_is_never_the_best(score: float, is_best: bool) -> None:
    trainer = pl.Trainer(logger=False, accelerator="cpu")
    assert RunCheckpoint(monitor="val/uar", mode="max").check_monitor_top_k(trainer, torch.tensor(score)) is is_best


def test_checkpoints_of_a_model_checkpoint_are_understood() -> None:
    assert RunCheckpoint(monitor="val/uar").state_key == ModelCheckpoint(monitor="val/uar").state_key
