from itertools import pairwise

import torch
from attribution.tiny import Convolution, noise, seeded

from speechshap.attribution import Evaluator, Settings, Targets
from speechshap.attribution.methods.energy import explain


def test_it_is_the_sum_of_squares_for_every_target_and_the_padding_has_none() -> None:
    waveforms, lengths = noise(2, 1300, seed=0, dtype=torch.float32), [1300, 900]
    evaluator = Evaluator(seeded(Convolution()), waveforms, lengths)
    result = explain(evaluator, Targets.from_classes(2, [[0, 2], [1, 0]]), None, Settings())
    for row, length in enumerate(lengths):
        edges = evaluator.grid.edges(length).tolist()
        expected = [waveforms[row, first:last].square().sum() for first, last in pairwise(edges)]
        for target in range(2):
            torch.testing.assert_close(result.frames[row, target, : len(expected)], torch.stack(expected))
        assert result.frames[row, :, len(expected) :].abs().sum() == 0
    assert result.n_samples.tolist() == [0, 0]
    assert result.completeness_gap.isnan().all()
