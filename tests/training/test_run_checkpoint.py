import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from speechshap.training import RunCheckpoint


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


def test_checkpoints_of_a_model_checkpoint_are_understood() -> None:
    assert RunCheckpoint(monitor="val/uar").state_key == ModelCheckpoint(monitor="val/uar").state_key
