import pytest
import torch
from attribution.tiny import noise
from torch import Tensor

from speechshap.attribution import SpectralGrid
from speechshap.attribution.features import FeatureKind, Features, spread, stretch_bounds
from speechshap.attribution.surrogate import SurrogateSettings
from speechshap.frames import FrameGrid

SPECTRUM = SpectralGrid(num_mel_bands=6)


def features_of(kind: FeatureKind, num_samples: int, grid: FrameGrid, stretch_frames: int) -> Features:
    settings = SurrogateSettings(features=kind, stretch_frames=stretch_frames, num_bands=6, max_stretches=1000)
    return settings.divisions(num_samples, grid)[0]


def replaced(features: Features, waveform: Tensor, reference: Tensor, present: Tensor) -> Tensor:
    return waveform - features.removed(features.transform(waveform - reference), present)


@pytest.mark.parametrize(("num_frames", "stretch_frames"), [(1, 10), (14, 10), (49, 10), (10, 3), (7, 1)])
def test_stretches_are_nearly_equally_long(num_frames: int, stretch_frames: int) -> None:
    bounds = torch.tensor(stretch_bounds(num_frames, stretch_frames))
    assert (bounds[0], bounds[-1]) == (0, num_frames)
    assert int(bounds.diff().max() - bounds.diff().min()) <= 1
    assert spread(torch.ones(len(bounds) - 1), bounds.tolist()).sum() == pytest.approx(len(bounds) - 1)


@pytest.mark.parametrize("kind", ["stretches", "bands", "cells"])
@pytest.mark.parametrize("num_samples", [400, 3999, 4000, 4159])
def test_all_features_are_the_utterance_and_none_the_reference(kind: FeatureKind, num_samples: int) -> None:
    features = features_of(kind, num_samples, FrameGrid(), 3)
    waveform, reference = noise(num_samples, seed=0), noise(num_samples, seed=1)
    everything, nothing = torch.ones(len(features), dtype=torch.bool), torch.zeros(len(features), dtype=torch.bool)
    assert torch.equal(replaced(features, waveform, reference, everything), waveform)
    torch.testing.assert_close(replaced(features, waveform, reference, nothing), reference)
    parts = [replaced(features, waveform, 0 * waveform, row) for row in torch.eye(len(features), dtype=torch.bool)]
    torch.testing.assert_close(torch.stack(parts).sum(0), waveform)  # nothing is lost, and nothing is there twice


def test_a_stretch_is_replaced_where_it_is() -> None:
    features = features_of("stretches", 4000, FrameGrid(), 4)
    present = torch.tensor([True, False, True])
    result = replaced(features, torch.ones(4000), torch.full((4000,), 3.0), present)
    first, last = features.edges[1:3]
    assert (result[first:last] == 3).all()
    assert (result[:first] == 1).all()
    assert (result[last:] == 1).all()


def test_a_cell_is_a_band_within_a_stretch() -> None:
    time = torch.arange(8000) / 16000
    tones = torch.sin(2 * torch.pi * 300 * time), torch.sin(2 * torch.pi * 3000 * time)
    features = features_of("cells", 8000, FrameGrid(), 12)
    assert (features.num_bands, features.num_stretches, len(features)) == (6, 2, 12)
    present = torch.ones(6, 2, dtype=torch.bool)
    present[SPECTRUM.frequencies > 1500, 1] = False  # the high bands of the second half
    result = replaced(features, tones[0] + tones[1], torch.zeros(8000), present.flatten())
    middle = features.edges[1]
    torch.testing.assert_close(result[: middle - 400], (tones[0] + tones[1])[: middle - 400], atol=1e-5, rtol=0)
    inside = slice(middle + 400, 7600)
    torch.testing.assert_close(result[inside], tones[0][inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["stretches", "cells"])
def test_every_feature_has_something_to_replace(kind: FeatureKind) -> None:
    """Frames much shorter than those of the spectrum, and one that owns no sample."""
    features = features_of(kind, 1000, FrameGrid(hop=20, receptive_field=20, padding_after=100), 1)
    assert torch.tensor(features.columns).diff().min() >= 1
    assert features.bounds[-1] == FrameGrid(20, 20, 0, 100).num_frames(1000)
    assert features.num_stretches == (50 if kind == "stretches" else 7)
