import numpy as np
import pytest
import torch
from attribution.tiny import noise
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from sklearn.linear_model import Ridge
from torch import Tensor

from speechshap.attribution import Attribution, Baseline, Evaluator, Targets, find_method, silence
from speechshap.attribution.methods.lime import LIMESettings, explain, proximity, ridge_regression
from speechshap.errors import UserError
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=1, receptive_field=1)


def attribute(
    evaluator: Evaluator, baseline: Baseline = silence, targets: object = 0, **options: object
) -> Attribution:
    chosen = Targets.from_classes(len(evaluator), targets)
    return explain(evaluator, chosen, baseline, LIMESettings(**{"stretch_frames": 1, "n_divisions": 1, **options}))


def bent(waveforms: Tensor) -> Tensor:
    return torch.stack([waveforms.cumsum(1).tanh().sum(1), waveforms[:, ::2].sum(1).sin()], dim=1)


def test_the_method_is_found_by_its_name() -> None:
    assert find_method("lime").settings is LIMESettings


def test_an_additive_model_is_exact_without_a_penalty() -> None:
    weight, waveforms = noise(12, 2, seed=0), noise(1, 12, seed=1)
    evaluator = Evaluator(lambda x: 3 + x @ weight, waveforms, grid=GRID)
    result = attribute(evaluator, targets=[[0, 1]], ridge=0.0, n_samples=60, n_draws=3)
    torch.testing.assert_close(result.frames[0].double(), waveforms * weight.T, atol=1e-5, rtol=1e-5)
    assert result.frames_standard_error.max() < 1e-5
    assert result.completeness_gap.isnan().all()
    assert result.n_samples.tolist() == [60]
    assert result.n_replicates.tolist() == [3]


@pytest.mark.parametrize("ridge", [0.0, 1.0, 30.0])
def test_the_regression_is_that_of_scikit_learn(ridge: float) -> None:
    present = noise(50, 7, seed=0) > 0
    outputs, weights = noise(50, 2, seed=1), proximity(present, 0.25)
    coefficients, influences = ridge_regression(present.double(), outputs, weights, ridge)
    expected = Ridge(ridge).fit(present.numpy(), outputs.numpy(), weights.numpy()).coef_
    np.testing.assert_allclose(coefficients, expected, rtol=1e-8, atol=1e-10)
    assert influences.shape == (50, 2, 7)


def test_parity_with_captum_within_its_error() -> None:
    """Stretches of two samples, which Captum knows by their mask."""
    waveform, reference = noise(1, 16, seed=0), noise(1, 16, seed=1)
    model = lambda x: bent(x.double().unflatten(1, (8, 2)).sum(2))  # noqa: E731
    lime = Lime(
        model, SkLearnRidge(alpha=1.0), similarity_func=lambda _, __, present, **___: proximity(present > 0, 0.25)[0]
    )
    torch.manual_seed(0)
    mask = torch.arange(16)[None] // 2
    expected = lime.attribute(waveform, reference, 0, feature_mask=mask, n_samples=2000)
    evaluator = Evaluator(model, waveform, grid=FrameGrid(2, 2))
    result = attribute(evaluator, lambda *_: reference[0], n_samples=2000, n_draws=50)
    error = result.frames_standard_error[0, 0] * 2**0.5  # Captum's is as large
    # Captum gives the coefficient to each sample of a stretch.
    assert ((result.frames[0, 0] - expected[0, ::2]).abs() < 4 * error).all()
    assert error.max() < 0.1 * result.frames.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_intervals_hold_what_all_coalitions_give(spread: float) -> None:
    """Products of independent features of mean 0 are 0 on average: random references give what silence does."""
    waveform = noise(1, 8, seed=1)
    model = lambda x: (x.sum(1) + 2 * x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] * x[:, 4])[:, None]  # noqa: E731
    everything = (torch.arange(256)[:, None] >> torch.arange(8)) % 2 == 1
    outputs = model(everything * waveform)
    expected = ridge_regression(everything.double(), outputs, proximity(everything, 0.25), 0.0)[0][0]
    baseline = lambda x, generator: spread * torch.randn(8, generator=generator, dtype=x.dtype)  # noqa: E731
    evaluator, held = Evaluator(model, waveform, grid=GRID, chunk_size=200), []
    for seed in range(100):
        result = attribute(evaluator, baseline, ridge=0.0, n_samples=200, seed=seed)
        lower, upper = result.frames_interval(0.95)
        held.append((lower <= expected) & (expected <= upper))
    held = torch.stack(held).double()
    assert 0.9 < float(held.mean()) < 0.99
    assert held.mean(0).min() > 0.82


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_width": 0.0}, "`kernel_width` is 0.0; expected a distance above 0"),
        ({"ridge": -1.0}, "`ridge` is -1.0; expected 0 at least"),
    ],
)
def test_a_setting_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LIMESettings(**options)
