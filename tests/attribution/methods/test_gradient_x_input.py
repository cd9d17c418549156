import torch
from torch import nn

from speechshap.attribution import Evaluator, Settings, Targets
from speechshap.attribution.methods.gradient_x_input import explain
from speechshap.frames import FrameGrid


def test_of_relus_without_biases_it_sums_to_the_output() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 16, bias=False), nn.ReLU(), nn.Linear(16, 3, bias=False))
    evaluator = Evaluator(model, torch.randn(2, 40), grid=FrameGrid(4, 4))
    result = explain(evaluator, Targets.from_classes(2, [[0, 1, 2]] * 2), None, Settings())
    torch.testing.assert_close(result.frames.sum(2), result.outputs)
    assert result.completeness_gap.isnan().all()  # which holds for no other model
    assert (result.frames < 0).any()


def test_a_model_that_brings_its_input_to_one_level_has_a_sum_of_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(40, eps=0, elementwise_affine=False), nn.Linear(40, 3), nn.Tanh())
    evaluator = Evaluator(model, torch.randn(1, 40).double(), grid=FrameGrid(4, 4))
    model.double()
    result = explain(evaluator, Targets.from_classes(1, 0), None, Settings())
    assert abs(result.frames.sum()) < 1e-5 < result.frames.abs().sum()
