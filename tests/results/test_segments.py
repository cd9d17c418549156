"""Segments of an explanation, and the resolution that a picture has."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_explanation

from speechshap.attribution import Evaluator, GradientSHAPSettings, Target, Targets, gaussian_noise
from speechshap.attribution.methods.gradient_shap import explain
from speechshap.attribution.segments import NamedSegments, equal_stretches
from speechshap.frames import FrameGrid
from speechshap.results.conversion import from_attribution
from speechshap.results.estimate import Estimate
from speechshap.results.rows import from_rows, to_rows
from speechshap.results.segments import SegmentAttribution


def test_segments_come_from_an_attribution_with_its_targets_in_order() -> None:
    evaluator_segments = NamedSegments().with_tier("words", ["a", ""], [(0, 2), (2, 5)])
    named = evaluator_segments.with_tier("40 ms", ["", ""], [(0, 3), (3, 5)], is_asked=False)
    waveforms = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    evaluator = Evaluator(
        lambda rows: torch.stack([rows.square().sum(1), rows.sum(1)], 1), waveforms, grid=FrameGrid(4, 4),
        segments=[[], list(named.bounds)],
    )  # fmt: skip
    result = explain(
        evaluator, Targets.from_classes(2, [[1, 0]] * 2), gaussian_noise(), GradientSHAPSettings(n_samples=8)
    )
    shared = make_explanation().provenance

    def record(segments: NamedSegments | None, attribution: object = result) -> SegmentAttribution | None:
        return from_attribution(
            attribution, 1, utterance="a", path="", speaker=None, label=None, prediction="x", probability=1.0,
            targets=[Target("y"), Target("x")], grid=FrameGrid(4, 4), num_samples=20, provenance=shared,
            segments=segments,
        ).segments  # fmt: skip

    found = record(named)
    assert found is not None
    frames, errors = result.frames[1, [1, 0]], result.segments_standard_error
    assert errors is not None
    expected = torch.stack([frames[:, :2].sum(1), frames[:, 2:].sum(1), frames[:, :3].sum(1), frames[:, 3:].sum(1)], 1)
    np.testing.assert_allclose(found.estimate.values, expected, rtol=1e-5)
    np.testing.assert_allclose(found.estimate.standard_error, errors[1, [1, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.starts * 16000, [0, 8, 0, 12])
    np.testing.assert_allclose(found.ends * 16000, [8, 20, 12, 20])
    assert found.tier("words").labels == ("a", "")
    assert record(None) is None
    # Without errors there is nothing to choose a resolution by.
    bare = record(named, dataclasses.replace(result, segments_standard_error=None))
    assert bare is not None
    assert bare.tiers == ("words", "words")


@pytest.mark.parametrize("relative_error", [0.2, None])
def test_segments_survive_parquet(relative_error: float | None) -> None:
    explanation = make_explanation(words=["so", "", "it"], targets=("a", "b"), relative_error=relative_error)
    found, expected = from_rows(to_rows(explanation)).segments, explanation.segments
    assert found is not None
    assert expected is not None
    assert (found.tiers, found.labels) == (expected.tiers, expected.labels)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_array_equal(found.ends, expected.ends)
    np.testing.assert_allclose(found.estimate.values, expected.estimate.values)
    if relative_error is None:
        assert found.estimate.standard_error is None
    else:
        np.testing.assert_allclose(found.estimate.reach, expected.estimate.reach, rtol=1e-6)


def test_of_equal_stretches_those_that_were_asked_for_are_read() -> None:
    explanation = make_explanation(words=["so", "it"])
    assert [tier.tiers[0] for tier in explanation.read_tiers] == ["words"]
    asked = make_explanation(words=["so", "it"], settings={"segment_seconds": 0.1})
    assert [tier.tiers[0] for tier in asked.read_tiers] == ["words", "100 ms"]


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_noise_is_hardly_ever_shown_as_if_it_were_known(seconds: float) -> None:
    """At most 1 of 20 explanations without any evidence passes at some resolution."""
    generator, passed, count = np.random.default_rng(0), 0, 400
    num_frames = round(50 * seconds)
    edges = np.arange(num_frames + 1) / 50
    widths = {"40 ms": 2, "100 ms": 5, "200 ms": 10, "500 ms": 25}
    bounds = [(name, pair) for name, frames in widths.items() for pair in equal_stretches(num_frames, frames)]
    first, last = (np.array([pair[side] for _, pair in bounds]) for side in (0, 1))
    base = make_explanation(seconds)

    def estimate(replicates: np.ndarray) -> Estimate:
        return Estimate(replicates.mean(0), replicates.std(0, ddof=1) / len(replicates) ** 0.5, len(replicates))

    for _ in range(count):
        frames = generator.normal(size=(16, 1, num_frames))
        rises = np.concatenate([np.zeros((16, 1, 1)), frames.cumsum(2)], 2)
        segments = SegmentAttribution(
            tuple(name for name, _ in bounds), ("",) * len(bounds), edges[first], edges[last],
            estimate(rises[..., last] - rises[..., first]),
        )  # fmt: skip
        explanation = dataclasses.replace(base, frames=estimate(frames), segments=segments)
        passed += bool(explanation.resolution().estimate.relative_error[0] < 0.5)
    assert passed / count <= 0.05
