"""What follows from weights is computed anew when they change, as transformers' own model shows."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import make_model, relative_difference, waveforms
from torch import Tensor, nn

from speechshap.models import accelerate
from speechshap.models.derived import Derived


def test_it_is_computed_once_for_values_and_arguments_and_kept_in_no_copy() -> None:
    weight, derived, computed = torch.ones(2), Derived(), []

    def value(of: Derived, argument: int) -> Tensor:
        return of([weight], lambda: computed.append(argument) or argument * weight, argument)  # type: ignore[func-returns-value]

    assert [value(derived, argument).tolist() for argument in (1, 1, 2, 1)] == [[1, 1], [1, 1], [2, 2], [1, 1]]
    assert computed == [1, 2, 1]
    for copied in (copy.deepcopy(derived), pickle.loads(pickle.dumps(derived))):  # noqa: S301
        value(copied, 1)
    assert computed == [1, 2, 1, 1, 1]


def test_nothing_is_kept_of_weights_that_are_trained() -> None:
    weight, derived = torch.ones(2, requires_grad=True), Derived()
    first, second = (derived([weight], lambda: 2 * weight) for _ in range(2))
    assert first is not second
    assert second.requires_grad


def write_data(model: Any) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.2)


def write_in_place(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)


def load_others(model: Any) -> None:
    model.load_state_dict({name: 1.2 * value for name, value in model.state_dict().items()})


def draw_anew(model: Any) -> None:
    torch.manual_seed(3)
    nn.init.normal_(model.encoder.pos_conv_embed.conv.parametrizations.weight.original1)
    nn.init.normal_(model.encoder.layers[0].attention.rel_attn_embed.weight)


def take_a_step(model: Any, **options: bool) -> None:
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **options)
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    model.requires_grad_(False)


def take_a_fused_step(model: Any) -> None:
    take_a_step(model, fused=True)


def replace_parameters(model: Any) -> None:
    weight = model.encoder.pos_conv_embed.conv.parametrizations.weight
    weight.original1 = nn.Parameter(1.2 * weight.original1.flip(2), requires_grad=False)


def swap_taps(model: Any) -> None:
    """Sums over the weights stay what they are."""
    data = model.encoder.pos_conv_embed.conv.parametrizations.weight.original1.data
    data.copy_(data.flip(1))


@pytest.mark.parametrize("family", ["wavlm", "hubert", "data2vec-audio"])
@pytest.mark.parametrize(
    "change",
    [write_data, write_in_place, load_others, draw_anew, take_a_step, take_a_fused_step, replace_parameters, swap_taps],
)
def test_changed_weights_are_used(family: str, change: Callable[[Any], None]) -> None:
    if family != "wavlm" and change in (draw_anew, replace_parameters, swap_taps):
        pytest.skip("of WavLM's parameters")
    plain = make_model(family, "layer")
    fast = accelerate(copy.deepcopy(plain))
    before = fast(waveforms()).last_hidden_state
    for model in (plain, fast):
        change(model)
    found = fast(waveforms()).last_hidden_state
    assert relative_difference(found, plain(waveforms()).last_hidden_state) < 1e-5
    assert relative_difference(found, before) > 1e-3


def test_weights_may_be_those_of_a_function_transform() -> None:
    model = accelerate(make_model())
    names = {name: torch.stack([value, 1.1 * value]) for name, value in model.encoder.pos_conv_embed.named_parameters()}
    states = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(4))

    def run(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model.encoder.pos_conv_embed, weights, (states,))

    found = torch.vmap(run)(names)
    for row in range(2):
        assert relative_difference(found[row], run({name: value[row] for name, value in names.items()})) < 1e-5
