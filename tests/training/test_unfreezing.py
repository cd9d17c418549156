from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from speechshap.errors import UserError
from speechshap.training.unfreezing import first_step_of, refuse_unfreezing


def trainer(max_epochs: int | None, strategy: Any = None) -> Any:
    return SimpleNamespace(max_epochs=max_epochs, strategy=strategy or SingleDeviceStrategy())


def test_a_backbone_that_would_never_join_is_refused() -> None:
    with pytest.raises(UserError, match="`unfreeze_at_epoch` is 3, but `max_epochs` is 3: the backbone would never be"):
        refuse_unfreezing(trainer(3), 3)
    refuse_unfreezing(trainer(4), 3)
    refuse_unfreezing(trainer(-1), 3)  # as many epochs as it takes


def test_processes_that_wait_for_the_backbone_are_told_which_do_not() -> None:
    with pytest.raises(UserError, match=r"`strategy` waits for gradients .* take ddp_find_unused_parameters_true"):
        refuse_unfreezing(trainer(4, DDPStrategy()), 1)
    refuse_unfreezing(trainer(4, DDPStrategy(find_unused_parameters=True)), 1)
    refuse_unfreezing(trainer(4, DDPStrategy()), 0)


def test_steps_before_an_epoch_are_those_of_the_optimiser() -> None:
    """Seven batches make three steps of two or three batches."""
    loop = SimpleNamespace(setup_data=lambda: None)
    given: Any = SimpleNamespace(fit_loop=loop, num_training_batches=7, accumulate_grad_batches=3)
    assert [first_step_of(given, epoch) for epoch in (0, 1, 2)] == [0, 3, 6]
    assert first_step_of(pl.Trainer(accelerator="cpu", logger=False), 0) == 0
