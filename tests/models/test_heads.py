import pytest
import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.models import mlp_head
from speechshap.models.heads import require_fit


def test_dropout_of_the_default_head() -> None:
    head, features = mlp_head(8, 2, dropout=0.5), torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    assert isinstance(head, nn.Sequential)
    torch.manual_seed(0)
    hidden = head[:2](features)
    share = float((head[:3](features) == 0)[hidden > 0].float().mean())
    assert share == pytest.approx(0.5, abs=0.01)


def test_the_default_head_has_the_hidden_units_that_are_asked_for() -> None:
    assert [tuple(weight.shape) for weight in mlp_head(8, 2, hidden_units=5).parameters()] == [
        (5, 8),
        (5,),
        (2, 5),
        (2,),
    ]
    assert [tuple(weight.shape) for weight in mlp_head(8, 2, hidden_units=0).parameters()] == [(2, 8), (2,)]


class OneLabel(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.argmax(1)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (nn.Linear(8, 3), r"`head` does not take what the pooling gives, \(batch, 16\): mat1 and mat2 shapes"),
        (nn.Linear(16, 4), r"`head` gives \(1, 4\) for one utterance; expected logits \(1, 3\)"),
        (OneLabel(), r"`head` gives \(1,\) for one utterance; expected logits \(1, 3\)"),
    ],
)
def test_a_head_that_does_not_fit_the_pooling_is_refused_in_one_line(head: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        require_fit(head, 16, 3)
    assert "\n" not in str(told.value)


def test_a_look_at_a_head_leaves_it_as_it_was() -> None:
    head = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).double()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.get_rng_state()
    require_fit(head, 16, 3)
    assert head.training
    assert all(parameter.requires_grad for parameter in head.parameters())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
