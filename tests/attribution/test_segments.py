"""Sums over segments: their standard errors take the correlation of frames into account."""

import pytest
import torch

from speechshap.attribution import (
    Attribution,
    Evaluator,
    GradientSHAPSettings,
    Targets,
    find_method,
    gaussian_noise,
)
from speechshap.attribution.intervals import interval_reach
from speechshap.attribution.methods.gradient_shap import explain
from speechshap.attribution.segments import sum_segments
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


COUNT = 300  # utterances that differ in their random draws alone
GRID = FrameGrid(1, 1)
SEGMENTS = [(0, 3), (2, 7), (0, 10), (9, 10)]


def clipped_noise(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(len(waveform), generator=generator, dtype=waveform.dtype)


def repeated(name: str, n_draws: int = 8, **options: object) -> Attribution:
    """Explanations of a linear model, whose draws alone differ."""
    weights = torch.randn(10, 1, generator=torch.Generator().manual_seed(0)).double()
    waveform = torch.randn(1, 10, generator=torch.Generator().manual_seed(1)).double()
    ids = [str(number) for number in range(COUNT)]
    evaluator = Evaluator(
        lambda x: x @ weights, waveform.expand(COUNT, -1), ids=ids, grid=GRID, segments=[SEGMENTS] * COUNT
    )
    method = find_method(name)
    draws = {"n_samples": 2 * n_draws} if name == "gradient_shap" else {"n_draws": n_draws}
    settings = method.settings(**draws, **options)
    return method.explain(evaluator, Targets.from_classes(COUNT, 0), clipped_noise, settings)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradient_shap", {}),
        ("occlusion", {"stretch_frames": 2}),
        ("occlusion", {"stretch_frames": 4, "step_frames": 1}),
        ("kernel_shap", {"stretch_frames": 5, "n_divisions": 2}),
        ("lime", {"stretch_frames": 5, "n_divisions": 2, "n_samples": 80}),
    ],
)
def test_errors_of_segments_are_how_far_repeated_runs_differ(name: str, options: dict[str, object]) -> None:
    result = repeated(name, **options)
    sums = sum_segments(result.frames.double(), SEGMENTS)[:, 0]
    assert result.segments_standard_error is not None
    told = result.segments_standard_error[:, 0].double().square().mean(0).sqrt()
    torch.testing.assert_close(told, sums.std(0), atol=0, rtol=0.15)
    # Frames that share a reference, or a stretch, do not err independently of each other.
    assert result.frames_standard_error is not None
    independent = sum_segments(result.frames_standard_error.square(), SEGMENTS)[:, 0].mean(0).sqrt()
    if name != "gradient_shap":  # each of whose frames is a product with a sample of the reference's own
        assert float((told / independent - 1).abs().max()) > 0.2


@pytest.mark.parametrize("name", ["gradient_shap", "kernel_shap"])
def test_95_of_100_intervals_of_a_segment_hold_the_truth(name: str) -> None:
    """Of a linear model a frame's truth is its weight times its sample, as the references are 0 in the mean."""
    weights = torch.randn(10, 1, generator=torch.Generator().manual_seed(0)).double()
    waveform = torch.randn(1, 10, generator=torch.Generator().manual_seed(1)).double()
    result = repeated(name, **({} if name == "gradient_shap" else {"stretch_frames": 5, "n_divisions": 1}))
    truth, errors = sum_segments(weights[:, 0] * waveform[0], SEGMENTS), result.segments_standard_error
    assert errors is not None
    reach = interval_reach(7) * errors[:, 0]
    sums = sum_segments(result.frames, SEGMENTS)[:, 0]
    whole = slice(None) if name == "gradient_shap" else slice(2, 3)  # a part of a stretch has no truth of its own
    covered = ((sums - truth).abs() <= reach)[:, whole].double().mean(0)
    assert covered.tolist() == pytest.approx([0.95] * len(covered), abs=0.04)


def test_all_frames_together_have_the_error_of_what_they_must_sum_to() -> None:
    result = repeated("kernel_shap", stretch_frames=3)
    assert result.segments_standard_error is not None
    whole = SEGMENTS.index((0, 10))
    torch.testing.assert_close(result.segments_standard_error[..., whole], result.completeness_gap_standard_error)


@pytest.mark.parametrize(("name", "options"), [("occlusion", {}), ("kernel_shap", {}), ("lime", {"n_divisions": 1})])
def test_one_reference_has_no_errors_of_segments(name: str, options: dict[str, object]) -> None:
    assert repeated(name, n_draws=1, stretch_frames=5, **options).segments_standard_error is None


def test_draws_may_go_on_until_segments_are_known_well_enough() -> None:
    """References of sum 0, and a linear model: their part in the frames' errors cancels in the sum of all."""

    def sums_to_nothing(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        reference = torch.randn(len(waveform), generator=generator, dtype=waveform.dtype)
        return reference - reference.mean()

    def draws(of: str) -> list[int]:
        segments = [[(0, 40), (0, 1)], [(3, 4)]]
        evaluator = Evaluator(
            lambda rows: rows.sum(1, keepdim=True), torch.ones(2, 40), grid=GRID, segments=segments, num_decisive=[1, 0]
        )
        settings = GradientSHAPSettings(n_samples="auto", tolerance=0.2, converge_on=of)
        result = explain(evaluator, Targets.from_classes(2, 0), sums_to_nothing, settings)
        assert result.converged is not None
        assert result.converged.all()
        return result.n_samples.tolist()

    of_frames, of_segments = draws("frames"), draws("segments")
    assert of_segments[0] == 16 + 3 < of_frames[0]  # a first round, and a pilot
    assert of_segments[1] == of_frames[1]  # none of its segments is decisive
