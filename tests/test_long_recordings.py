"""Memory of long recordings: a few copies of their samples, and blocks."""

import gc
from typing import Any

import pytest
import torch
from attribution.tiny import living_tensors, noise
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from speechshap.attribution import (
    Attribution,
    Evaluator,
    SpectralGrid,
    Targets,
    find_method,
    gaussian_noise,
    gradient_shap,
)
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=40, receptive_field=60)


def powers(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([inputs.square().sum(1), inputs.pow(3).sum(1), inputs.sin().sum(1)], dim=1)


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operator makes."""

    num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.num_bytes = max(self.num_bytes, *sizes, 0)
        return output


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.attribution.frame_sums._BLOCK_SAMPLES", 1000)
    monkeypatch.setattr("speechshap.attribution.spectrum._BLOCK_FRAMES", 7)
    monkeypatch.setattr("speechshap.attribution.replicates._BLOCK", 1000)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["gradient_shap", "integrated_gradients"])
def test_no_tensor_is_larger_than_the_waveform(name: str) -> None:
    """For three targets and with bands, which are an eighth of its size."""
    method, waveform = find_method(name), noise(1, 40_000, seed=0, dtype=torch.float32)
    evaluator = Evaluator(powers, waveform, grid=GRID, chunk_size=1)
    settings = method.settings(spectrum=SpectralGrid(128, 64, num_mel_bands=8))
    targets = Targets.from_classes(1, [[0, 1, 2]])
    with LargestTensor() as largest:
        result = method.explain(evaluator, targets, gaussian_noise(), settings)
    assert result.values is result.values_standard_error is None
    assert largest.num_bytes == waveform.nbytes


def test_few_copies_of_the_samples_are_alive_while_the_model_runs() -> None:
    """Utterance, reference, point, and the differences that multiply the gradient."""
    waveform, alive = noise(1, 40_000, seed=0, dtype=torch.float32), []
    gc.collect()
    others = {id(tensor) for tensor in living_tensors()}

    def forward(inputs: Tensor, lengths: Tensor) -> Tensor:
        if inputs.requires_grad:
            tensors = [tensor for tensor in living_tensors() if id(tensor) not in others]
            storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
            alive.append(sum(storages.values()) / waveform.nbytes)
        return powers(inputs, lengths)

    gradient_shap(forward, waveform, targets=[[0, 1, 2]], n_samples=4, grid=GRID, chunk_size=1, keep_values=False)
    assert len(alive) == 4
    assert max(alive) < 5  # those four, and the frames so far


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_blocks_change_no_number(chunk_size: int, request: pytest.FixtureRequest) -> None:
    def explain() -> Attribution:
        return gradient_shap(
            powers, noise(2, 5003, seed=0), targets=[[0, 1], [2, 0]], lengths=[5003, 3777], n_samples=6, grid=GRID,
            spectrum=SpectralGrid(100, 32), chunk_size=chunk_size,
        )  # fmt: skip

    expected = explain()
    request.getfixturevalue("small_blocks")
    found = explain()
    for name in ("values", "frames", "time_frequency", "completeness_gap"):
        for kind in (name, f"{name}_standard_error"):
            torch.testing.assert_close(getattr(found, kind), getattr(expected, kind), rtol=1e-10, atol=1e-12)


def test_without_values_all_else_is_the_same() -> None:
    options = {"targets": [[0, 2]], "n_samples": 6, "grid": GRID, "spectrum": SpectralGrid(100, 32)}
    expected = gradient_shap(powers, noise(1, 5003, seed=0), **options)
    found = gradient_shap(powers, noise(1, 5003, seed=0), **options, keep_values=False)
    assert expected.values is not None
    assert found.values is found.values_standard_error is None
    for name in ("frames", "frames_standard_error", "time_frequency", "completeness_gap", "path_second_moments"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
