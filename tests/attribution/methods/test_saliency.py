from itertools import pairwise

import torch
from attribution.tiny import noise

from speechshap.attribution import Evaluator, Settings, Targets
from speechshap.attribution.methods.saliency import explain
from speechshap.frames import FrameGrid


def test_saliency_of_a_linear_model_is_the_size_of_its_weights() -> None:
    weight = noise(43, 2, seed=0)
    grid = FrameGrid(hop=4, receptive_field=6)  # ten frames: the first owns 5 samples, the last 6
    targets = Targets.from_classes(1, [[0, 0]], [[-1, 1]])
    result = explain(Evaluator(lambda x: x @ weight, noise(1, 43, seed=1), grid=grid), targets, None, Settings())
    sizes = torch.stack([weight[:, 0], weight[:, 0] - weight[:, 1]]).abs()
    edges = grid.edges(43).tolist()
    expected = torch.stack([sizes[:, first:last].sum(1) for first, last in pairwise(edges)], 1)
    torch.testing.assert_close(result.frames[0].double(), expected, atol=1e-5, rtol=1e-5)
