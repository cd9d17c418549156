import copy

import numpy as np
import pytest
import torch
from families import as_after_training, relative_difference
from models.tiny import POOLINGS
from torch import Tensor, nn

from speechshap.errors import UserError
from speechshap.models import Pooling, masked_mean
from speechshap.models.pooling import attentive_mean_std, masked_mean_std

LENGTHS = torch.tensor([7, 1, 4])


def frames_of(lengths: Tensor = LENGTHS, size: int = 5, **options: torch.dtype) -> Tensor:
    """Random frames ``(batch, frames, size)`` with zeros after each utterance."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(len(lengths), int(lengths.max()), size, generator=generator, **options)
    return frames * (torch.arange(frames.shape[1]) < lengths[:, None])[..., None]


def make_pooling(**options: object) -> Pooling:
    torch.manual_seed(0)
    return as_after_training(Pooling(num_features=5, **options))  # type: ignore[arg-type, return-value]


def norm_of(pooling: Pooling) -> dict[str, Tensor]:
    """The state of its norm."""
    assert pooling.norm is not None
    return pooling.norm.state_dict()


def normalized(pooling: Pooling, pooled: Tensor) -> Tensor:
    """What the norm gives in eval mode, by hand."""
    norm = norm_of(pooling)
    return (pooled - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]


def test_masked_mean_by_hand() -> None:
    frames = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [float("nan"), 9.0]]])
    assert masked_mean(frames, torch.tensor([2])).tolist() == [[2.0, 4.0]]


def test_mean_and_deviation_are_those_of_each_utterance_by_itself() -> None:
    frames = frames_of()
    found = masked_mean_std(frames, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        own = frames[row, :length]
        expected = torch.cat([own.mean(0), own.std(0, correction=0).clamp_min(1e-6)])
        torch.testing.assert_close(found[row], expected)


def test_a_small_deviation_around_a_large_mean_is_kept() -> None:
    """A difference of squares would lose it."""
    frames = 1000 + 0.01 * torch.randn(1, 400, 3, generator=torch.Generator().manual_seed(0))
    expected = frames.double().std(1, correction=0).float()
    length = torch.tensor([400])
    torch.testing.assert_close(masked_mean_std(frames, length)[:, 3:], expected, rtol=0.01, atol=0)
    weighted = attentive_mean_std(frames, length, torch.zeros(1, 400, 1))
    torch.testing.assert_close(weighted[:, 3:], expected, rtol=0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_of_half_precision_do_not_overflow(dtype: torch.dtype) -> None:
    frames = (300 * torch.randn(1, 400, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    expected = frames.double().std(1, correction=0)
    for found in (
        masked_mean_std(frames, torch.tensor([400])),
        attentive_mean_std(frames, torch.tensor([400]), torch.zeros(1, 400, 1, dtype=dtype)),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found[:, 3:].double(), expected, rtol=0.01, atol=0)


def speechbrain_statistics(frames: Tensor, scores: Tensor) -> Tensor:
    """Attentive statistics of an utterance ``(frames, size)``, as speechbrain computes them (ECAPA-TDNN)."""
    weights = scores.exp() / scores.exp().sum()
    mean = (weights[:, None] * frames).sum(0)
    return torch.cat([mean, torch.sqrt((weights[:, None] * (frames - mean).pow(2)).sum(0).clamp(1e-12))])


@pytest.mark.parametrize("num_queries", [1, 3])
def test_attentive_statistics_are_those_of_the_formula(num_queries: int) -> None:
    pooling, frames = make_pooling(kind="attentive", num_queries=num_queries), frames_of()
    assert pooling.attention is not None
    hidden, _, queries = pooling.attention
    assert hidden.weight.shape == (128, 5)
    for row, length in enumerate(LENGTHS.tolist()):
        own = frames[row, :length]
        scores = [(own @ hidden.weight.T + hidden.bias).tanh() @ query for query in queries.weight]
        expected = torch.cat([speechbrain_statistics(own, each) for each in scores])
        torch.testing.assert_close(pooling(frames, LENGTHS)[row], normalized(pooling, expected))


@pytest.mark.parametrize("kind", ["mean", "mean_std"])
def test_convolutions_are_pointwise_ones_with_a_relu(kind: str) -> None:
    pooling, frames = make_pooling(kind=kind, convolutions=2), frames_of()
    hidden = frames.transpose(1, 2)
    for number in (0, 3):
        layer: nn.Linear = pooling.convolutions[number]  # type: ignore[assignment]
        convolution = nn.Conv1d(layer.in_features, 256, 1)
        convolution.weight.data, convolution.bias.data = layer.weight[..., None], layer.bias  # type: ignore[union-attr]
        hidden = convolution(hidden).relu()
    found = pooling(frames, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        own = hidden[row, :, :length]
        deviation = [own.std(1, correction=0).clamp_min(1e-6)] if kind == "mean_std" else []
        torch.testing.assert_close(found[row], normalized(pooling, torch.cat([own.mean(1), *deviation])))


@pytest.mark.parametrize("options", POOLINGS)
def test_an_utterance_is_pooled_as_it_is_alone(options: dict) -> None:
    pooling, frames = make_pooling(**options).double(), frames_of(dtype=torch.float64)
    together = pooling(frames, LENGTHS)
    assert together.shape == (3, pooling.size)
    assert pooling.hears_frames == (options["kind"] == "attentive" or "convolutions" in options)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = pooling(frames[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-12, atol=1e-12)
    noise = torch.randn(frames.shape, dtype=torch.float64)
    padded = frames + noise * (torch.arange(7) >= LENGTHS[:, None])[..., None]
    torch.testing.assert_close(pooling(padded, LENGTHS), together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", POOLINGS)
def test_the_gradient_is_exact_and_none_reaches_the_padding(options: dict) -> None:
    pooling = make_pooling(**options).double().requires_grad_(False)
    lengths = torch.tensor([4, 2])
    frames = frames_of(lengths, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: pooling(values, lengths), frames)
    (gradient,) = torch.autograd.grad(pooling(frames, lengths).sum(), frames)
    assert not gradient[1, 2:].any()


@pytest.mark.parametrize("options", POOLINGS)
def test_the_gradient_is_finite_where_nothing_varies(options: dict) -> None:
    pooling = make_pooling(**options)
    frames = torch.ones(2, 4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(pooling(frames, torch.tensor([4, 1])).square().sum(), frames)
    assert gradient.isfinite().all()
    assert float(gradient.abs().max()) < 1e3


def test_dropout_is_that_of_the_convolutions_in_training_alone() -> None:
    pooling = make_pooling(kind="mean", convolutions=1, dropout=0.5)
    frames, lengths = torch.randn(1, 1, 5).expand(2, 3000, 5), torch.tensor([3000, 3000])
    expected, heard = pooling(frames, lengths)[0], pooling.convolutions(frames)[0, 0] > 0
    torch.manual_seed(0)
    dropped = pooling.train().convolutions(frames)
    share = float((dropped[0] == 0)[:, heard].float().mean())
    assert share == pytest.approx(0.5, abs=0.01)
    assert torch.equal(pooling.eval()(frames, lengths)[0], expected)


OVER_FRAMES = [options for options in POOLINGS if options["kind"] == "attentive" or "convolutions" in options]

over_frames = pytest.mark.parametrize("options", OVER_FRAMES)


def test_statistics_that_nothing_is_learnt_from_frames_for_have_no_weights() -> None:
    for options in POOLINGS:
        assert bool(Pooling(num_features=5, **options).state_dict()) == (options in OVER_FRAMES)


@over_frames
def test_the_norm_keeps_the_moments_of_the_batches_of_training(options: dict) -> None:
    pooling = make_pooling(**options, dropout=0.0).double()
    before = copy.deepcopy(pooling)
    before.norm = None
    kept = {name: values.numpy().copy() for name, values in norm_of(pooling).items()}
    mean, variance, weight, bias = (kept[name] for name in ("running_mean", "running_var", "weight", "bias"))
    for lengths in (LENGTHS, torch.tensor([5, 2]), torch.tensor([3, 8, 8, 6])):
        frames = frames_of(lengths, dtype=torch.float64)
        pooled = before(frames, lengths).detach().numpy()
        found = pooling.train()(frames, lengths).detach().numpy()
        expected = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5) * weight + bias
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        mean = 0.9 * mean + 0.1 * pooled.mean(0)
        variance = 0.9 * variance + 0.1 * pooled.var(0, ddof=1)
    np.testing.assert_allclose(norm_of(pooling)["running_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(norm_of(pooling)["running_var"], variance, rtol=1e-9)


@over_frames
def test_a_training_batch_of_one_utterance_is_normalised_as_in_eval_mode(options: dict) -> None:
    pooling, frames, lengths = make_pooling(**options, dropout=0.0), frames_of()[:1], LENGTHS[:1]
    expected = pooling(frames, lengths)
    kept = {name: values.clone() for name, values in pooling.state_dict().items()}
    found = pooling.train()(frames, lengths)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in pooling.norm.parameters())  # type: ignore[union-attr, attr-defined]
    assert all(torch.equal(values, kept[name]) for name, values in pooling.state_dict().items())


@pytest.mark.parametrize("is_mixed", [True, False])
@pytest.mark.parametrize("num_utterances", [3, 1])
@over_frames
def test_training_in_bfloat16_gives_nearly_what_single_precision_does(
    options: dict, num_utterances: int, is_mixed: bool
) -> None:
    pooling = make_pooling(**options, dropout=0.0).train()
    frames, lengths = frames_of()[:num_utterances], LENGTHS[:num_utterances]
    half = copy.deepcopy(pooling)
    expected = pooling(frames, lengths)
    if not is_mixed:
        half, frames = half.bfloat16(), frames.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
        found = half(frames, lengths)
    found.float().square().sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in half.parameters())  # type: ignore[union-attr]
    assert relative_difference(found, expected) < 0.05
    for name, values in norm_of(pooling).items():
        torch.testing.assert_close(norm_of(half)[name].to(values.dtype), values, rtol=0.02, atol=0.02)


def test_the_norm_can_be_shared_by_processes() -> None:
    pooling = make_pooling(kind="attentive")
    expected = pooling(frames_of(), LENGTHS)
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(pooling)
    assert type(shared.norm) is nn.SyncBatchNorm
    torch.testing.assert_close(shared(frames_of(), LENGTHS), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "max"}, "`pooling` is 'max'; expected mean, mean_std, attentive"),
        ({"kind": "attentive", "num_queries": 0}, "`num_queries` is 0; expected 1 at least"),
        ({"kind": "mean_std", "num_queries": 2}, "`num_queries` is 2, but mean_std has no queries; take `pooling` att"),
        ({"kind": "mean", "convolutions": -1}, "`convolutions` is -1; expected 0 at least"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_pooling(**options)
