"""Options of a Trainer that cannot be met are told as mistakes."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from speechshap.errors import UserError
from speechshap.training.trainer_options import trainer_mistakes


def make(**options: Any) -> pl.Trainer:
    options = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu", **options}
    with trainer_mistakes(options):
        return pl.Trainer(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator": "nope"}, "`accelerator` is 'nope'; expected auto, cpu, "),
        ({"devices": "0"}, "`devices` is 0; expected a number of processes, 1 at least, or auto"),
        ({"devices": -1}, "`devices` is -1; expected a number of processes"),
        ({"devices": "0,1"}, "`devices` is 0,1; expected a number of processes"),
        ({"devices": "many"}, "`devices` is many; expected a number of processes"),
        ({"strategy": "nope"}, "`strategy` is 'nope'; expected auto, ddp"),
        ({"num_nodes": 0}, "`num_nodes` is 0; expected 1 at least"),
        ({"accumulate_grad_batches": 0}, "`accumulate_grad_batches` is 0; expected 1 at least"),
        ({"check_val_every_n_epoch": 0}, "`check_val_every_n_epoch` is 0; expected 1 at least"),
        ({"max_epochs": -5}, "`max_epochs` is -5: "),
        ({"limit_predict_batches": -1}, "`limit_predict_batches` is -1: "),
    ],
)
def test_an_option_that_cannot_be_met_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make(**options)
    assert str(error.value).startswith(message)


def test_lightning_reads_the_name_of_a_strategy_in_any_case() -> None:
    assert type(make(strategy="DDP", devices=2).strategy).__name__ == "DDPStrategy"


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="needs a machine without GPU"
)
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=f"`accelerator` is {name}, which PyTorch does not find here; take auto or cpu"):
        make(accelerator=name)


def test_on_a_cpu_bfloat16_takes_the_place_of_half_precision(caplog: pytest.LogCaptureFixture) -> None:
    assert make(precision="16-mixed").precision == "bf16-mixed"
    assert "`precision` is 16-mixed, which a CPU does not have; bf16-mixed is taken" in caplog.messages
