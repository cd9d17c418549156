import re
from typing import Any

import pytest
import torch
from torch import nn

from speechshap.attribution import GradientSHAPSettings, Target
from speechshap.errors import UserError
from speechshap.explaining.callback import GradientSHAPCallback
from speechshap.explaining.targets import TargetChoice, choose_layers
from speechshap.spaces import Space


def test_one_class_is_the_prediction() -> None:
    assert TargetChoice("predicted", ["only"]).of(torch.zeros(1)) == [Target("only")]


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


@pytest.mark.parametrize(
    ("text", "logits", "expected"),
    [
        ("predicted - calm", [2.0, 1.0, 0.0], Target("angry", "calm")),
        ("runner-up - calm", [2.0, 1.0, 0.0], Target("happy", "calm")),
        ("happy - predicted", [2.0, 1.0, 0.0], Target("happy", "angry")),
        # A class less itself: the strongest of the others is subtracted.
        ("predicted - calm", [0.0, 1.0, 2.0], Target("calm", "happy")),
        ("happy - predicted", [0.0, 2.0, 1.0], Target("happy", "calm")),
        ("runner-up - calm", [0.0, 2.0, 1.0], Target("calm", "happy")),
    ],
)
def test_the_prediction_is_contrasted_with_a_class(text: str, logits: list[float], expected: Target) -> None:
    assert TargetChoice(text, ["angry", "happy", "calm"]).of(torch.tensor(logits)) == [expected]


def test_a_class_named_like_a_rank_is_that_class() -> None:
    choice = TargetChoice("predicted - sad", ["happy", "sad", "predicted"])
    assert choice.of(torch.tensor([2.0, 1.0, 0.0])) == [Target("predicted", "sad")]


@pytest.mark.parametrize("text", ["runner-up", "predicted - only"])
def test_one_class_has_no_other_to_contrast(text: str) -> None:
    with pytest.raises(UserError, match="the model has one class, 'only', and no runner-up"):
        TargetChoice(text, ["only"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hapy", "no class 'hapy', did you mean 'happy'? expected predicted, runner-up, all, some of 'happy', 'sad'"),
        ("predicted, hapy - sad", "no class 'hapy', did you mean 'happy'?"),
        ("sad - predictd", "no class 'predictd', did you mean 'predicted'?"),
        ("bored", "no class 'bored'; expected"),
    ],
)
def test_an_unknown_class_is_told_with_the_nearest_one(text: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        TargetChoice(text, ["happy", "sad"])


@pytest.mark.parametrize(
    "targets",
    ["happy,predicted - sad", " happy, predicted - sad", ["happy", "predicted - sad"], ("happy", "predicted - sad")],
)
@pytest.mark.parametrize("layers", ["6,12", "6, 12", [6, 12], ["6", "12"]])
def test_lists_and_texts_with_commas_are_the_same_settings(targets: Any, layers: Any) -> None:
    settings = GradientSHAPSettings(targets=targets, layers=layers)
    assert (settings.targets, settings.layers) == ("happy,predicted - sad", "6,12")
    assert settings == GradientSHAPSettings(targets="happy,predicted - sad", layers="6,12")  # what is fingerprinted
    callback = GradientSHAPCallback(targets=targets, layers=layers)
    assert callback.methods[0].settings == settings


@pytest.mark.parametrize("value", [None, 2.5, ["happy", None], {"happy": 1}])
def test_targets_are_names(value: Any) -> None:
    with pytest.raises(UserError, match=r"`targets` is .*; expected names, as a list or with commas between them"):
        GradientSHAPSettings(targets=value)


def test_a_name_with_a_comma_is_found_with_and_without_the_space() -> None:
    settings = GradientSHAPSettings(targets=["wow, great", "meh - wow, great"])
    expected = [Target("wow, great"), Target("meh", "wow, great")]
    assert TargetChoice(settings.targets, ["wow, great", "meh"]).of(torch.zeros(2)) == expected


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
    space = {"layer_2": Space(module=module[1])}
    assert choose_layers("all", layers, module, space) == {"layer_2": module[1]}
    assert choose_layers("2, 1.0", layers, module) == {"layer_2": module[1], "1.0": module[1][0]}
    with pytest.raises(UserError, match=r"no layer 'layr_2', did you mean 'layer_2'[?] expected none"):
        choose_layers("layr_2", layers, module)
    with pytest.raises(UserError, match="no layer '3'; expected none, all, or some of 1 to 2"):
        choose_layers("3", layers, module)
    with pytest.raises(UserError, match='`layers="all"`: the layers of this model are not known'):
        choose_layers("all", {}, module)
