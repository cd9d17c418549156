from collections.abc import Callable

import pytest
import torch
from attribution.tiny import TinyWavLM, noise, seeded
from torch import Tensor

from speechshap.attribution import Evaluator, Targets, UtteranceError
from speechshap.attribution.methods.gradient_shap import GradientSHAPSettings, explain

LENGTHS = [1300, 2000, 720]


@pytest.fixture
def waveforms() -> Tensor:
    return noise(3, 2000, seed=0, dtype=torch.float32)


def sums(waveforms: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([waveforms.sum(1), waveforms.square().sum(1)], dim=1)


def test_outputs_of_a_batch_are_those_of_each_utterance_alone(waveforms: Tensor) -> None:
    model = seeded(TinyWavLM())
    evaluator = Evaluator(model, waveforms, LENGTHS, layers=model.layers)
    for row, length in enumerate(LENGTHS):
        alone = Evaluator(model, waveforms[row : row + 1, :length], layers=model.layers)
        torch.testing.assert_close(evaluator.logits[row], alone.logits[0], atol=1e-5, rtol=1e-5)
        for name, layer in alone.outputs.layers.items():
            own = evaluator.outputs.layers[name][row]
            torch.testing.assert_close(own[: layer.shape[1]], layer[0], atol=1e-5, rtol=1e-5)


def test_the_batch_is_zeroed_in_the_padding_and_knows_its_frames(waveforms: Tensor) -> None:
    evaluator = Evaluator(sums, waveforms, LENGTHS, ["a", "b", "c"])
    assert len(evaluator) == 3
    assert evaluator.frame_lengths.tolist() == [3, 6, 2]
    for row, length in enumerate(LENGTHS):
        assert evaluator.inputs[row, length:].abs().sum() == 0
        assert torch.equal(evaluator.waveform(row), waveforms[row, :length])
    assert not torch.equal(waveforms, evaluator.inputs)  # a copy


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 100])
def test_rows_are_told_in_the_order_that_they_were_asked_in(waveforms: Tensor, chunk_size: int | None) -> None:
    counted: list[int] = []
    evaluator = Evaluator(sums, waveforms, LENGTHS, chunk_size=chunk_size, progress=counted.append)
    utterances = [2, 0, 1, 1, 0]
    result = evaluator.evaluate(utterances, lambda row: (row + 1) * evaluator.waveform(utterances[row]))
    expected = torch.stack(
        [
            torch.stack([factor * own.sum(), factor**2 * own.square().sum()])
            for factor, own in enumerate((waveforms[row, : LENGTHS[row]] for row in utterances), start=1)
        ]
    )
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-3)
    assert sum(counted) == 5
    assert chunk_size is None or max(counted) <= chunk_size


def test_chunks_begin_with_the_longest_utterances_and_halve_when_memory_runs_out(waveforms: Tensor) -> None:
    shapes = []

    def scarce(rows: Tensor, lengths: Tensor) -> Tensor:
        shapes.append(tuple(rows.shape))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sums(rows, lengths)

    evaluator = Evaluator(scarce, waveforms, LENGTHS)
    evaluator.evaluate([0, 1, 2] * 2, lambda row: evaluator.waveform(row % 3))
    assert shapes == [(1, 2000), (5, 2000), (2, 2000), (2, 1300), (1, 720)]


def test_forward_passes_take_larger_chunks_than_gradients(waveforms: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.attribution.chunks._CPU_BUDGET", 2**22)
    model, rows = seeded(TinyWavLM()), []

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        logits = model(waveforms, lengths)
        rows.append((logits.requires_grad, len(waveforms)))
        return logits

    evaluator = Evaluator(forward, waveforms)
    evaluator.evaluate([0] * 200, lambda row: evaluator.inputs[0])
    settings = GradientSHAPSettings(n_samples=100)
    explain(evaluator, Targets.from_classes(3, 0), lambda waveform, generator: waveform / 2, settings)
    without, with_graph = (max(count for graph, count in rows if graph == kind) for kind in (False, True))
    assert without > with_graph > 1


def test_forward_passes_build_no_graph(waveforms: Tensor) -> None:
    """A forward that goes through numpy could not be followed."""

    def through_numpy(rows: Tensor, lengths: Tensor) -> Tensor:
        return torch.from_numpy(rows.numpy()[:, :2] ** 2)

    evaluator = Evaluator(through_numpy, waveforms)
    torch.testing.assert_close(evaluator.logits, waveforms[:, :2].square())
    assert not evaluator.evaluate([0], lambda row: evaluator.inputs[0]).requires_grad


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_gradients_in_any_mode(waveforms: Tensor, context: Callable) -> None:
    with context():
        evaluator = Evaluator(sums, waveforms.clone(), LENGTHS)
        targets = evaluator.targets(Targets.from_classes(3, torch.tensor([[1, 0]] * 3)))
        points = 2 * evaluator.inputs[[2, 1], :2000]
        first, second = evaluator.gradients(points, [2, 1], targets, directions=points.clone())
    torch.testing.assert_close(first.inputs, 2 * points)
    assert (second.inputs == 1).all()


def test_targets_of_another_batch_are_refused(waveforms: Tensor) -> None:
    with pytest.raises(ValueError, match="targets are for 2 utterances; the batch has 3"):
        Evaluator(sums, waveforms).targets(Targets.from_classes(2, 0))


def test_an_object_that_does_not_tell_its_signature_is_taken_for_a_forward_of_two_arguments(waveforms: Tensor) -> None:
    class Mysterious:
        @property
        def __signature__(self) -> None:
            raise ValueError("no signature")

        def __call__(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
            return sums(waveforms, lengths)

    torch.testing.assert_close(Evaluator(Mysterious(), waveforms).logits, Evaluator(sums, waveforms).logits)


def test_a_waveform_that_is_not_finite_costs_its_utterance() -> None:
    waveforms = torch.zeros(2, 8)
    waveforms[1, 5] = torch.nan
    with pytest.raises(UtteranceError, match="the waveform of utterance b is not finite") as error:
        Evaluator(sums, waveforms, ids=["a", "b"])
    assert error.value.utterance_id == "b"
    Evaluator(sums, waveforms, [8, 5], ["a", "b"])  # what lies in the padding is never read
