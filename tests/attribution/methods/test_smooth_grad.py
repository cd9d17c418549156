import math
from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from speechshap.attribution import Evaluator, Targets, find_method
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.methods.smooth_grad import SmoothGradSettings, explain
from speechshap.errors import UserError
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=4)


def test_parity_with_captum_for_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3))
    waveform = torch.randn(1, 48)
    settings = SmoothGradSettings(n_samples=6, noise_level=0.5, seed=2)
    result = explain(Evaluator(model, waveform, ids=["a"], grid=GRID), Targets.from_classes(1, 1), None, settings)
    noises = torch.stack([torch.randn(48, generator=draw_generator(2, "a", number)) for number in range(6)])

    def same_noise(mean: Tensor, std: Tensor) -> Tensor:
        assert torch.equal(std, torch.full_like(std, float(0.5 * waveform.std(correction=0))))
        return noises * std

    monkeypatch.setattr(torch, "normal", same_noise)
    tunnel: Any = NoiseTunnel(Saliency(model))
    mean = tunnel.attribute(
        waveform, "smoothgrad", 6, stdevs=float(0.5 * waveform.std(correction=0)), target=1, abs=False
    )  # fmt: skip
    torch.testing.assert_close(result.frames[:, 0], mean.abs().unflatten(1, (12, 4)).sum(2).detach())
    assert result.n_samples.tolist() == [6]
    assert result.frames_standard_error is None


def test_a_smoothed_step_is_as_steep_as_the_noise_is_narrow() -> None:
    """The mean slope of a sum of ramps that are one wide is the share of the noise that falls on them."""
    waveform = torch.tensor([[0.0, 2.0] * 4])  # its standard deviation is 1
    evaluator = Evaluator(lambda x: x[:, :1].clamp(-0.5, 0.5), waveform, grid=GRID)
    settings = SmoothGradSettings(n_samples=4000, noise_level=0.5)
    result = explain(evaluator, Targets.from_classes(1, 0), None, settings)
    assert float(result.frames[0, 0, 0]) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.03)
    assert result.frames[0, 0, 1:].abs().sum() == 0


def test_without_noise_it_is_saliency() -> None:
    model = nn.Sequential(nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 3))
    evaluator, targets = Evaluator(model, torch.randn(1, 40), grid=GRID), Targets.from_classes(1, 0)
    saliency = find_method("saliency")
    plain = saliency.explain(evaluator, targets, None, saliency.settings())
    smooth = explain(evaluator, targets, None, SmoothGradSettings(n_samples=2, noise_level=0.0))
    torch.testing.assert_close(smooth.frames, plain.frames)


@pytest.mark.parametrize("chunk_size", [1, 3, 64])
def test_chunks_change_nothing(chunk_size: int) -> None:
    torch.manual_seed(0)
    model, waveforms = nn.Sequential(nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(2, 40)
    results = [
        explain(
            Evaluator(model, waveforms, grid=GRID, chunk_size=size),
            Targets.from_classes(2, [[0, 1]] * 2),
            None,
            SmoothGradSettings(n_samples=5),
        )
        for size in (chunk_size, 5)
    ]
    torch.testing.assert_close(results[0].frames, results[1].frames, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "`n_samples` is 0; expected 1 at least"),
        ({"noise_level": -0.1}, "`noise_level` is -0.1; expected a share of the level, 0 at least"),
        ({"noise_level": math.nan}, "`noise_level` is nan"),
    ],
)
def test_a_setting_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SmoothGradSettings(**options)
