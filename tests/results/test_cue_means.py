import numpy as np
import pytest

from speechshap.results.cue_means import cue_means, evidence_frames


def test_evidence_is_what_speaks_for_the_class_beyond_its_error() -> None:
    mask, rule = evidence_frames(np.array([3.0, 1.0, -3.0, 0.2]), np.array([3.0, 0.0, -3.0, 0.2]))
    assert (mask.tolist(), rule) == ([True, False, False, True], "significant")


@pytest.mark.parametrize("significant", [None, -9.0 * (np.arange(10) == 1)])
def test_without_frames_that_are_known_to_speak_for_it_the_top_fifth_is_evidence(
    significant: np.ndarray | None,
) -> None:
    mask, rule = evidence_frames(np.array([0, -9, 1, 5, 2, 3, 9, 4, -1, 0.5]), significant)
    assert (np.flatnonzero(mask).tolist(), rule) == ([3, 6], "top_fifth")


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [1.0, np.nan, 0.0]])
def test_an_attribution_that_says_nothing_has_no_evidence(values: list[float]) -> None:
    mask, rule = evidence_frames(np.array(values), None)
    assert (mask.any(), rule) == (False, None)
    means = cue_means(np.array([values]), None, {"f0": np.arange(3.0)})
    assert np.isnan([means.evidence, means.rest]).all()


def test_means_are_over_the_frames_of_each_side_that_have_the_cue() -> None:
    cues = {"f0": np.array([2.0, np.nan, 4.0, 8.0]), "tilt": np.array([np.nan, np.nan, 1.0, 2.0])}
    frames = np.array([[1.0, 2.0, -1.0, 0.0], [-1.0, -1.0, 3.0, 3.0]])
    means = cue_means(frames, frames, cues)
    np.testing.assert_array_equal(means.evidence, [[2.0, np.nan], [6.0, 1.5]])
    np.testing.assert_array_equal(means.rest, [[6.0, 1.5], [2.0, np.nan]])
    assert (means.names, means.rules) == (("f0", "tilt"), ("significant", "significant"))
