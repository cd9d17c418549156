import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperFeatureExtractor

from speechshap.models.log_mel import SHORTEST, log_mel


def clips(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    # Fading noise: its quiet end lies below the floor that its loud start sets.
    return [torch.randn(size, generator=generator) * torch.logspace(0, -6, size) for size in lengths]


def extracted(clip: Tensor, num_bins: int = 80, **options: object) -> Tensor:
    """What transformers makes of a clip, ``(bins, frames)``."""
    extractor = WhisperFeatureExtractor(feature_size=num_bins)
    features = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt", **options).input_features
    return features[0]


@pytest.mark.parametrize("num_bins", [80, 128])
def test_a_clip_alone_is_what_transformers_makes_of_it(num_bins: int) -> None:
    (clip,) = clips(16_123)
    features = log_mel(clip[None], torch.tensor([len(clip)]), num_bins)
    torch.testing.assert_close(features[0], extracted(clip, num_bins, padding="do_not_pad"), atol=1e-5, rtol=0)


def test_30_seconds_are_what_transformers_makes_of_them() -> None:
    (clip,) = clips(8_000)
    padded = torch.nn.functional.pad(clip, (0, 472_000))
    torch.testing.assert_close(
        log_mel(padded[None], torch.tensor([480_000]), 80)[0], extracted(clip), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("seed", range(4))
def test_each_clip_of_a_batch_is_as_it_is_alone(seed: int) -> None:
    lengths = torch.randint(SHORTEST, 6000, (5,), generator=torch.Generator().manual_seed(seed))
    lengths[seed] = SHORTEST
    batch = clips(*lengths.tolist())
    noisy = pad_sequence(batch, batch_first=True, padding_value=3.0)
    features = log_mel(noisy, lengths, 80)
    for row, clip in zip(features, batch, strict=True):
        expected = extracted(clip, padding="do_not_pad")
        torch.testing.assert_close(row[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)
        assert row[:, expected.shape[1] :].abs().sum() == 0


def test_the_gradient_is_that_of_finite_differences() -> None:
    lengths, generator = torch.tensor([700, 480]), torch.Generator().manual_seed(1)
    waveforms = torch.randn(2, 700, dtype=torch.float64, generator=generator).requires_grad_()
    torch.autograd.gradcheck(lambda values: log_mel(values, lengths, 8), waveforms, fast_mode=True)


def test_padding_has_no_gradient() -> None:
    lengths = torch.tensor([900, 500])
    waveforms = torch.randn(2, 900, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(log_mel(waveforms, lengths, 8).square().sum(), waveforms)
    assert gradient[1, 500:].abs().sum() == 0
    assert gradient[1, :500].all()


def test_what_is_below_the_floor_moves_only_with_the_loudest_bin() -> None:
    loud = torch.sin(torch.arange(1600) / 3)
    waveform = torch.cat([loud, 1e-6 * loud]).requires_grad_()  # twelve powers of ten below
    features = log_mel(waveform[None], torch.tensor([3200]), 80)
    (gradient,) = torch.autograd.grad(features[0, :, 15:].sum(), waveform)
    assert gradient[2000:].abs().sum() == 0
    assert gradient[:1600].abs().sum() > 0


def test_digital_silence_has_no_gradient() -> None:
    waveform = torch.zeros(1, 1600, requires_grad=True)
    features = log_mel(waveform, torch.tensor([1600]), 80)
    (gradient,) = torch.autograd.grad(features.sum(), waveform)
    assert gradient.abs().sum() == 0


def test_lower_precision_is_that_of_the_sound_alone() -> None:
    (clip,) = clips(3200)
    half = clip.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        features = log_mel(half[None], torch.tensor([3200]), 80)
    assert torch.equal(features, log_mel(half.float()[None], torch.tensor([3200]), 80))


def test_filters_that_inference_made_are_there_for_gradients() -> None:
    with torch.inference_mode():
        log_mel(torch.randn(1, 480), torch.tensor([480]), 33)
    waveform = torch.randn(1, 480, requires_grad=True)
    log_mel(waveform, torch.tensor([480]), 33).sum().backward()
    assert waveform.grad is not None
