import torch
from torch import Tensor, nn

from speechshap.attribution import Targets
from speechshap.attribution.gradients import gradients_of

WEIGHT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_gradients_and_slopes_of_every_target_from_one_forward_pass() -> None:
    """Those of ``tanh(x) @ WEIGHT``, by hand."""
    hidden, calls = nn.Tanh(), []

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        calls.append(len(waveforms))
        return hidden(waveforms) @ WEIGHT

    points, directions = torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 2, 6)
    targets = Targets(torch.tensor([[0, 1], [2, 2]]), torch.tensor([[-1, 0], [-1, 1]]))
    rows = torch.tensor([1, 0])
    found = list(gradients_of(forward, points, torch.tensor([6, 6]), rows, targets, {"hidden": hidden}, directions))
    slope = 1 - points.tanh() ** 2
    columns = [(WEIGHT[:, 2], WEIGHT[:, 0]), (WEIGHT[:, 2] - WEIGHT[:, 1], WEIGHT[:, 1] - WEIGHT[:, 0])]
    for gradients, weights in zip(found, map(torch.stack, columns), strict=True):
        torch.testing.assert_close(gradients.inputs, slope * weights, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradients.layers["hidden"], weights.float())
        torch.testing.assert_close(gradients.layer_slopes["hidden"], (slope * directions).float())
    assert calls == [2]
