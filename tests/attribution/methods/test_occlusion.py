import math

import pytest
import torch
from attribution.tiny import TinyWavLM, noise, seeded
from captum.attr import Occlusion
from torch import Tensor

from speechshap.attribution import (
    Attribution,
    Baseline,
    Evaluator,
    Method,
    NonFiniteOutputError,
    Targets,
    find_method,
    gaussian_noise,
)
from speechshap.attribution.baselines import silence
from speechshap.attribution.methods.occlusion import OcclusionSettings, explain
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=4)


def attribute(evaluator: Evaluator, targets: object, baseline: Baseline = silence, **options: object) -> Attribution:
    targets = Targets.from_classes(len(evaluator), targets)
    return explain(evaluator, targets, baseline, OcclusionSettings(**options))


def test_parity_with_captum_for_windows_side_by_side() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(48, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    waveforms, reference = torch.randn(2, 48), torch.randn(48)
    result = attribute(Evaluator(model, waveforms, grid=GRID), 2, lambda waveform, _: reference, stretch_frames=3)
    expected = Occlusion(model).attribute(waveforms, (12,), 12, baselines=reference.expand(2, 48), target=2)
    # Captum gives the drop to each sample of a window.
    torch.testing.assert_close(result.frames[:, 0], expected[:, ::4] / 3)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_parity_with_captum_for_overlapping_windows(step: int) -> None:
    """Captum's windows end with the sound; here, others reach beyond its ends, so that the middle is compared."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(96, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    waveforms, reference = torch.randn(2, 96), torch.randn(96)
    evaluator = Evaluator(model, waveforms, grid=GRID)
    result = attribute(evaluator, 2, lambda waveform, _: reference, stretch_frames=6, step_frames=step)
    padded = torch.nn.functional.pad(waveforms, (24 - 4 * step, 24))  # so that its windows are the same

    def forward(inputs: Tensor) -> Tensor:
        return model(inputs[:, 24 - 4 * step :][:, :96])

    baselines = torch.nn.functional.pad(reference.expand(2, 96), (24 - 4 * step, 24))
    expected = Occlusion(forward).attribute(padded, (24,), 4 * step, baselines=baselines, target=2)
    frames = expected[:, 24 - 4 * step :: 4][:, 5:18] / 6  # those that only whole windows lie over
    torch.testing.assert_close(result.frames[:, 0, 5:18], frames)


def test_errors_of_overlapping_stretches_are_those_of_their_mean() -> None:
    evaluator = Evaluator(lambda x: x.square().sum(1, keepdim=True), noise(1, 40, seed=0), grid=GRID)
    options = {"stretch_frames": 4, "step_frames": 1, "n_draws": 4}
    runs = [attribute(evaluator, 0, gaussian_noise(), **options, seed=seed) for seed in range(200)]
    means = torch.stack([run.frames[0, 0] for run in runs]).std(0)
    told = torch.stack([run.frames_standard_error[0, 0] for run in runs]).square().mean(0).sqrt()
    torch.testing.assert_close(told / means, torch.ones(10, dtype=told.dtype), atol=0.2, rtol=0)


def test_linear_model_in_closed_form() -> None:
    """A stretch's drop is what its samples contribute; stretches of three share ten frames nearly evenly."""
    weight, waveform, reference = noise(43, 2, seed=0), noise(1, 43, seed=1), noise(43, seed=2)
    grid = FrameGrid(hop=4, receptive_field=6)  # ten frames: the first owns 5 samples, the last 6
    result = attribute(
        Evaluator(lambda x: x @ weight, waveform, grid=grid), [[0, 1]], lambda *_: reference, stretch_frames=3
    )
    share = (waveform[0] - reference)[:, None] * weight
    edges = grid.edges(43).tolist()
    for first, last in ((0, 3), (3, 7), (7, 10)):
        expected = share[edges[first] : edges[last]].sum(0)
        torch.testing.assert_close(result.frames[0, :, first:last].sum(1), expected.float())
        assert (result.frames[0, :, first:last] == result.frames[0, :, first, None]).all()
    assert result.completeness_gap.isnan().all()
    assert result.values is None
    assert result.frames_standard_error is None
    assert result.n_samples.tolist() == [3]


def test_forward_passes_alone_and_no_more_than_stretches() -> None:
    """A model that autograd cannot follow, inside inference mode."""
    rows = []

    def through_numpy(waveforms: Tensor, lengths: Tensor) -> Tensor:
        rows.append(len(waveforms))
        return torch.from_numpy(waveforms.numpy()[:, :2] ** 2)

    with torch.inference_mode():
        evaluator = Evaluator(through_numpy, torch.arange(1.0, 41)[None], grid=GRID, chunk_size=4)
        result = attribute(evaluator, 1, stretch_frames=1)
    assert result.frames[0, 0].tolist() == [4.0] + [0.0] * 9
    assert sum(rows) == 1 + 10
    assert max(rows) == 4


def test_an_utterance_in_a_batch_is_attributed_as_alone() -> None:
    model = seeded(TinyWavLM())
    waveforms, lengths = noise(3, 2000, seed=0, dtype=torch.float32), [1300, 2000, 500]
    options = {"stretch_frames": 2, "n_draws": 3, "seed": 3}
    together = attribute(Evaluator(model, waveforms, lengths, ["x", "y", "z"]), 1, gaussian_noise(), **options)
    assert together.n_samples.tolist() == [6, 9, 3]
    for row, length in enumerate(lengths):
        own = Evaluator(model, waveforms[row : row + 1, :length], ids=["xyz"[row]])
        alone = attribute(own, 1, gaussian_noise(), **options)
        frames = alone.frames.shape[2]
        torch.testing.assert_close(together.frames[row, :, :frames], alone.frames[0], atol=1e-5, rtol=1e-4)
        errors = together.frames_standard_error[row]
        torch.testing.assert_close(errors[:, :frames], alone.frames_standard_error[0], atol=1e-5, rtol=1e-4)
        assert together.frames[row, :, frames:].abs().sum() == 0
        assert errors[:, frames:].abs().sum() == 0


def test_standard_errors_tell_how_much_the_runs_differ() -> None:
    evaluator = Evaluator(lambda x: x[:, :8].square().sum(1, keepdim=True), noise(1, 40, seed=0), grid=GRID)
    runs = [attribute(evaluator, 0, gaussian_noise(), stretch_frames=2, n_draws=4, seed=seed) for seed in range(200)]
    means = torch.stack([run.frames[0, 0, 0] for run in runs])
    told = torch.stack([run.frames_standard_error[0, 0, 0] for run in runs]).square().mean().sqrt()
    assert float(told / means.std()) == pytest.approx(1, abs=0.15)
    waveform = evaluator.inputs[0]
    expected = (waveform[:8].square().sum() - 8 * waveform.square().mean()) / 2
    assert abs(float(means.mean() - expected)) < 4 * float(means.std()) / math.sqrt(len(runs))


def test_an_output_that_is_not_finite_is_reported_with_the_utterance() -> None:
    waveforms = torch.ones(2, 40) * torch.tensor([[1.0], [2.0]])
    evaluator = Evaluator(lambda x: 1 / (x[:, :2] - 1 + x.amax(1, keepdim=True)), waveforms, ids=["a", "b"], grid=GRID)
    with pytest.raises(NonFiniteOutputError, match="an output of the model for utterance a is not finite") as error:
        attribute(evaluator, 0)
    assert error.value.utterance_id == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stretch_frames": 0}, "`stretch_frames` is 0; expected 1 at least"),
        ({"step_frames": 6}, "`step_frames` is 6, which skips frames between stretches of 5; expected as many at most"),
        ({"n_draws": 1.5}, "`n_draws` is 1.5; expected an integer, 1 at least"),
    ],
)
def test_a_setting_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OcclusionSettings(**options)


def test_the_method_is_found_by_its_name() -> None:
    assert find_method("occlusion") == Method(OcclusionSettings, explain)
