from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, roc_auc_score
from torch import Tensor

from speechshap.data import Stretch
from speechshap.evaluation import (
    area_under_curve,
    frames_inside,
    mass_inside,
    points_inside,
    precision_at_length,
    read_over,
)
from speechshap.frames import FrameGrid

MEASURES = [area_under_curve, points_inside, mass_inside, precision_at_length]

Drawn = tuple[Tensor, Tensor, Tensor]


def draw(batch: int = 6, frames: int = 40, levels: int = 0, seed: int = 0) -> Drawn:
    """Scores (of a few levels only, so that many are equal, where asked for), truth, and utterances of all lengths."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, frames, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    truth = torch.rand(batch, frames, generator=generator) < 0.4
    valid = torch.arange(frames) < torch.linspace(frames // 2, frames, batch).round()[:, None]
    return scores, truth, valid


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_area_is_that_of_scikit_learn(levels: int) -> None:
    scores, truth, valid = draw(levels=levels)
    expected = [roc_auc_score(own[mask], row[mask]) for row, own, mask in zip(scores, truth, valid, strict=True)]
    torch.testing.assert_close(area_under_curve(scores, truth, valid), torch.tensor(expected).float())


def test_precision_at_length_is_that_of_scikit_learn() -> None:
    scores, truth, valid = draw()
    expected = []
    for row, own, mask in zip(scores, truth, valid, strict=True):
        own, row = own[mask].numpy(), row[mask].numpy()
        chosen = np.zeros_like(own)
        chosen[np.argsort(-row)[: own.sum()]] = True
        expected.append(precision_score(own, chosen))
    torch.testing.assert_close(precision_at_length(scores, truth, valid), torch.tensor(expected).float())


def test_of_equal_scores_each_is_as_likely_to_be_taken() -> None:
    scores, truth, valid = draw(batch=1, levels=1)
    generator = torch.Generator().manual_seed(1)
    broken = [
        precision_at_length(scores + 1e-3 * torch.rand(scores.shape, generator=generator), truth, valid)
        for _ in range(2000)
    ]
    assert float(precision_at_length(scores, truth, valid)) == pytest.approx(
        float(torch.stack(broken).mean()), abs=0.01
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_the_truth_itself_is_perfect(measure: Callable[..., Tensor]) -> None:
    _, truth, valid = draw()
    assert measure(truth.float(), truth, valid).tolist() == [1.0] * len(truth)


@pytest.mark.parametrize("measure", MEASURES)
def test_random_scores_score_as_theory_says(measure: Callable[..., Tensor]) -> None:
    scores, truth, valid = draw(batch=4000)
    by_chance = 0.5 if measure is area_under_curve else float((truth & valid).sum() / valid.sum())
    values = measure(scores, truth, valid)
    standard_error = float(values.std()) / len(values) ** 0.5
    assert abs(float(values.mean()) - by_chance) < 4 * standard_error


@pytest.mark.parametrize("measure", MEASURES)
def test_padding_and_what_is_not_judged_count_for_nothing(measure: Callable[..., Tensor]) -> None:
    scores, truth, valid = draw()
    outside = torch.where(valid, scores, 99.0)
    torch.testing.assert_close(measure(outside, truth | ~valid, valid), measure(scores, truth, valid))


@pytest.mark.parametrize("measure", MEASURES)
def test_without_evidence_or_without_a_rest_there_is_nothing_to_point_at(measure: Callable[..., Tensor]) -> None:
    scores, _, valid = draw(batch=2)
    truth = torch.stack([torch.zeros(40), torch.ones(40)]).bool()
    assert measure(scores, truth, valid).isnan().all()


def test_mass_needs_positive_scores() -> None:
    _, truth, valid = draw(batch=1)
    assert mass_inside(-torch.ones(1, 40), truth, valid).isnan().all()


def test_reading_over_a_width_is_a_mean_of_the_utterance_alone() -> None:
    scores, _, valid = draw(batch=2)
    coarse = read_over(scores, valid, 9)
    for row, own, mask in zip(coarse, scores, valid, strict=True):
        frames = own[mask]
        expected = torch.stack([frames[max(0, k - 4) : k + 5].mean() for k in range(len(frames))])
        torch.testing.assert_close(row[mask], expected)
        assert (row[~mask] == 0).all()
    torch.testing.assert_close(read_over(scores, valid, 1), scores * valid)


def test_frames_of_stretches_are_those_that_lie_in_them_for_the_most_part() -> None:
    grid = FrameGrid(hop=320, receptive_field=320)
    inside = frames_inside([Stretch(0.1, 0.2), Stretch(0.509, 0.6)], grid, 16000)
    assert inside.nonzero()[:, 0].tolist() == [*range(5, 10), *range(25, 30)]


def test_a_stretch_outside_of_the_utterance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a stretch ends at 1.2 s, and the utterance at 1 s"):
        frames_inside([Stretch(0.5, 1.2)], FrameGrid(), 16000)
