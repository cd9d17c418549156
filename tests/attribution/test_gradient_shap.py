import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from captum.attr import GradientShap
from helpers import tiny_config
from torch import Tensor

from speechshap.attribution import Attribution, gradient_shap
from speechshap.data import FrameGrid
from speechshap.models import EmotionModule

GRID = FrameGrid(hop=4, receptive_field=6)


def quadratic(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Two classes: sum of squares, and product of the first two samples; blind to padding."""
    inputs = inputs * (torch.arange(inputs.shape[1]) < lengths[:, None])
    return torch.stack([inputs.square().sum(1), inputs[:, 0] * inputs[:, 1]], dim=1)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def speech_model() -> EmotionModule:
    torch.manual_seed(0)
    return EmotionModule(["a", "b", "c"], backbone_config=tiny_config("wavlm", "group", do_normalize=True)).eval()


def expected_quadratic(x: Tensor, mean: float | Tensor, variance: float | Tensor) -> Tensor:
    """Expectation for the sum of squares: E[(x - b) (x + b)] = x^2 - E[b^2]."""
    return x.square() - (mean**2 + variance)


def test_linear_model_without_sampling_error(inputs: Tensor) -> None:
    weight = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[0, 2]] * 3)
    result = gradient_shap(lambda x, lengths: x @ weight, inputs, "silence", targets, grid=GRID)
    torch.testing.assert_close(result.values, inputs[:, None] * weight.T[[0, 2]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.logits, inputs @ weight, atol=1e-5, rtol=1e-5)
    assert result.values_standard_error.max() < 1e-6
    assert result.completeness_gap.abs().max() < 1e-5
    assert result.relative_error.max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_quadratic_model_within_its_standard_error(inputs: Tensor, seed: int) -> None:
    targets = torch.zeros(3, 1, dtype=torch.int64)
    result = gradient_shap(quadratic, inputs, "noise", targets, n_samples=2000, chunk_size=500, seed=seed, grid=GRID)
    mean, variance = inputs.mean(1, keepdim=True), inputs.var(1, correction=0, keepdim=True)
    deviation = (result.values[:, 0] - expected_quadratic(inputs, mean, variance)) / result.values_standard_error[:, 0]
    assert deviation.abs().max() < 5
    assert 0.7 < deviation.square().mean().sqrt() < 1.3
    gap = result.completeness_gap / result.completeness_gap_standard_error
    assert gap.abs().max() < 4


def repeat(inputs: Tensor, n_samples: int, repetitions: int) -> list[Attribution]:
    targets = torch.zeros(3, 1, dtype=torch.int64)
    return [
        gradient_shap(quadratic, inputs, "noise", targets, n_samples=n_samples, chunk_size=3 * n_samples, seed=seed)
        for seed in range(repetitions)
    ]


def test_intervals_of_samples_cover_the_truth(inputs: Tensor) -> None:
    mean, variance = inputs.mean(1, keepdim=True), inputs.var(1, correction=0, keepdim=True)
    truth = expected_quadratic(inputs, mean, variance)
    results = repeat(inputs, n_samples=200, repetitions=60)
    covered = [((r.values[:, 0] - truth).abs() < 1.96 * r.values_standard_error[:, 0]).float() for r in results]
    assert torch.stack(covered).mean() == pytest.approx(0.95, abs=0.02)


def test_intervals_of_the_completeness_gap_cover_zero(inputs: Tensor) -> None:
    results = repeat(inputs, n_samples=50, repetitions=250)
    covered = [(r.completeness_gap.abs() < 1.96 * r.completeness_gap_standard_error).float() for r in results]
    assert torch.stack(covered).mean() == pytest.approx(0.95, abs=0.03)


def test_parity_with_captum_for_the_same_draws(speech_model: EmotionModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captum draws one alpha and one baseline a row; given these, both libraries compute the same mean."""
    generator = torch.Generator().manual_seed(3)
    waveform = 0.1 * torch.randn(1, 2000, generator=generator)
    baselines = 0.1 * torch.randn(6, 2000, generator=generator)
    alphas = torch.rand(6, generator=generator)
    length = torch.tensor([2000])
    monkeypatch.setattr("numpy.random.uniform", lambda *args, **options: alphas.numpy())
    monkeypatch.setattr("numpy.random.choice", lambda *args, **options: np.arange(6))
    expected = GradientShap(lambda x: speech_model(x, length.expand(len(x)))).attribute(
        waveform, baselines, n_samples=6, stdevs=0.0, target=1
    )
    result = gradient_shap(speech_model, waveform, baselines, torch.tensor([[1]]), alphas=alphas, chunk_size=4)
    scale = float(expected.abs().max())
    torch.testing.assert_close(result.values[0], expected, atol=1e-5 * scale, rtol=1e-5)


def test_completeness_on_a_speech_model(speech_model: EmotionModule) -> None:
    waveforms = 0.1 * torch.randn(2, 3000, generator=torch.Generator().manual_seed(4))
    lengths = torch.tensor([3000, 1700])
    targets = torch.arange(3).expand(2, 3)
    result = gradient_shap(speech_model, waveforms, "noise", targets, lengths, n_samples=400, chunk_size=50)
    assert (result.completeness_gap.abs() < 4 * result.completeness_gap_standard_error).all()


def same(one: Attribution, other: Attribution, rows: list[int]) -> None:
    for name in ("values", "values_standard_error", "frames", "completeness_gap", "completeness_gap_standard_error"):
        first, second = getattr(one, name)[rows], getattr(other, name)
        first = first[..., : second.shape[-1]] if first.ndim == 3 else first
        scale = float(second.abs().max())
        torch.testing.assert_close(first, second, atol=1e-5 * scale, rtol=1e-5)


def test_nothing_depends_on_chunk_batch_or_order(speech_model: EmotionModule) -> None:
    waveforms = 0.1 * torch.randn(3, 2400, generator=torch.Generator().manual_seed(5))
    lengths, ids = torch.tensor([2400, 900, 1600]), ["x", "y", "z"]
    waveforms *= torch.arange(2400) < lengths[:, None]

    def explain(rows: list[int], chunk_size: int) -> Attribution:
        return gradient_shap(
            speech_model,
            waveforms[rows][:, : int(lengths[rows].max())],
            lengths=lengths[rows],
            ids=[ids[row] for row in rows],
            targets=torch.tensor([[0, 1]] * len(rows)),
            n_samples=7,
            chunk_size=chunk_size,
        )

    together = explain([0, 1, 2], 5)
    same(together, explain([0, 1, 2], 1), [0, 1, 2])
    same(together, explain([2, 0], 21), [2, 0])
    same(together, explain([1], 3), [1])


def test_the_seed_and_the_id_decide(inputs: Tensor) -> None:
    explain = lambda **options: gradient_shap(quadratic, inputs[:1], n_samples=4, **options).values  # noqa: E731
    assert torch.equal(explain(seed=1, ids=["a"]), explain(seed=1, ids=["a"]))
    assert not torch.equal(explain(seed=1, ids=["a"]), explain(seed=2, ids=["a"]))
    assert not torch.equal(explain(seed=1, ids=["a"]), explain(seed=1, ids=["b"]))


def test_frames_are_sums_of_samples_and_padding_gets_zero(inputs: Tensor) -> None:
    lengths = torch.tensor([40, 21, 6])
    result = gradient_shap(quadratic, inputs, lengths=lengths, grid=GRID, n_samples=5)
    assert result.frame_lengths.tolist() == [9, 4, 1]
    torch.testing.assert_close(result.frames.sum(-1), result.values.sum(-1))
    for row, length in enumerate(lengths.tolist()):
        assert result.values[row, :, length:].abs().sum() == 0
        edges = GRID.edges(length).tolist()
        for frame, (start, end) in enumerate(pairwise(edges)):
            torch.testing.assert_close(result.frames[row, 0, frame], result.values[row, 0, start:end].sum())
        assert result.frames[row, :, result.frame_lengths[row] :].abs().sum() == 0


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_any_gradient_mode(speech_model: EmotionModule, context: Callable) -> None:
    generator = torch.Generator().manual_seed(6)
    expected = gradient_shap(speech_model, 0.1 * torch.randn(2, 1000, generator=generator), n_samples=4)
    with context():
        waveforms = 0.1 * torch.randn(2, 1000, generator=torch.Generator().manual_seed(6))
        result = gradient_shap(speech_model, waveforms, n_samples=4)
    assert result.values.abs().min() > 0
    assert torch.equal(result.values, expected.values)


def test_no_target_explains_the_predicted_class(inputs: Tensor) -> None:
    result = gradient_shap(quadratic, inputs, n_samples=2)
    assert torch.equal(result.targets[:, 0], quadratic(inputs, torch.full((3,), 40)).argmax(1))


def test_references_are_cropped_or_repeated(inputs: Tensor) -> None:
    long = torch.arange(100.0)[None]
    seen = []

    def spy(x: Tensor, lengths: Tensor) -> Tensor:
        seen.append(x.detach())
        return quadratic(x, lengths)

    gradient_shap(spy, inputs[:1], long, alphas=None, n_samples=2, ids=["u"], seed=9)
    references = seen[-1]  # the last forward pass is that of the references
    assert all(torch.equal(row, row[0] + torch.arange(40.0)) for row in references)
    gradient_shap(spy, inputs[:1], long[:, :15], n_samples=2)
    assert torch.equal(seen[-1][0], torch.arange(40.0) % 15)


def test_a_callable_baseline_sees_the_utterance_and_a_generator(inputs: Tensor) -> None:
    def half(waveform: Tensor, generator: torch.Generator) -> Tensor:
        assert waveform.shape == (25,)
        return waveform / 2

    result = gradient_shap(
        quadratic, inputs[:1], half, torch.tensor([[0]]), torch.tensor([25]), n_samples=4000, chunk_size=999
    )
    expected = inputs[0, :25].square() * 0.75
    torch.testing.assert_close(result.values[0, 0, :25], expected, atol=0.05, rtol=0.05)


def test_progress_counts_all_rows(inputs: Tensor) -> None:
    counted: list[int] = []
    gradient_shap(quadratic, inputs, n_samples=5, chunk_size=4, progress=counted.append)
    assert counted == [4, 4, 4, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": torch.zeros(3)}, r"inputs have shape \(3,\)"),
        ({"inputs": torch.zeros(3, 40, dtype=torch.int64)}, "torch.int64; expected float"),
        ({"lengths": torch.tensor([40, 41, 1])}, "expected 3 numbers from 1 to 40"),
        ({"lengths": torch.tensor([40, 0, 1])}, "expected 3 numbers from 1 to 40"),
        ({"ids": ["a", "b", "a"]}, "3 different names"),
        ({"n_samples": 1}, "needs 2 at least"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"baselines": "music"}, "expected 'noise', 'silence'"),
        ({"baselines": torch.zeros(5)}, r"expected \(references, time\)"),
        ({"alphas": torch.rand(4)}, r"take baselines as a tensor \(4, 40\)"),
        ({"targets": torch.tensor([[2], [0], [0]])}, "classes 0 to 1"),
        ({"targets": torch.tensor([0, 0, 0])}, "expected int64"),
    ],
)
def test_an_argument_that_does_not_fit(inputs: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient_shap(quadratic, **{"inputs": inputs, **options})


def test_a_forward_that_cuts_the_graph_is_told(inputs: Tensor) -> None:
    with pytest.raises(RuntimeError, match="does not depend on its input"):
        gradient_shap(lambda x, lengths: quadratic(x.detach(), lengths), inputs)


def test_a_gradient_that_is_not_finite_is_reported_with_the_utterance(inputs: Tensor) -> None:
    def root(x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([(x[:, 0] - x[:, 0].detach()).abs().sqrt(), x[:, 1]], dim=1)

    with pytest.raises(FloatingPointError, match=r"the gradient of utterance one.wav is not finite"):
        gradient_shap(root, inputs[:1], targets=torch.tensor([[0]]), ids=["one.wav"])


def test_relative_error_by_hand(inputs: Tensor) -> None:
    result = gradient_shap(quadratic, inputs, grid=GRID, n_samples=6)
    by_hand = [
        math.sqrt(sum(float(e) ** 2 for e in error[0])) / math.sqrt(sum(float(v) ** 2 for v in value[0]))
        for error, value in zip(result.frames_standard_error, result.frames, strict=True)
    ]
    assert result.relative_error[:, 0].tolist() == pytest.approx(by_hand)
