import pytest
import torch

from speechshap.attribution import Evaluator, NonFiniteOutputError, Targets
from speechshap.attribution.scores import scores
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=4)


def test_scores_of_frames_are_those_of_every_target() -> None:
    evaluator = Evaluator(lambda x: x[:, :3], torch.ones(2, 8), grid=GRID)
    targets = evaluator.targets(Targets.from_classes(2, [[0, 1]] * 2))
    result = scores(evaluator, targets, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 7)
    assert result.frames.tolist() == [[[1, 2], [1, 2]], [[3, 4], [3, 4]]]
    assert result.n_samples.tolist() == [7, 7]
    assert result.relative_error is None
    assert result.completeness_gap.isnan().all()


def test_an_output_that_is_not_finite_is_told_with_the_utterance() -> None:
    evaluator = Evaluator(lambda x: x[:, :2].log(), torch.tensor([[1.0] * 8, [-1.0] * 8]), ids=["a", "b"], grid=GRID)
    with pytest.raises(NonFiniteOutputError, match="for utterance b is not finite"):
        scores(evaluator, evaluator.targets(Targets.from_classes(2, 0)), torch.ones(2, 2), 0)
