"""Sums over segments: their standard errors take the correlation of frames into account."""

import torch

from speechshap.attribution import Evaluator, GradientSHAPSettings, Targets, gaussian_noise
from speechshap.attribution.methods.gradient_shap import explain
from speechshap.frames import FrameGrid


def segments_error(frames: torch.Tensor, segments: list[tuple[int, int]]) -> torch.Tensor:
    """From the replicates themselves."""
    sums = torch.stack([frames[..., first:last].sum(-1) for first, last in segments], -1)  # (replicates, K, S)
    return sums.std(0) / len(sums) ** 0.5


def test_errors_of_segments_are_those_of_sums_within_replicates() -> None:
    waveforms = torch.randn(2, 40, generator=torch.Generator().manual_seed(0)).double()
    lengths = [40, 24]
    segments = [[(0, 3), (2, 10), (4, 4)], [(0, 6)]]
    mix = torch.randn(40, 40, generator=torch.Generator().manual_seed(1)).double()

    def forward(rows: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        inside = torch.arange(rows.shape[1]) < lengths[:, None]
        mixed = rows.masked_fill(~inside, 0) @ mix[: rows.shape[1], : rows.shape[1]]
        return torch.stack([mixed.tanh().sum(1), mixed.square().mean(1)], 1)

    evaluator = Evaluator(forward, waveforms, lengths, grid=FrameGrid(4, 4), segments=segments, chunk_size=3)
    settings = GradientSHAPSettings(n_samples=20, scheme="uniform")
    targets = Targets.from_classes(2, [[0, 1]] * 2)
    result = explain(evaluator, targets, gaussian_noise(), settings, keep_draws=True)

    assert result.sample_frames is not None
    assert result.segments_standard_error is not None
    assert result.segments_standard_error.shape == (2, 2, 3)
    for utterance, own in enumerate(segments):
        expected = segments_error(result.sample_frames[utterance].double(), own)
        found = result.segments_standard_error[utterance]
        torch.testing.assert_close(found[:, : len(own)], expected, rtol=1e-5, atol=1e-8)
        assert not found[:, len(own) :].any()


def test_without_segments_there_are_no_errors_of_them() -> None:
    evaluator = Evaluator(lambda rows: rows[:, :2] ** 2, torch.randn(1, 800))
    settings = GradientSHAPSettings(n_samples=8)
    assert explain(evaluator, Targets.from_classes(1, 0), gaussian_noise(), settings).segments_standard_error is None
