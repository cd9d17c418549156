import pytest
import torch
from torch import nn

from speechshap.evaluation import randomized


class Crossed(nn.Module):
    """Runs its parts in another order than it holds them, and has one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Linear(4, 4)
        self.stem = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.middle = nn.Linear(4, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From the stem to the top."""
        return self.top(self.middle(self.stem(inputs)))


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (0.0, {"top"}),
        (0.25, {"top"}),
        (0.5, {"top", "middle"}),
        (0.75, {"top", "middle", "stem"}),
        (1.0, {"top", "middle", "stem", "unused"}),
    ],
)
def test_what_runs_last_is_shuffled_first(top: float, expected: set[str]) -> None:
    torch.manual_seed(0)
    model = Crossed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with randomized(model, top, lambda: model(torch.ones(1, 4))):
        assert changed(model, before) == expected
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value.flatten().sort().values, before[name].flatten().sort().values)
    assert changed(model, before) == set()


def test_the_model_is_left_as_it_was_after_an_error() -> None:
    torch.manual_seed(0)
    model = Crossed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError), randomized(model, 1.0, lambda: model(torch.ones(1, 4))):
        raise KeyError
    assert changed(model, before) == set()


def test_the_seed_decides() -> None:
    torch.manual_seed(0)
    model, found = Crossed(), []
    for seed in (0, 0, 1):
        with randomized(model, 0.0, lambda: model(torch.ones(1, 4)), seed):
            found.append(model.top.weight.clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
