"""Paths between features: completeness, parity with Captum, padding, references, and what a space has not."""

import pytest
import torch
from attribution.tiny import noise
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

from speechshap.attribution import (
    Attribution,
    Baseline,
    Evaluator,
    Space,
    SpectralGrid,
    Targets,
    find_method,
    gaussian_noise,
    gradient_shap,
)
from speechshap.attribution.baselines import MeanReference, from_references, silence
from speechshap.attribution.feature_evaluator import in_space
from speechshap.attribution.methods.gradient_shap import GradientSHAPSettings
from speechshap.attribution.methods.integrated_gradients import IntegratedGradientsSettings
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.spaces import Bands

GRID = FrameGrid(hop=8, receptive_field=8)


class Framewise(nn.Module):
    """Frames of eight samples, features of each, a mean over the frames of each utterance, classes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.stem = nn.Conv1d(1, 5, 8, 8)
        self.hidden = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
        self.stem_calls = 0
        self.stem.register_forward_hook(self._count)
        self.double().requires_grad_(False)

    def _count(self, *_: object) -> None:
        self.stem_calls += 1

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        features = self.stem(waveforms[:, None]).transpose(1, 2)
        frames = torch.arange(features.shape[1]) < (lengths // 8)[:, None]
        hidden = self.hidden(features.tanh()).tanh().masked_fill(~frames[..., None], 0)
        return self.head(hidden.sum(1) / frames.sum(1, keepdim=True))

    @property
    def spaces(self) -> dict[str, Space]:
        return {"stem": Space(module=self.stem, time_dim=2, skipped=(self.stem,)), "hidden": Space(module=self.hidden)}


@pytest.fixture
def model() -> Framewise:
    return Framewise().eval()


def evaluator_of(model: Framewise, waveforms: Tensor, lengths: list[int], **options: object) -> Evaluator:
    ids = ["x", "y"][: len(waveforms)]
    return Evaluator(model, waveforms, lengths, ids, grid=GRID, spaces=model.spaces, **options)


def explain(
    evaluator: Evaluator, baseline: Baseline, method: str = "integrated_gradients", **options: object
) -> Attribution:
    found = find_method(method)
    targets = Targets.from_classes(len(evaluator), [[0, 2]] * len(evaluator))
    return found.explain(evaluator, targets, baseline, found.settings(**options))


@pytest.mark.parametrize("space", ["stem", "hidden"])
@pytest.mark.parametrize(
    "baseline",
    [silence, gaussian_noise(), MeanReference(gaussian_noise()), MeanReference(None)],
    ids=["silence", "noise", "mean of noise", "own mean"],
)
def test_what_a_batch_sums_to_and_an_utterance_alone(model: Framewise, space: str, baseline: Baseline) -> None:
    waveforms, lengths = noise(2, 80, seed=0), [80, 56]
    together = explain(evaluator_of(model, waveforms, lengths, chunk_size=5), baseline, space=space)
    assert together.completeness_gap.abs().max() < 1e-6
    assert not together.frames[1, :, 7:].any()
    for row, length in enumerate(lengths):
        own = Evaluator(model, waveforms[row : row + 1, :length], ids=["xy"[row]], grid=GRID, spaces=model.spaces)
        alone = explain(own, baseline, space=space)
        torch.testing.assert_close(together.frames[row, :, : length // 8], alone.frames[0], atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("space", ["stem", "hidden"])
def test_parity_with_captums_layer_integrated_gradients(model: Framewise, space: str) -> None:
    waveform, reference, length = noise(1, 80, seed=0), noise(80, seed=1), torch.tensor([80])
    result = explain(evaluator_of(model, waveform, [80]), lambda *_: reference, space=space, n_points=63)
    layer = model.spaces[space].module
    for column, target in enumerate((0, 2)):
        captum = LayerIntegratedGradients(lambda x: model(x, length.expand(len(x))), layer).attribute(
            waveform, reference[None], target=target, n_steps=100, method="gausslegendre"
        )
        captum = captum.transpose(1, 2) if space == "stem" else captum
        torch.testing.assert_close(result.frames[0, column], captum[0].sum(1), atol=1e-7, rtol=1e-5)


def test_the_draws_are_those_of_the_waveforms(model: Framewise) -> None:
    """One alpha and one reference: the gradient at a point between features times their difference."""
    waveform, reference, length = noise(1, 80, seed=0), noise(1, 80, seed=1), torch.tensor([80])
    result = gradient_shap(
        model, waveform, reference.expand(4, -1), targets=1, alphas=torch.tensor([0.3] * 4), grid=GRID, space="stem"
    )
    stem = lambda sound: model.stem(sound[:, None]).transpose(1, 2)  # noqa: E731
    start, end = stem(reference), stem(waveform)
    point = (start + 0.3 * (end - start)).requires_grad_()
    model.head(model.hidden(point.tanh()).tanh().mean(1))[:, 1].backward()
    torch.testing.assert_close(result.frames[0, 0], ((end - start) * point.grad)[0].sum(1))
    assert result.values is None
    assert length.item() == 80


def test_what_lies_before_the_space_runs_once_a_sound(model: Framewise) -> None:
    waveforms = noise(2, 80, seed=0)
    evaluator = evaluator_of(model, waveforms, [80, 80])
    _ = evaluator.logits
    model.stem_calls = 0
    explain(evaluator, gaussian_noise(), space="stem", n_points=15)
    # Each call with the points in its place counts as one of the hook, and there is no other beside two of each kind.
    sounds, points = 4, model.stem_calls - 4
    assert sounds == 4
    assert points <= 2 * 15 + 4


def test_neurons_of_the_space_sum_to_the_frames(model: Framewise) -> None:
    layers = {"stem": model.stem, "hidden": model.hidden}
    evaluator = evaluator_of(model, noise(2, 80, seed=0), [80, 56], layers=layers)
    for method, options in (("integrated_gradients", {"n_points": 31}), ("gradient_shap", {"n_samples": 8})):
        result = explain(evaluator, gaussian_noise(), method, space="stem", layer_method="path", **options)
        assert result.layers["stem"].shape == (2, 2, 10, 5)
        torch.testing.assert_close(result.layers["stem"].sum(3).double(), result.frames, atol=1e-5, rtol=1e-4)
        # Behind the space all goes through this layer.
        torch.testing.assert_close(
            result.layers["hidden"].sum((2, 3)).double(), result.frames.sum(2), atol=1e-5, rtol=1e-4
        )


def test_layers_before_the_space_are_refused(model: Framewise) -> None:
    layers = {"stem": model.stem, "hidden": model.hidden}
    evaluator = evaluator_of(model, noise(2, 80, seed=0), [80, 56], layers=layers)
    with pytest.raises(UserError, match="`layers`: stem runs before hidden, which is the `space`"):
        explain(evaluator, gaussian_noise(), space="hidden")


def test_mean_references(model: Framewise) -> None:
    waveforms = noise(2, 80, seed=0)
    evaluator = in_space(evaluator_of(model, waveforms, [80, 56]), "stem")
    features = model.stem(waveforms[:, None]).transpose(1, 2)
    own = evaluator.draw_reference(MeanReference(None), 1, torch.Generator())
    torch.testing.assert_close(own, features[1, :7].mean(0).expand(7, 5))
    clips = noise(3, 40, seed=5)
    mean = MeanReference(from_references(clips), clips)
    expected = model.stem(clips[:, None].double()).mean((0, 2))
    for utterance, length in enumerate((10, 7)):
        found = evaluator.draw_reference(mean, utterance, torch.Generator().manual_seed(utterance))
        torch.testing.assert_close(found, expected.expand(length, 5))
    of_noise = [
        evaluator.draw_reference(MeanReference(gaussian_noise()), 0, torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    ]
    assert torch.equal(*of_noise)  # whatever the seed of a run


def test_what_goes_round_the_space_keeps_the_values_of_the_utterance() -> None:
    linear = nn.Linear(8, 8, bias=False).double().requires_grad_(False)

    def forward(waveforms: Tensor) -> Tensor:
        frames = waveforms.unflatten(1, (-1, 8))
        return (frames + linear(frames)).sum((1, 2))[:, None]

    waveform, reference = noise(1, 40, seed=0), noise(40, seed=1)
    evaluator = Evaluator(forward, waveform, grid=GRID, spaces={"linear": Space(module=linear)})
    targets = Targets.from_classes(1, 0)
    found = find_method("integrated_gradients")
    result = found.explain(
        evaluator, targets, lambda *_: reference, IntegratedGradientsSettings(space="linear", n_points=3)
    )
    difference = linear((waveform[0] - reference).unflatten(0, (-1, 8))).sum(1)
    torch.testing.assert_close(result.frames[0, 0], difference)
    assert result.completeness_gap.abs().max() < 1e-5


def test_positions_belong_to_the_frames_that_are_nearest() -> None:
    """Four positions of four samples for two frames of eight."""
    stem = nn.Conv1d(1, 3, 4, 4, bias=False).double().requires_grad_(False)
    bands = Bands(torch.tensor([1.0, 2.0, 3.0]), FrameGrid(4, 4))
    space = Space(module=stem, time_dim=2, grid=bands.columns, bands=bands)
    weights = torch.arange(4.0).double()
    evaluator = Evaluator(
        lambda x: (stem(x[:, None]).sum(1) * weights).sum(1, keepdim=True), noise(1, 16, seed=0), grid=GRID,
        spaces={"bands": space},
    )  # fmt: skip
    found = find_method("integrated_gradients")
    result = found.explain(
        evaluator, Targets.from_classes(1, 0), silence, IntegratedGradientsSettings(space="bands", n_points=3)
    )
    by_position = stem(evaluator.inputs[:, None])[0] * weights  # (bands, positions)
    torch.testing.assert_close(result.time_frequency[0, 0], by_position)
    torch.testing.assert_close(result.frames[0, 0], by_position.sum(0).unflatten(0, (2, 2)).sum(1))


def test_an_unknown_space(model: Framewise) -> None:
    with pytest.raises(UserError, match="`space` is 'stemm'; expected waveform, stem, hidden"):
        explain(evaluator_of(model, noise(1, 80, seed=0), [80]), silence, space="stemm")


def test_a_module_that_runs_more_than_once() -> None:
    linear = nn.Linear(8, 8).double().requires_grad_(False)
    evaluator = Evaluator(
        lambda x: linear(linear(x.unflatten(1, (-1, 8)))).sum(1), noise(1, 80, seed=0), grid=GRID,
        spaces={"linear": Space(module=linear)},
    )  # fmt: skip
    with pytest.raises(UserError, match="`space`: its module runs more than once"):
        explain(evaluator, silence, space="linear")


def test_a_module_that_does_not_run(model: Framewise) -> None:
    evaluator = Evaluator(model, noise(1, 80, seed=0), [80], grid=GRID, spaces={"other": Space(module=nn.Linear(2, 2))})
    with pytest.raises(UserError, match="`space`: other did not run within forward"):
        explain(evaluator, silence, space="other")


def test_a_module_without_the_positions(model: Framewise) -> None:
    evaluator = Evaluator(
        model, noise(1, 80, seed=0), [80], grid=FrameGrid(4, 4), spaces={"stem": model.spaces["stem"]}
    )
    with pytest.raises(UserError, match="has 10 positions in dimension 2 for an utterance that has 20"):
        explain(evaluator, silence, space="stem")


def test_samples_are_refused(model: Framewise) -> None:
    evaluator = Evaluator(model, noise(1, 80, seed=0), [80], grid=FrameGrid(1, 1), spaces=model.spaces)
    with pytest.raises(UserError, match='has frames and no samples; expected "waveform"'):
        explain(evaluator, silence, space="stem")


def test_frequencies_are_refused() -> None:
    with pytest.raises(UserError, match="`spectrum` is for paths between waveforms; those of `space` 'stem'"):
        GradientSHAPSettings(space="stem", spectrum=SpectralGrid())


@pytest.mark.parametrize("baselines", ["mean:noise", "mean:utterance", "mean:dataset:neutral"])
def test_a_mean_is_one_of_features(baselines: str) -> None:
    assert GradientSHAPSettings(space="stem", baselines=baselines).baselines == baselines
    with pytest.raises(UserError, match="a mean of waveforms sounds like none of them"):
        GradientSHAPSettings(baselines=baselines)
    with pytest.raises(UserError, match="a mean of waveforms sounds like none of them"):
        find_method("occlusion").settings(baselines=baselines)


def test_a_mean_of_music() -> None:
    with pytest.raises(UserError, match="`baselines` is 'mean:music'"):
        GradientSHAPSettings(space="stem", baselines="mean:music")


def test_a_mean_of_clips_is_computed_once_for_the_same_weights(model: Framewise) -> None:
    clips = noise(3, 40, seed=5)
    mean = MeanReference(from_references(clips), clips)

    def draw() -> Tensor:
        evaluator = in_space(evaluator_of(model, noise(1, 80, seed=0), [80]), "stem")
        model.stem_calls = 0
        return evaluator.draw_reference(mean, 0, torch.Generator())[0]

    first = draw()
    assert model.stem_calls == 3
    assert torch.equal(draw(), first)
    assert model.stem_calls == 1
    model.stem.weight.data.mul_(2)
    torch.testing.assert_close(draw(), model.stem(clips[:, None].double()).mean((0, 2)))


def test_what_others_did_to_the_module_stays(model: Framewise) -> None:
    """A forward of its own, as libraries that offload weights give it, and a hook that changes the output."""
    own = model.stem.forward
    model.stem.forward = lambda waveforms: 2 * own(waveforms)
    handle = model.stem.register_forward_hook(lambda _, __, output: output + 1)
    evaluator = evaluator_of(model, noise(1, 80, seed=0), [80])
    result = explain(evaluator, silence, space="stem", n_points=63)
    assert result.completeness_gap.abs().max() < 1e-6
    handle.remove()
    waveform = noise(1, 80, seed=1)[:, None]
    torch.testing.assert_close(model.stem(waveform), 2 * own(waveform))


def test_what_follows_may_work_in_place() -> None:
    linear = nn.Linear(8, 3).double().requires_grad_(False)
    evaluator = Evaluator(
        lambda x: linear(x.unflatten(1, (-1, 8))).relu_().sum(1), noise(1, 80, seed=0), grid=GRID,
        spaces={"linear": Space(module=linear)},
    )  # fmt: skip
    result = explain(evaluator, gaussian_noise(), space="linear", n_points=255)
    assert result.completeness_gap.abs().max() < 0.02


def test_more_positions_than_frames_are_refused() -> None:
    linear = nn.Linear(4, 3).double().requires_grad_(False)
    evaluator = Evaluator(
        lambda x: linear(x.unflatten(1, (-1, 4))).sum(1), noise(1, 80, seed=0), grid=GRID,
        spaces={"linear": Space(module=linear)},
    )  # fmt: skip
    with pytest.raises(UserError, match="has 20 positions in dimension 1 for an utterance that has 10"):
        explain(evaluator, silence, space="linear")


def test_a_mean_is_one_of_the_sound_and_not_of_what_a_model_puts_after_it() -> None:
    stem = nn.Conv1d(1, 3, 8, 8, bias=False).double().requires_grad_(False)
    silent = nn.functional.pad
    evaluator = Evaluator(
        lambda x: stem(silent(x, (0, 160 - x.shape[1]))[:, None]).sum(2), noise(1, 80, seed=0), grid=GRID,
        spaces={"stem": Space(module=stem, time_dim=2, covers_padding=True)},
    )  # fmt: skip
    features = in_space(evaluator, "stem")
    assert features.lengths == [20]
    reference = features.draw_reference(MeanReference(None), 0, torch.Generator())
    torch.testing.assert_close(reference[:10], features.inputs[0, :10].mean(0).expand(10, 3))
    assert torch.equal(reference[10:], features.inputs[0, 10:])


def test_a_clip_that_is_not_heard_at_once_counts_as_a_whole() -> None:
    """The model hears a second at a time, and the clips have two."""
    stem = nn.Conv1d(1, 3, 8, 8, bias=False).double().requires_grad_(False)

    def forward(waveforms: Tensor) -> Tensor:
        return sum(stem(window[:, None]).sum(2) for window in waveforms.split(16_000, 1))

    evaluator = Evaluator(forward, noise(1, 80, seed=0), grid=GRID, spaces={"stem": Space(module=stem, time_dim=2)})
    clips = noise(2, 32_000, seed=5)
    mean = in_space(evaluator, "stem").draw_reference(
        MeanReference(from_references(clips), clips), 0, torch.Generator()
    )
    torch.testing.assert_close(mean[0], stem(clips[:, None]).mean((0, 2)), atol=1e-9, rtol=1e-6)
