import pytest
import torch
from attribution.tiny import Convolution, TinyWavLM, noise, seeded
from captum.attr import InputXGradient, Saliency
from torch import Tensor, nn

from speechshap.attribution import (
    Attribution,
    Evaluator,
    NonFiniteGradientError,
    Targets,
    ZeroGradientError,
    find_method,
    silence,
)
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=4)
ONE_GRADIENT = pytest.mark.parametrize(
    ("name", "of_captum"), [("saliency", Saliency), ("gradient_x_input", InputXGradient)]
)
GRADIENTS = pytest.mark.parametrize("name", ["saliency", "gradient_x_input", "smooth_grad"])


def attribute(name: str, evaluator: Evaluator, targets: Targets, **options: object) -> Attribution:
    method = find_method(name)
    return method.explain(evaluator, targets, silence, method.settings(**options))


@ONE_GRADIENT
def test_parity_with_captum(name: str, of_captum: type) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3))
    waveforms = torch.randn(2, 48)
    result = attribute(name, Evaluator(model, waveforms, grid=GRID), Targets.from_classes(2, [[2, 0], [1, 2]]))
    for column, targets in enumerate(([2, 1], [0, 2])):
        expected = of_captum(model).attribute(waveforms.requires_grad_(), targets).unflatten(1, (12, 4)).sum(2)
        torch.testing.assert_close(result.frames[:, column], expected.detach())
    assert result.completeness_gap.isnan().all()
    assert result.frames_standard_error is None
    assert result.n_samples.tolist() == [1, 1]


@GRADIENTS
def test_an_utterance_in_a_batch_is_scored_as_alone(name: str) -> None:
    model = seeded(TinyWavLM())
    waveforms, lengths = noise(3, 2000, seed=0, dtype=torch.float32), [1300, 2000, 500]
    options = {"n_samples": 3, "seed": 3} if name == "smooth_grad" else {}
    targets = Targets.from_classes(3, [[0, 2]] * 3, [[-1, 1]] * 3, "probability")
    together = attribute(name, Evaluator(model, waveforms, lengths, list("xyz"), chunk_size=2), targets, **options)
    for row, length in enumerate(lengths):
        own = Evaluator(model, waveforms[row : row + 1, :length], ids=["xyz"[row]])
        alone = attribute(
            name, own, Targets(*(t[row : row + 1] for t in targets_of(targets)), "probability"), **options
        )
        frames = alone.frames.shape[2]
        torch.testing.assert_close(together.frames[row, :, :frames], alone.frames[0], atol=1e-5, rtol=1e-4)
        assert together.frames[row, :, frames:].abs().sum() == 0


def targets_of(targets: Targets) -> tuple[Tensor, Tensor]:
    return targets.classes, targets.against


@GRADIENTS
def test_several_targets_share_a_forward_pass(name: str) -> None:
    model, rows = seeded(Convolution()), []

    def counting(waveforms: Tensor, lengths: Tensor) -> Tensor:
        rows.append(len(waveforms))
        return model(waveforms, lengths)

    result = attribute(
        name, Evaluator(counting, noise(2, 1300, seed=0).float()), Targets.from_classes(2, [[0, 1, 2]] * 2)
    )
    assert sum(rows) == 2 + int(result.n_samples.sum())


@GRADIENTS
def test_gradients_that_explain_nothing_are_told_with_the_utterance(name: str) -> None:
    waveforms, targets = torch.tensor([[1.0] * 8, [0.0] * 8]), Targets.from_classes(2, 0)
    for forward, error in ((lambda x: x.relu(), ZeroGradientError), (lambda x: x.sqrt(), NonFiniteGradientError)):
        with pytest.raises(error) as found:
            attribute(name, Evaluator(forward, waveforms, ids=["a", "b"], grid=GRID), targets)
        assert found.value.utterance_id == "b"
