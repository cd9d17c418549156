"""Modules are explained with frozen parameters, and handed back as they came."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from attribution.tiny import noise
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechshap.attribution import Evaluator, Targets, gradient_shap
from speechshap.attribution.freezing import frozen_steps
from speechshap.frames import FrameGrid
from speechshap.spaces import Space

WAVEFORMS = noise(2, 20, seed=0, dtype=torch.float32)
TARGETS = Targets.from_classes(2, [[0, 1], [1, 2]])


class Model(nn.Module):
    """Two layers, the first of them without a gradient of its own; notes what it is while a graph is built."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(20, 8).requires_grad_(False)
        self.last = nn.Linear(8, 3)
        self.seen: list[bool] = []

    def forward(self, waveforms: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append(self.last.weight.requires_grad)
        return self.last(self.first(waveforms).tanh())

    def classify(self, scale: float, waveforms: Tensor, lengths: Tensor) -> Tensor:
        return scale * self(waveforms)

    def trained(self) -> list[str]:
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]


FORWARDS: list[Callable[[Model], Callable[..., Tensor]]] = [
    lambda model: model,
    lambda model: model.forward,
    lambda model: partial(model.classify, 1.0),
]


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_module_is_frozen_while_it_is_explained(forward: Callable[[Model], Callable[..., Tensor]]) -> None:
    model = Model()
    result = gradient_shap(forward(model), WAVEFORMS, "silence", n_samples=4)
    assert model.seen
    assert not any(model.seen)
    assert model.trained() == ["last.weight", "last.bias"]
    expected = gradient_shap(lambda waveforms: model(waveforms), WAVEFORMS, "silence", n_samples=4)
    assert model.seen[-1]  # what a function calls is not known, and left alone
    torch.testing.assert_close(result.values, expected.values)


def test_the_module_that_a_function_calls_can_be_named() -> None:
    model = Model()
    evaluator = Evaluator(lambda waveforms: model(waveforms), WAVEFORMS, module=model)
    list(evaluator.gradients(WAVEFORMS, [0, 1], TARGETS))
    assert model.seen == [False]


def test_an_evaluator_of_other_waveforms_freezes_too() -> None:
    model = Model()
    list(Evaluator(model, WAVEFORMS).with_inputs(2 * WAVEFORMS).gradients(WAVEFORMS, [0, 1], TARGETS))
    assert model.seen == [False]


def test_paths_between_features_freeze_too() -> None:
    head = nn.Linear(10, 3)
    model, seen = nn.Sequential(nn.Unflatten(1, (-1, 4)), nn.Linear(4, 2), nn.Flatten(), head), []
    head.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled() and head.weight.requires_grad))
    space = Space(module=model[1])
    result = gradient_shap(model, WAVEFORMS, targets=0, n_samples=4, space=space, grid=FrameGrid(4, 4))
    assert result.frames.abs().sum() > 0
    assert seen
    assert not any(seen)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_module_is_as_it_was_whenever_the_caller_has_the_floor() -> None:
    model = Model()
    steps = Evaluator(model, WAVEFORMS).gradients(WAVEFORMS, [0, 1], TARGETS)
    next(steps)  # and is never asked again
    assert model.trained() == ["last.weight", "last.bias"]
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert model.trained() == ["last.weight", "last.bias"]


def test_an_error_leaves_the_module_as_it_was() -> None:
    model = Model()
    model.first.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gradient_shap(model, WAVEFORMS, targets=0)
    assert model.trained() == ["last.weight", "last.bias"]


def test_an_output_that_hears_its_parameters_alone_is_told() -> None:
    class Deaf(Model):
        def forward(self, waveforms: Tensor) -> Tensor:
            return super().forward(waveforms.detach())

    with pytest.raises(RuntimeError, match="does not depend on its input"):
        gradient_shap(Deaf(), WAVEFORMS)


@pytest.mark.parametrize("layer_method", ["endpoint", "path"])
def test_a_layer_that_hears_its_parameters_alone_gets_nothing(layer_method: str) -> None:
    class Gated(Model):
        def __init__(self) -> None:
            super().__init__()
            self.gates = nn.Embedding(3, 1)

        def forward(self, waveforms: Tensor) -> Tensor:
            return super().forward(waveforms) * self.gates(torch.arange(3).expand(len(waveforms), 3))[..., 0]

    model = Gated()
    result = gradient_shap(model, WAVEFORMS, "silence", layers={"gates": model.gates}, layer_method=layer_method)
    assert result.frames.abs().sum() > 0
    assert result.layers["gates"].abs().sum() == 0


def test_what_is_computed_again_in_the_backward_pass_is_frozen_too() -> None:
    class Checkpointed(Model):
        def forward(self, waveforms: Tensor) -> Tensor:
            return checkpoint(super().forward, waveforms, use_reentrant=False)

    model = Checkpointed()
    gradients = list(Evaluator(model, WAVEFORMS).gradients(WAVEFORMS, [0, 1], TARGETS))
    assert model.seen == [False] * 3  # forward, and again for each target
    plain = list(Evaluator(Model(), WAVEFORMS).gradients(WAVEFORMS, [0, 1], TARGETS))
    for found, expected in zip(gradients, plain, strict=True):
        torch.testing.assert_close(found.inputs, expected.inputs)


def test_parameters_made_in_inference_mode_are_left_alone() -> None:
    with torch.inference_mode():
        module = nn.Linear(2, 2)

    def steps() -> Iterator[bool]:
        yield module.weight.requires_grad

    assert list(frozen_steps(steps(), module)) == [True]
    assert module.weight.requires_grad
