import pytest
import torch
from attribution.tiny import living_tensors
from torch import Tensor

from speechshap.attribution import gradient_shap
from speechshap.attribution.chunks import ForwardChunkSize, GradientChunkSize

CPU = torch.device("cpu")


def squares(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([inputs.square().sum(1), inputs.sum(1)], dim=1)


@pytest.mark.parametrize("chunk_size", [None, 64])
def test_a_device_that_runs_out_of_memory_gets_smaller_chunks(chunk_size: int | None) -> None:
    sizes = []

    def scarce(inputs: Tensor, lengths: Tensor) -> Tensor:
        sizes.append(len(inputs))
        if len(inputs) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return squares(inputs, lengths)

    inputs = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    expected = gradient_shap(squares, inputs, n_samples=40, chunk_size=7)
    result = gradient_shap(scarce, inputs, n_samples=40, chunk_size=chunk_size)
    assert max(sizes) > 5
    torch.testing.assert_close(result.values, expected.values)
    torch.testing.assert_close(result.values_standard_error, expected.values_standard_error)


def test_no_memory_for_a_single_row_is_an_error() -> None:
    def none_left(inputs: Tensor, lengths: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        gradient_shap(none_left, torch.randn(1, 30), n_samples=4)


def test_other_errors_are_not_mistaken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        GradientChunkSize(4, CPU, 0).run(4, lambda: (_ for _ in ()).throw(RuntimeError("shapes do not fit")))


def test_the_size_for_gradients_fits_what_the_graph_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.attribution.chunks._CPU_BUDGET", 3 * 4 * 1000)
    for fixed, expected in ((None, 3), (8, 8)):
        chunks = GradientChunkSize(fixed, CPU, 0)
        chunks.run(1, lambda: torch.ones(1000, requires_grad=True).mul(2).square())  # keeps 1000 numbers
        assert chunks.rows == expected


def test_the_size_for_forward_passes_fits_the_largest_intermediate_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.attribution.chunks._CPU_BUDGET", 3 * 4 * 4000)
    chunks, weight = ForwardChunkSize(None, CPU, 0), torch.ones(5000, 2)
    chunks.run(1, lambda: torch.ones(10, 100).mul(2).sum() + weight.T[0, 0])  # a view of the weight is not counted
    assert chunks.rows == 3


def test_the_waveforms_themselves_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.attribution.chunks._CPU_BUDGET", 30 * 4 * 1000)
    for kind in (GradientChunkSize, ForwardChunkSize):
        chunks = kind(None, CPU, 4 * 1000)
        chunks.run(1, lambda: None)
        assert chunks.rows == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples() -> None:
    """The engine holds no more tensors after many samples than after few."""
    alive, calls = {}, 0

    def spy(inputs: Tensor, lengths: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls % 32 == 4:  # a look at all objects takes a second
            alive[n_samples] = sum(tensor.numel() for tensor in living_tensors())
        return squares(inputs, lengths)

    inputs = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    for n_samples in (16, 512):
        calls = 0
        gradient_shap(spy, inputs, n_samples=n_samples, chunk_size=4)
    assert alive[512] < 1.2 * alive[16]
