import math
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest
import shap
import torch
from attribution.tiny import TinyWavLM, draws_for_captum, seeded
from captum.attr import GradientShap
from torch import Tensor

from speechshap.attribution import Attribution, NonFiniteGradientError, gradient_shap
from speechshap.attribution.sampling import EDGES, SCHEMES, Scheme
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=6)


def quadratic(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Two classes: sum of squares, and product of the first two samples; blind to padding."""
    inputs = inputs * (torch.arange(inputs.shape[1]) < lengths[:, None])
    return torch.stack([inputs.square().sum(1), inputs[:, 0] * inputs[:, 1]], dim=1)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def speech_model() -> TinyWavLM:
    return seeded(TinyWavLM())


def expected_quadratic(x: Tensor, mean: float | Tensor, variance: float | Tensor) -> Tensor:
    """Expectation for the sum of squares: E[(x - b) (x + b)] = x^2 - E[b^2]."""
    return x.square() - (mean**2 + variance)


def test_linear_model_without_sampling_error(inputs: Tensor) -> None:
    weight = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[0, 2]] * 3)
    result = gradient_shap(lambda x, lengths: x @ weight, inputs, "silence", targets, scheme="stratified", grid=GRID)
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


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_keeps_the_expectation(inputs: Tensor, scheme: Scheme) -> None:
    """A model with a sharp step on the path, where the adaptive scheme moves its samples to."""

    def step(x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([torch.sigmoid(20 * (x.mean(1) - 0.7)), x[:, 0]], dim=1)

    ones = torch.ones(1, 40) * torch.linspace(0.5, 1.5, 40)
    targets = torch.tensor([[0]])
    expected = ones * (torch.sigmoid(torch.tensor(6.0)) - torch.sigmoid(torch.tensor(-14.0))) / 40
    runs = [
        gradient_shap(step, ones, "silence", targets, n_samples=24, chunk_size=24, seed=seed, scheme=scheme, grid=GRID)
        for seed in range(200)
    ]
    means = torch.stack([run.values[0, 0] for run in runs])
    deviation = (means.mean(0) - expected[0]) / (means.std(0) / math.sqrt(len(runs)))
    assert deviation.abs().max() < 4
    # The standard errors tell how much the runs differ.
    told = torch.stack([run.values_standard_error[0, 0] for run in runs]).square().mean(0).sqrt()
    assert (told / means.std(0)).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_the_adaptive_scheme_spends_its_samples_where_the_path_is_steep() -> None:
    def step(x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([torch.sigmoid(40 * (x.mean(1) - 0.7)), x[:, 0]], dim=1)

    errors = {}
    for scheme in ("uniform", "adaptive"):
        runs = [
            gradient_shap(step, torch.ones(1, 8), "silence", torch.tensor([[0]]), n_samples=128, chunk_size=128,
                          seed=seed, scheme=scheme, grid=GRID)
            for seed in range(40)
        ]  # fmt: skip
        errors[scheme] = float(torch.stack([run.values.sum() - 1 for run in runs]).square().mean())
    moments = runs[0].path_second_moments[0]
    assert EDGES[int(moments.argmax())] in (0.6, 0.7)
    assert errors["adaptive"] < errors["uniform"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_intervals_of_frames_cover_the_truth(scheme: Scheme) -> None:
    inputs = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    grid = FrameGrid(hop=40, receptive_field=40)
    truth = expected_quadratic(inputs, inputs.mean(), inputs.var(correction=0)).view(10, 40).sum(1)
    covered = []
    for seed in range(150):
        run = gradient_shap(
            quadratic, inputs, targets=torch.tensor([[0]]), n_samples=64, chunk_size=64, seed=seed, scheme=scheme,
            grid=grid,
        )  # fmt: skip
        lower, upper = run.frames_interval()
        covered.append(((lower[0, 0] <= truth) & (truth <= upper[0, 0])).float())
    assert torch.stack(covered).mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
def test_intervals_of_the_completeness_gap_cover_zero(inputs: Tensor) -> None:
    targets = torch.zeros(3, 1, dtype=torch.int64)
    runs = [
        gradient_shap(quadratic, inputs, "noise", targets, n_samples=100, chunk_size=300, seed=seed)
        for seed in range(150)
    ]
    covered = [(run.completeness_gap.abs() < 2 * run.completeness_gap_standard_error).float() for run in runs]
    assert torch.stack(covered).mean() == pytest.approx(0.95, abs=0.03)


def test_the_samples_average_to_the_frames(inputs: Tensor) -> None:
    for scheme in SCHEMES:
        result = gradient_shap(quadratic, inputs, n_samples=20, scheme=scheme, keep_samples=True, grid=GRID)
        for rows, frames in zip(result.sample_frames, result.frames, strict=True):
            assert rows.shape == (20, 1, 9)
            torch.testing.assert_close(rows.mean(0), frames, atol=1e-5, rtol=1e-5)


def test_parity_with_captum_for_the_same_draws(speech_model: TinyWavLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captum draws one alpha and one baseline a row; given these, both libraries compute the same mean."""
    waveform, baselines, alphas = draws_for_captum(monkeypatch)
    length = torch.tensor([2000])
    expected = GradientShap(lambda x: speech_model(x, length.expand(len(x)))).attribute(
        waveform, baselines, n_samples=6, stdevs=0.0, target=1
    )
    result = gradient_shap(speech_model, waveform, baselines, torch.tensor([[1]]), alphas=alphas, chunk_size=4)
    scale = float(expected.abs().max())
    torch.testing.assert_close(result.values[0], expected, atol=1e-5 * scale, rtol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_agreement_with_shap_within_the_standard_error(scheme: Scheme) -> None:
    """shap's GradientExplainer draws for itself; both estimate the same expectation."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).eval()
    references, waveform = torch.randn(30, 12), torch.randn(1, 12)
    n_samples = 3000
    explainer = shap.GradientExplainer(model, references, batch_size=500)
    expected = torch.from_numpy(explainer.shap_values(waveform, nsamples=n_samples, rseed=1))[0].T  # (classes, time)
    result = gradient_shap(
        lambda x, lengths: model(x), waveform, references, torch.tensor([[0, 1]]), n_samples=n_samples,
        chunk_size=1000, scheme=scheme, grid=GRID,
    )  # fmt: skip
    independent = gradient_shap(
        lambda x, lengths: model(x), waveform, references, torch.tensor([[0, 1]]), n_samples=n_samples,
        chunk_size=1000, scheme="uniform", grid=GRID,
    )  # fmt: skip
    error = (result.values_standard_error.square() + independent.values_standard_error.square()).sqrt()
    deviation = (result.values - expected) / error
    assert deviation.square().mean().sqrt() < 2
    assert result.values.abs().max() > 20 * error.max()  # the comparison is sharp


def test_completeness_on_a_speech_model(speech_model: TinyWavLM) -> None:
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
        # The gap is a small difference of numbers that are rounded alike.
        torch.testing.assert_close(first, second, atol=(3e-5 if "gap" in name else 1e-5) * scale, rtol=1e-5)


def test_nothing_depends_on_chunk_batch_or_order(speech_model: TinyWavLM) -> None:
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
def test_any_gradient_mode(speech_model: TinyWavLM, context: Callable) -> None:
    generator = torch.Generator().manual_seed(6)
    expected = gradient_shap(speech_model, 0.1 * torch.randn(2, 1040, generator=generator), n_samples=4)
    with context():
        waveforms = 0.1 * torch.randn(2, 1040, generator=torch.Generator().manual_seed(6))
        result = gradient_shap(speech_model, waveforms, n_samples=4)
    assert result.values.abs().min() > 0
    assert torch.equal(result.values, expected.values)


def test_no_target_explains_the_predicted_class(inputs: Tensor) -> None:
    result = gradient_shap(quadratic, inputs, n_samples=4)
    assert torch.equal(result.targets.classes[:, 0], quadratic(inputs, torch.full((3,), 40)).argmax(1))


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
    gradient_shap(quadratic, inputs, n_samples=5, chunk_size=4, scheme="uniform", progress=counted.append)
    assert counted == [4, 4, 4, 3]
    counted.clear()
    result = gradient_shap(quadratic, inputs, n_samples=37, chunk_size=50, progress=counted.append)
    assert result.n_samples.tolist() == [37] * 3  # whole replicates, and a pilot
    assert sum(counted) == 3 * 37


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": torch.zeros(3)}, r"the waveforms have shape \(3,\)"),
        ({"inputs": torch.zeros(())}, r"the waveforms have shape \(\)"),
        ({"inputs": torch.zeros(3, 40, dtype=torch.int64)}, "torch.int64; expected float"),
        ({"inputs": [[0.0]]}, "the waveforms are a list; expected a tensor"),
        ({"inputs": torch.full((3, 40), torch.nan)}, "the waveform of utterance 0 is not finite"),
        ({"lengths": torch.tensor([40, 41, 1])}, "expected 3 numbers from 1 to 40"),
        ({"lengths": [40, 0, 1]}, "expected 3 numbers from 1 to 40"),
        ({"lengths": [True, True, True]}, r"`lengths` have shape \(3,\) and torch.bool; expected int64 \(3,\)"),
        ({"lengths": [20.0, 20.0, 20.0]}, "torch.float32; expected int64"),
        ({"lengths": [20, 20]}, r"`lengths` have shape \(2,\)"),
        ({"ids": ["a", "b", "a"]}, "3 different names"),
        ({"ids": "abc"}, "`ids` is the string 'abc'; expected a list of 3 different names"),
        ({"n_samples": 3}, "`n_samples` is 3; expected auto, or 4 at least"),
        ({"n_samples": 2.5}, "`n_samples` is 2.5; expected auto"),
        ({"n_samples": True}, "`n_samples` is True; expected auto"),
        ({"n_samples": "auto", "tolerance": 0}, "`tolerance` is 0; expected a relative error above 0"),
        ({"n_samples": "auto", "max_samples": 3}, "`max_samples` is 3; expected 4 at least"),
        ({"chunk_size": 0}, "`chunk_size` is 0; expected 1 at least"),
        ({"chunk_size": 2.5}, "`chunk_size` is 2.5; expected an integer"),
        ({"scheme": "sobol"}, "`scheme` is 'sobol'; expected uniform, antithetic, stratified, adaptive"),
        ({"layer_method": "deep"}, "`layer_method` is 'deep'; expected endpoint, path"),
        ({"output": "loss"}, "`output` is 'loss'; expected logit, log_odds, probability"),
        ({"layers": (torch.nn.ReLU(),)}, "`layers` are a tuple; expected modules by name"),
        ({"layers": {"six": 6}}, "layer 'six' is a int; expected a module"),
        ({"baselines": None}, "`baselines` are a NoneType"),
        ({"baselines": "music"}, "`baselines` is 'music'; expected noise, silence, dataset"),
        ({"baselines": torch.zeros(5)}, r"expected \(references, time\)"),
        ({"baselines": torch.full((2, 40), torch.inf)}, "`baselines` are not finite"),
        ({"alphas": torch.tensor([0.5, 1.5]), "baselines": torch.zeros(2, 40)}, "`alphas` are not numbers from 0 to 1"),
        ({"alphas": torch.rand(4)}, r"given `alphas` take `baselines` as a tensor \(n_samples, time\)"),
        ({"alphas": torch.rand(4), "baselines": torch.zeros(3, 40)}, r"take `baselines` as a tensor \(4, 40\)"),
        ({"targets": torch.tensor([[True], [False], [True]])}, "torch.bool; expected int64"),
        ({"targets": torch.tensor([0, 0])}, r"`targets` have shape \(2,\); expected one class, \(3,\) or \(3, K\)"),
        ({"targets": [[0, 1], [0]] * 2}, "expected numbers of classes"),
        ({"targets": -1}, r"`targets` are \[-1\]; expected 0 at least"),
        ({"targets": "happy"}, "`targets` is 'happy'; expected numbers of classes"),
        ({"targets": [[0]] * 3, "against": [[1, 1]] * 3}, r"`against` has shape \(3, 2\); expected that of `targets`"),
        ({"forward": 3}, "`forward` is a int; expected a function of waveforms and lengths"),
        ({"forward": lambda: None}, r"`forward` takes \(\); expected \(waveforms, lengths\)"),
        ({"forward": lambda w, attention_mask: w}, "`forward` takes an attention_mask as its second argument"),
        ({"forward": lambda w: w, "lengths": [40, 30, 20]}, "different lengths, .40, 30, 20.; give a function of"),
    ],
)
def test_an_argument_that_does_not_fit_is_told_before_the_model_is_asked(
    inputs: Tensor, options: dict, message: str
) -> None:
    def unasked(waveforms: Tensor, lengths: Tensor) -> Tensor:
        pytest.fail("the model was evaluated")

    with pytest.raises(ValueError, match=message):
        gradient_shap(**{"forward": unasked, "inputs": inputs, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": torch.tensor([[2], [0], [0]])}, "`targets` are .0, 2.; the model has the classes 0 to 1"),
        ({"baselines": lambda waveform, generator: waveform[:5]}, r"has shape \(5,\); expected \(40,\)"),
        ({"baselines": lambda waveform, generator: waveform / 0 * 0}, "a reference of utterance 0 is not finite"),
    ],
)
def test_an_argument_that_does_not_fit_the_model_or_the_draws(inputs: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient_shap(quadratic, inputs, **options)


@pytest.mark.parametrize("targets", [1, [1, 1, 1], torch.tensor([1, 1, 1]), [[1], [1], [1]]])
def test_a_class_in_any_shape_that_says_it_all(inputs: Tensor, targets: object) -> None:
    expected = gradient_shap(quadratic, inputs, targets=torch.ones(3, 1, dtype=torch.int64), n_samples=4)
    result = gradient_shap(quadratic, inputs, targets=targets, lengths=[40, 40, 40], n_samples=4)
    assert torch.equal(result.values, expected.values)
    contrast = gradient_shap(quadratic, inputs, targets=targets, against=0, n_samples=4, scheme="uniform")
    assert contrast.targets.against.tolist() == [[0]] * 3


@pytest.mark.parametrize("forward", [lambda waveforms: waveforms[:, :3].square(), torch.nn.Linear(30, 3)])
def test_a_forward_of_one_argument_does_for_utterances_of_one_length(inputs: Tensor, forward: Callable) -> None:
    result = gradient_shap(forward, inputs, lengths=[30, 30, 30], n_samples=4, grid=GRID)
    expected = gradient_shap(lambda waveforms, lengths: forward(waveforms), inputs[:, :30], n_samples=4, grid=GRID)
    assert torch.equal(result.frames, expected.frames)


def test_a_forward_that_cuts_the_graph_is_told(inputs: Tensor) -> None:
    with pytest.raises(RuntimeError, match="does not depend on its input"):
        gradient_shap(lambda x, lengths: quadratic(x.detach(), lengths), inputs)


def test_a_gradient_that_is_not_finite_is_reported_with_the_utterance(inputs: Tensor) -> None:
    def root(x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([(x[:, 0] - x[:, 0].detach()).abs().sqrt(), x[:, 1]], dim=1)

    with pytest.raises(NonFiniteGradientError, match=r"the gradient of utterance one.wav is not finite") as error:
        gradient_shap(root, inputs[:1], targets=torch.tensor([[0]]), ids=["one.wav"])
    assert error.value.utterance_id == "one.wav"


def test_an_output_that_ignores_an_utterance_is_told(inputs: Tensor) -> None:
    with pytest.raises(RuntimeError, match="every gradient of utterance b is 0"):
        gradient_shap(
            lambda x, lengths: x[:, :2] * (lengths[:, None] > 20),
            inputs[:2],
            lengths=torch.tensor([40, 20]),
            ids=["a", "b"],
            n_samples=4,
        )


def test_relative_error_by_hand(inputs: Tensor) -> None:
    result = gradient_shap(quadratic, inputs, grid=GRID, n_samples=6)
    by_hand = [
        math.sqrt(sum(float(e) ** 2 for e in error[0])) / math.sqrt(sum(float(v) ** 2 for v in value[0]))
        for error, value in zip(result.frames_standard_error, result.frames, strict=True)
    ]
    assert result.relative_error[:, 0].tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("forward", "options", "message"),
    [
        (lambda x, lengths: x.sum(1), {}, r"forward gave \(1,\) for 1 waveforms; expected \(1, classes\)"),
        (lambda x, lengths: x[0], {}, r"forward gave \(40,\) for 1 waveforms"),
        (lambda x, lengths: x[:, :1], {"output": "probability"}, "one output; `output='probability'` needs two"),
        (lambda x, lengths: (x, x), {}, r"forward gave a tuple; expected the logits alone.*lengths\)\[0\]`"),
        (lambda x, lengths: SimpleNamespace(logits=x), {}, r"forward gave a SimpleNamespace;.*lengths\).logits`"),
        (lambda x, lengths: x.detach().numpy(), {}, "forward gave a ndarray; expected the logits alone"),
    ],
)
def test_a_forward_that_does_not_fit(inputs: Tensor, forward: Callable, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient_shap(forward, inputs, n_samples=4, **options)


def test_a_baseline_that_works_in_place_leaves_the_utterance_alone(inputs: Tensor) -> None:
    before = inputs.clone()
    in_place = gradient_shap(quadratic, inputs, lambda waveform, generator: waveform.mul_(0.5), n_samples=4)
    expected = gradient_shap(quadratic, inputs, lambda waveform, generator: waveform * 0.5, n_samples=4)
    assert torch.equal(in_place.values, expected.values)
    assert torch.equal(inputs, before)
