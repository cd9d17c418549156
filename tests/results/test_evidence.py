"""Windows that are heard as evidence."""

from itertools import combinations

import numpy as np
import pytest

from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.results.evidence import evidence_windows, random_windows, spread_over_frames

EDGES = np.arange(51) / 50  # a second in frames of 20 ms


def test_windows_last_100_to_200_ms_and_do_not_overlap() -> None:
    generator = np.random.default_rng(0)
    for grid in (FrameGrid(), FrameGrid(hop=200, receptive_field=400), FrameGrid(hop=640, receptive_field=640)):
        edges = grid.edges(5 * SAMPLE_RATE).numpy() / SAMPLE_RATE
        windows = evidence_windows(generator.normal(size=len(edges) - 1), edges)
        lengths = np.diff(windows, axis=1)
        # The first and last frame own what lies before and behind the others.
        assert lengths.min() >= 0.1 - 1e-9
        assert lengths.max() <= 0.2 + 1e-9
        assert (windows[1:, 0] >= windows[:-1, 1] - 1e-9).all()
        assert 0.9 < lengths.sum() <= 1 + 1e-9  # a fifth of the sound


def test_a_single_window_is_the_best_there_is() -> None:
    weights = np.random.default_rng(1).normal(size=50)
    (window,) = evidence_windows(weights, EDGES, most=0.1)
    sums = {
        (first, end): weights[first:end].sum() for first, end in combinations(range(51), 2) if 5 <= end - first <= 10
    }
    assert tuple(np.rint(window * 50)) == max(sums, key=lambda pair: sums[pair])


def test_a_short_piece_of_evidence_lies_in_the_middle_of_its_window() -> None:
    weights = np.zeros(50)
    weights[30] = 1.0
    assert evidence_windows(weights, EDGES).tolist() == [[pytest.approx(0.56), pytest.approx(0.66)]]


def test_what_speaks_against_the_target_is_no_evidence() -> None:
    weights = np.zeros(50)
    weights[10:15], weights[12] = 1.0, -9.0
    windows = evidence_windows(weights, EDGES)
    assert not ((windows[:, 0] < 0.25) & (windows[:, 1] > 0.25)).any()
    assert evidence_windows(-np.abs(weights), EDGES).shape == (0, 2)


@pytest.mark.parametrize("seconds", [0.02, 0.08])
def test_a_sound_shorter_than_a_window_is_one_itself(seconds: float) -> None:
    edges = np.linspace(0, seconds, 1 + round(seconds / 0.02))
    assert evidence_windows(np.ones(len(edges) - 1), edges).tolist() == [[0.0, seconds]]


def test_frames_longer_than_a_window_are_windows() -> None:
    assert evidence_windows(np.array([0.0, 2.0, 1.0]), np.arange(4) / 2).tolist() == [[0.5, 1.0]]


def test_random_windows_have_the_same_lengths_within_the_speech_and_do_not_overlap() -> None:
    windows = np.array([[0.0, 0.1], [0.3, 0.5], [0.6, 0.72]])
    is_speech = (EDGES[:-1] >= 0.3) & (EDGES[:-1] < 0.9)
    starts = set()
    for seed in range(50):
        found = random_windows(windows, EDGES, is_speech, np.random.default_rng(seed))
        np.testing.assert_allclose(np.sort(np.diff(found, axis=1)[:, 0]), [0.1, 0.12, 0.2])
        assert (found[1:, 0] >= found[:-1, 1] - 1e-9).all()
        middles = found.mean(1)
        assert ((middles > 0.3 - 0.02) & (middles < 0.9 + 0.02)).all()
        starts |= set(found[:, 0].round(2).tolist())
    assert len(starts) > 15


def test_random_windows_are_as_long_as_evidence_in_the_longer_frames_at_the_ends_of_a_sound() -> None:
    edges = FrameGrid().edges(5 * SAMPLE_RATE).numpy() / SAMPLE_RATE
    windows = np.array([edges[[0, 5]], edges[[-6, -1]]])  # 102.5 and 117.5 ms of five frames each
    for seed in range(50):
        found = random_windows(windows, edges, np.ones(len(edges) - 1, bool), np.random.default_rng(seed))
        np.testing.assert_allclose(np.sort(np.diff(found, axis=1)[:, 0]), np.sort(np.diff(windows, axis=1)[:, 0]))
        assert found[0, 1] <= found[1, 0] + 1e-9
        assert found[1, 1] <= edges[-1] + 1e-9


def test_random_windows_lie_anywhere_where_there_is_no_room_within_the_speech() -> None:
    windows = np.array([[0.0, 0.2], [0.3, 0.5], [0.6, 0.8]])
    found = random_windows(windows, EDGES, EDGES[:-1] < 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(found, axis=1), 0.2)
    whole = random_windows(np.array([[0.0, 1.0]]), EDGES, np.zeros(50, bool), np.random.default_rng(0))
    assert whole.tolist() == [[0.0, 1.0]]


def test_stretches_are_distributed_over_their_frames() -> None:
    frame_edges = FrameGrid().edges(16000).numpy() / SAMPLE_RATE
    edges = frame_edges[[0, 20, 35, len(frame_edges) - 1]]
    spread = spread_over_frames(np.array([3.0, -1.0, 2.0]), edges, frame_edges)
    np.testing.assert_allclose([spread[:20].sum(), spread[20:35].sum(), spread[35:].sum()], [3.0, -1.0, 2.0])
