import pytest
import torch
from torch import nn

from speechshap.attribution import Target
from speechshap.errors import UserError
from speechshap.explaining.targets import TargetChoice, choose_layers


def test_one_class_has_no_runner_up() -> None:
    assert TargetChoice("predicted", ["only"]).of(torch.zeros(1)) == [Target("only")]
    with pytest.raises(UserError, match="the model has one class, 'only', and no runner-up"):
        TargetChoice("runner-up", ["only"])


def test_a_class_with_a_hyphen_can_be_contrasted() -> None:
    choice = TargetChoice("low-arousal - calm,calm-low-arousal", ["calm", "low-arousal"])
    assert choice.of(torch.zeros(2)) == [Target("low-arousal", "calm"), Target("calm", "low-arousal")]


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("happy - sad", ["happy", "sad", "happy - sad"], [Target("happy - sad")]),
        ("a, b, c", ["a, b", "c"], [Target("a, b"), Target("c")]),
        ("c, a, b - c", ["a, b", "c"], [Target("c"), Target("a, b", "c")]),
        ("a - b - c", ["a - b", "c"], [Target("a - b", "c")]),
        ("a,b", ["a", "b", "a,b"], [Target("a,b")]),
        ("b,a", ["a", "b", "a,b"], [Target("b"), Target("a")]),
        ("all", ["a, b", "c - d"], [Target("a, b"), Target("c - d")]),
        ("all, a - b", ["a", "b"], [Target("a"), Target("b"), Target("a", "b")]),
    ],
)
def test_names_of_classes_may_have_commas_and_hyphens(text: str, classes: list[str], expected: list[Target]) -> None:
    assert TargetChoice(text, classes).of(torch.zeros(len(classes))) == expected


def test_a_text_that_is_two_contrasts_is_refused() -> None:
    with pytest.raises(UserError, match="'a - b - c' can be read as 2 different contrasts"):
        TargetChoice("a - b - c", ["a", "b - c", "a - b", "c"])


def test_a_regression_is_explained_by_output() -> None:
    outputs = ["arousal", "dominance"]
    assert TargetChoice("predicted", outputs, is_regression=True).of(torch.zeros(2)) == [
        Target("arousal"), Target("dominance"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="no class 'runner-up'; expected all, some of 'arousal', 'dominance'"):
        TargetChoice("runner-up", outputs, is_regression=True)


def test_layers_are_named_by_number_or_as_modules() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    layers = {"layer_1": module[0], "layer_2": module[1]}
    assert choose_layers("none", layers, module) == {}
    assert choose_layers("all", layers, module) == layers
    assert choose_layers("2, 1.0", layers, module) == {"layer_2": module[1], "1.0": module[1][0]}
    with pytest.raises(UserError, match="no layer '3'; expected none, all, or some of 1 to 2"):
        choose_layers("3", layers, module)
    with pytest.raises(UserError, match='`layers="all"`: the layers of this model are not known'):
        choose_layers("all", {}, module)
