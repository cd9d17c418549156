import numpy as np
import pytest
import torch
from helpers import tiny_config
from torch import nn

from speechshap.models import build_backbone
from speechshap.training.optimizing import ParameterGroup, adamw, parameter_groups

RATE, OF_BACKBONE, DECAY = 1e-3, 1e-4, 0.7


@pytest.mark.parametrize(("is_stable", "norm_depth"), [(False, 0), (True, 3)])
def test_each_layer_has_the_rate_of_the_next_times_the_decay(is_stable: bool, norm_depth: int) -> None:
    """By hand: three layers, of which the last has the backbone's rate, and all below the first the lowest."""
    backbone = build_backbone(tiny_config(num_hidden_layers=3, do_stable_layer_norm=is_stable))
    head = nn.Linear(32, 2)
    groups = parameter_groups([*head.parameters(), *backbone.parameters()], backbone.depths, RATE, OF_BACKBONE, DECAY)
    by_hand = {"head": 1e-3, "stem": 1e-4 * 0.343, "layer_1": 1e-4 * 0.49, "layer_2": 1e-4 * 0.7, "layer_3": 1e-4}
    assert {group.name: group.learning_rate for group in groups} == pytest.approx(by_hand)
    names = {parameter: name for name, parameter in backbone.named_parameters()}
    members = {group.name: {names.get(parameter, "head") for parameter in group.parameters} for group in groups}
    encoder = "model.encoder."
    for number in (1, 2, 3):
        own = {name for name in names.values() if name.startswith(f"{encoder}layers.{number - 1}.")}
        norm = {f"{encoder}layer_norm.{kind}" for kind in ("weight", "bias")} if norm_depth == number else set()
        assert members[f"layer_{number}"] == own | norm
    assert f"{encoder}pos_conv_embed.conv.bias" in members["stem"]
    assert any("feature_extractor" in name for name in members["stem"])
    assert sum(map(len, members.values())) == len(names) + 1  # of the head's two parameters there is one name


def test_the_last_layer_that_is_trained_has_the_rate_of_the_backbone() -> None:
    first, second, third = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = parameter_groups([first, second], {first: 1, second: 2, third: 3}, RATE, None, 0.5)
    assert {group.name: group.learning_rate for group in groups} == {"layer_1": RATE / 2, "layer_2": RATE}


@pytest.mark.parametrize("rate", [None, RATE])
def test_where_there_is_nothing_to_tell_apart_all_is_one_group(rate: float | None) -> None:
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    (group,) = parameter_groups([one, other], {other: 1}, RATE, rate)
    assert (group.name, group.learning_rate) == ("all", RATE)
    optimizer = adamw([group], 0.01, 0.1, 10)["optimizer"]
    assert "name" not in optimizer.param_groups[0]  # type: ignore[union-attr]


def test_a_group_that_joins_later_rises_from_there_to_where_the_others_are() -> None:
    groups = [
        ParameterGroup(name, rate, first, [nn.Parameter(torch.ones(1))])
        for name, rate, first in (("head", 1.0, 0), ("backbone", 0.1, 4))
    ]
    configured = adamw(groups, 0.01, warmup_fraction=0.2, total_steps=10)
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]  # type: ignore[index, typeddict-item]
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])  # type: ignore[union-attr]
        optimizer.step()  # type: ignore[union-attr]
        schedule.step()
    head, backbone = np.array(rates).T
    np.testing.assert_allclose(head, [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    np.testing.assert_allclose(backbone, [0, 0, 0, 0, 0.05, 0.0625, 0.05, 0.0375, 0.025, 0.0125])


def test_weights_decay_by_the_rate_of_their_group_biases_too() -> None:
    """AdamW (Loshchilov and Hutter 2019): without a gradient's part, a step takes rate times decay of a weight."""
    groups = [ParameterGroup(str(rate), rate, 0, [nn.Parameter(torch.ones(1))]) for rate in (0.5, 0.25)]
    optimizer = adamw(groups, 0.1, warmup_fraction=0.0, total_steps=10)["optimizer"]
    for group in groups:
        group.parameters[0].grad = torch.zeros(1)
    optimizer.step()  # type: ignore[union-attr]
    values = [float(group.parameters[0]) for group in groups]
    assert values == pytest.approx([1 - 0.5 * 0.1, 1 - 0.25 * 0.1])
