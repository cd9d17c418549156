from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from families import family_config
from pytorch_lightning.callbacks import ModelCheckpoint

from speechshap.training import AudioDataModule, EmotionModule, RunCheckpoint


@pytest.mark.parametrize("save_top_k", [1, -1])
@pytest.mark.parametrize(("score", "is_best"), [(0.5, True), (float("nan"), False), (float("inf"), False)])
def test_a_score_that_is_not_finite_is_never_the_best(score: float, is_best: bool, save_top_k: int) -> None:
    trainer = pl.Trainer(logger=False, accelerator="cpu")
    checkpoint = RunCheckpoint(monitor="val/uar", mode="max", save_top_k=save_top_k)
    assert checkpoint.check_monitor_top_k(trainer, torch.tensor(score)) is is_best


@pytest.mark.parametrize("others", [(0.5, 0.5), (0.5, float("nan")), (float("nan"), 0.5), (float("nan"), 0.1)])
def test_of_processes_with_other_scores_all_ask_each_other_as_often_and_decide_alike(
    monkeypatch: pytest.MonkeyPatch, others: tuple[float, float]
) -> None:
    trainer = pl.Trainer(logger=False, accelerator="cpu")
    checkpoints = []
    for _ in others:
        checkpoint = RunCheckpoint(monitor="val/uar", mode="max")
        checkpoint.best_k_models, checkpoint.kth_best_model_path = {"best.ckpt": torch.tensor(0.2)}, "best.ckpt"
        checkpoints.append(checkpoint)
    asked: list[list[bool]] = [[], []]
    answers: list[bool] = []

    def ask(rank: int) -> bool:
        def reduce(decision: bool) -> bool:
            asked[rank].append(decision)
            return answers[len(asked[rank]) - 1]

        monkeypatch.setattr(trainer.strategy, "reduce_boolean_decision", reduce)
        asked[rank].clear()
        return checkpoints[rank].check_monitor_top_k(trainer, torch.tensor(others[rank]))

    is_finite = all(score == score for score in others)
    answers[:] = [is_finite, is_finite and min(others) > 0.2]
    assert [ask(0), ask(1)] == [is_finite] * 2
    assert len(asked[0]) == len(asked[1]) == 1 + is_finite


@pytest.mark.parametrize(("seconds", "kept"), [(0.05, [0, 1, 2, 3]), (0.15, [0, 2, 3]), (9.0, [0, 3])])
def test_epochs_that_take_less_than_saving_them_are_left_out_but_not_the_last_one(
    tmp_path: Path, planted_root: Path, seconds: float, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, now = [], 0.0
    monkeypatch.setattr("speechshap.training.run_checkpoint.monotonic", lambda: now)

    class Slow(RunCheckpoint):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            nonlocal now
            now += 1

        def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
            nonlocal now
            now += seconds
            saved.append(trainer.current_epoch)
            super()._save_checkpoint(trainer, filepath)

    data = AudioDataModule(root=str(planted_root), corpus="planted")
    trainer = pl.Trainer(
        max_epochs=4, limit_train_batches=1, limit_val_batches=0, logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Slow(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)],
    )  # fmt: skip
    trainer.fit(EmotionModule(data.classes, backbone_config=family_config("wavlm")), data)
    assert saved == kept
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 3


def test_checkpoints_of_a_model_checkpoint_are_understood() -> None:
    assert RunCheckpoint(monitor="val/uar").state_key == ModelCheckpoint(monitor="val/uar").state_key
