import pytest
import torch
from torch import Tensor

from speechshap.attribution import SpectralGrid, gradient_shap
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=40, receptive_field=60)


def squares(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([inputs.square().sum(1), inputs.pow(3).sum(1)], dim=1)


@pytest.mark.parametrize(("window", "hop", "time"), [(64, 16, 500), (64, 32, 491), (40, 7, 130)])
def test_gradients_are_those_through_the_inverse_transform(window: int, hop: int, time: int) -> None:
    """Autograd through torch.istft is the virtual inspection layer itself."""
    generator = torch.Generator().manual_seed(0)
    difference = torch.randn(1, time, generator=generator, dtype=torch.float64)
    gradient = torch.randn(1, 2, time, generator=generator, dtype=torch.float64)
    grid = SpectralGrid(window, hop)
    result = grid.attribution(difference, gradient, torch.tensor([time]))
    hann = torch.hann_window(window, dtype=torch.float64)
    coefficients = torch.stft(
        difference, window, hop, window=hann, center=True, pad_mode="constant", return_complex=True
    ).requires_grad_()
    # Frames that end before the last sample is covered leave a tail that the inverse cannot make.
    signal = torch.istft(coefficients, window, hop, window=hann, center=True, length=time)
    covered = (torch.istft(coefficients.detach(), window, hop, window=hann, length=time) - difference).abs() < 1e-9
    for target in range(2):
        own = gradient[:, target] * covered
        (of_coefficients,) = torch.autograd.grad(signal, coefficients, own, retain_graph=True)
        expected = (coefficients.conj() * of_coefficients).real.detach()
        ours = grid.attribution(difference, own[:, None], torch.tensor([time]))[:, 0]
        torch.testing.assert_close(ours, expected[..., : ours.shape[-1]])
    torch.testing.assert_close(result.sum((2, 3)), (difference[:, None] * gradient).sum(-1))


@pytest.mark.parametrize("num_mel_bands", [None, 20])
def test_complete_and_blind_to_padding(num_mel_bands: int | None) -> None:
    spectrum = SpectralGrid(128, 32, num_mel_bands)
    waveforms = torch.randn(2, 700, generator=torch.Generator().manual_seed(1))
    lengths, targets = torch.tensor([700, 333]), torch.tensor([[0, 1]] * 2)
    options = {"n_samples": 6, "spectrum": spectrum, "grid": GRID}
    result = gradient_shap(squares, waveforms, targets=targets, lengths=lengths, ids=["x", "y"], **options)
    assert result.time_frequency.shape == (2, 2, spectrum.num_bands, spectrum.num_frames(700))
    total = result.values.sum(-1)
    torch.testing.assert_close(result.time_frequency.sum((2, 3)), total, atol=1e-4 * float(total.abs().max()), rtol=0)
    alone = gradient_shap(squares, waveforms[1:, :333], targets=targets[1:], ids=["y"], **options)
    frames = spectrum.num_frames(333)
    torch.testing.assert_close(result.time_frequency[1:, ..., :frames], alone.time_frequency, atol=1e-3, rtol=1e-4)
    assert result.time_frequency[1, ..., frames:].abs().sum() == 0
    assert (result.time_frequency_standard_error[..., :frames] > 0).all()


def test_a_tone_is_found_in_its_band_and_at_its_time() -> None:
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 1000 * time) * ((time > 0.5) & (time < 0.7))
    for spectrum in (SpectralGrid(), SpectralGrid(num_mel_bands=40)):
        result = gradient_shap(squares, tone[None], "silence", torch.tensor([[0]]), n_samples=16, spectrum=spectrum)
        band, frame = divmod(int(result.time_frequency[0, 0].argmax()), spectrum.num_frames(16000))
        assert float(spectrum.frequencies[band]) == pytest.approx(1000, rel=0.1)
        assert 0.5 < frame * spectrum.hop / 16000 < 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 401}, "even window"),
        ({"hop": 201}, "a hop from 1 to half of it"),
        ({"window": 64, "hop": 16, "num_mel_bands": 30}, "30 mel bands over 33 frequency bins leave bands without"),
        ({"num_mel_bands": 500}, "num_mel_bands is 500; expected 2 to 201"),
    ],
)
def test_a_transform_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectralGrid(**options)
