import pytest
import torch
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
    return Pooling(num_features=5, **options).eval()  # type: ignore[arg-type]


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
        torch.testing.assert_close(pooling(frames, LENGTHS)[row], expected)


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
        torch.testing.assert_close(found[row, :256], own.mean(1))
        if kind == "mean_std":
            torch.testing.assert_close(found[row, 256:], own.std(1, correction=0).clamp_min(1e-6))


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
    expected = pooling(frames, lengths)[0]
    torch.manual_seed(0)
    dropped = pooling.train().convolutions(frames)
    share = float((dropped[0] == 0)[:, expected > 0].float().mean())
    assert share == pytest.approx(0.5, abs=0.01)
    assert torch.equal(pooling.eval()(frames, lengths)[0], expected)


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
