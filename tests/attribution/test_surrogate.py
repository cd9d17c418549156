"""What KernelSHAP and LIME have in common."""

from itertools import pairwise

import pytest
import torch
from attribution.tiny import Convolution, noise, seeded
from torch import Tensor

from speechshap.attribution import (
    Attribution,
    Baseline,
    Evaluator,
    NonFiniteOutputError,
    SpectralGrid,
    Targets,
    UtteranceError,
    find_method,
    gaussian_noise,
    silence,
)
from speechshap.attribution.surrogate import SurrogateSettings
from speechshap.errors import UserError
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=1, receptive_field=1)
METHODS = pytest.mark.parametrize("name", ["kernel_shap", "lime"])


def attribute(
    name: str, evaluator: Evaluator, targets: object = 0, baseline: Baseline = silence, **options: object
) -> Attribution:
    method = find_method(name)
    chosen = Targets.from_classes(len(evaluator), targets)
    return method.explain(evaluator, chosen, baseline, method.settings(**{"n_divisions": 1, **options}))


def energy(waveforms: Tensor, low: float, high: float) -> Tensor:
    """Mean power between two frequencies, ``(batch, 1)``."""
    power = torch.fft.rfft(waveforms).abs().square() / waveforms.shape[1] ** 2
    hertz = torch.linspace(0, 8000, power.shape[1])
    return power[:, (hertz > low) & (hertz < high)].sum(1, keepdim=True)


@METHODS
@pytest.mark.parametrize("n_divisions", [1, 2])
@pytest.mark.parametrize("features", ["stretches", "bands", "cells"])
def test_an_utterance_in_a_batch_is_attributed_as_alone(name: str, features: str, n_divisions: int) -> None:
    model, waveforms, lengths = seeded(Convolution()), noise(3, 2000, seed=0, dtype=torch.float32), [1300, 2000, 500]
    options = {"stretch_frames": 2, "num_bands": 4, "features": features, "n_draws": 3, "seed": 3}
    options["n_divisions"] = n_divisions
    whole = Evaluator(model, waveforms, lengths, ["x", "y", "z"], chunk_size=7)
    together = attribute(name, whole, [[0, 1]] * 3, gaussian_noise(), **options)
    for row, length in enumerate(lengths):
        own = Evaluator(model, waveforms[row : row + 1, :length], ids=["xyz"[row]], chunk_size=100)
        alone = attribute(name, own, [[0, 1]], gaussian_noise(), **options)
        assert together.n_samples[row] == alone.n_samples[0]
        for part in ("frames", "frames_standard_error", "time_frequency", "time_frequency_standard_error"):
            ours, expected = getattr(together, part), getattr(alone, part)
            if features == "stretches" and part.startswith("time"):
                assert ours is expected is None
                continue
            size = expected.shape[-1]
            torch.testing.assert_close(ours[row, ..., :size], expected[0], atol=1e-5, rtol=1e-3)
            assert ours[row, ..., size:].abs().sum() == 0


@METHODS
@pytest.mark.parametrize("features", ["bands", "cells"])
def test_bands_and_frames_sum_to_the_same(name: str, features: str) -> None:
    evaluator = Evaluator(seeded(Convolution()), noise(2, 5000, seed=0, dtype=torch.float32), [5000, 3000])
    options = {"features": features, "num_bands": 5, "n_samples": 64, "n_draws": 2}
    result = attribute(name, evaluator, [[0, 1]] * 2, **options)
    assert result.time_frequency.shape == (2, 2, 5, SpectralGrid().num_frames(5000))
    torch.testing.assert_close(result.time_frequency.sum((2, 3)), result.frames.sum(2))


def test_the_error_of_a_sum_over_bands_is_not_that_of_independent_bands() -> None:
    """All bands together have the error of the mean over the references, as they have its sum."""
    evaluator = Evaluator(seeded(Convolution()), noise(1, 5000, seed=0, dtype=torch.float32))
    options = {"features": "bands", "num_bands": 5, "n_samples": 64, "n_draws": 8}
    result = attribute("kernel_shap", evaluator, 0, gaussian_noise(), **options)
    own = result.frames_standard_error[0].sum(1)  # of equal frames, which move together
    torch.testing.assert_close(own, result.completeness_gap_standard_error[0], atol=0, rtol=1e-4)
    assert result.time_frequency_standard_error[0].sum(2).norm() > 1.5 * own


@METHODS
def test_the_band_that_a_model_hears_is_found(name: str) -> None:
    waveforms = noise(1, 4000, seed=0, dtype=torch.float32)
    evaluator = Evaluator(lambda x: energy(x, 900, 1100), waveforms)
    result = attribute(name, evaluator, features="bands", num_bands=12, n_draws=1, n_samples=128)
    bands = result.time_frequency[0, 0].sum(1)
    frequencies = SpectralGrid(num_mel_bands=12).frequencies
    assert bands.argmax() == (frequencies - 1000).abs().argmin()
    assert bands.sort().values[-2:].sum() > 0.9 * bands.abs().sum()
    assert (result.frames[0, 0] == result.frames[0, 0, 0]).all()  # bands say nothing of time


@METHODS
def test_the_cell_that_a_model_hears_is_found(name: str) -> None:
    waveforms = noise(1, 8000, seed=0, dtype=torch.float32)
    evaluator = Evaluator(lambda x: energy(x[:, 6000:], 2500, 3100), waveforms)
    result = attribute(name, evaluator, features="cells", num_bands=6, stretch_frames=6, n_draws=1, n_samples=512)
    strongest = result.time_frequency[0, 0].flatten().argmax()
    band, column = divmod(int(strongest), result.time_frequency.shape[-1])
    frequencies = SpectralGrid(num_mel_bands=6).frequencies
    assert band == (frequencies - 2800).abs().argmin()
    assert column * 160 > 5600
    assert result.frames[0, 0].argmax() >= 18


@METHODS
def test_forward_passes_alone_inside_inference_mode_and_autocast(name: str) -> None:
    def through_numpy(waveforms: Tensor, lengths: Tensor) -> Tensor:
        return torch.from_numpy(waveforms.numpy()[:, :2] ** 2)

    options = {"features": "cells", "num_bands": 4, "n_samples": 64}
    evaluator = Evaluator(through_numpy, noise(1, 2000, seed=0, dtype=torch.float32))
    expected = attribute(name, evaluator, **options)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attribute(name, evaluator, **options).frames, expected.frames)


@METHODS
def test_too_many_features_are_refused_for_the_utterance(name: str) -> None:
    evaluator = Evaluator(seeded(Convolution()), torch.ones(2, 12000), [12000, 4000], ["long", "short"])
    message = (
        r"utterance long has 40 features \(4 stretches x 10 bands\), and `n_samples` is 100; expected 160 at least, "
        "4 for each, or longer `stretch_frames` or fewer `num_bands`"
    )
    with pytest.raises(UtteranceError, match=message) as error:
        attribute(name, evaluator, features="cells", stretch_frames=10, num_bands=10, n_samples=100)
    assert error.value.utterance_id == "long"
    short = Evaluator(seeded(Convolution()), torch.ones(1, 4000), ids=["short"])
    options = {"features": "cells", "stretch_frames": 10, "num_bands": 10}
    assert attribute(name, short, n_samples=100, **options).frames.shape == (1, 1, 12)
    with pytest.raises(UtteranceError, match=r"\(2 stretches x 10 bands, in 2 divisions\).*; expected 160 at least"):
        attribute(name, short, n_samples=100, n_divisions=2, **options)
    assert attribute(name, evaluator, n_divisions=2, **options).n_samples[0] >= 2 * 5 * 40  # enough by themselves


@METHODS
def test_overlapping_stretches_give_a_frame_their_mean(name: str) -> None:
    """Of a model that is additive each stretch has the sum of its frames."""
    weights, waveform = noise(10, seed=0), noise(1, 10, seed=1)
    evaluator = Evaluator(lambda x: (x * weights).sum(1, keepdim=True), waveform, grid=GRID)
    options = {"stretch_frames": 5, "n_divisions": 2, "n_draws": 2, **({"ridge": 0.0} if name == "lime" else {})}
    result = attribute(name, evaluator, **options)
    parts, expected = weights * waveform[0], torch.zeros(10, dtype=torch.float64)
    for bounds in ([0, 5, 10], [0, 2, 8, 10]):  # the second half of a stretch later
        for first, last in pairwise(bounds):
            expected[first:last] += parts[first:last].mean() / 2
    torch.testing.assert_close(result.frames[0, 0].double(), expected, atol=1e-5, rtol=0)
    assert result.frames_standard_error.max() < 1e-5


def test_errors_of_overlapping_stretches_are_those_of_the_references_they_share() -> None:
    """A linear model, whose Shapley values over references of mean 0 are the sums of its parts."""
    count, weights, waveform = 200, noise(10, 1, seed=0), noise(1, 10, seed=1)
    evaluator = Evaluator(
        lambda x: x @ weights, waveform.expand(count, -1), ids=[str(number) for number in range(count)], grid=GRID
    )
    baseline = lambda x, generator: torch.randn(10, generator=generator, dtype=torch.float64)  # noqa: E731
    result = attribute("kernel_shap", evaluator, 0, baseline, stretch_frames=5, n_divisions=2, n_draws=8)
    parts, expected = weights[:, 0] * waveform[0], torch.zeros(10, dtype=torch.float64)
    for bounds in ([0, 5, 10], [0, 2, 8, 10]):
        for first, last in pairwise(bounds):
            expected[first:last] += parts[first:last].mean() / 2
    lower, upper = result.frames_interval(0.95)
    assert float(((lower <= expected) & (expected <= upper)).double().mean()) == pytest.approx(0.95, abs=0.03)
    errors = (result.frames - expected).square().mean((0, 1)).sqrt()
    torch.testing.assert_close(
        result.frames_standard_error.square().mean((0, 1)).sqrt().double(), errors, atol=0, rtol=0.2
    )


def test_the_number_of_coalitions_follows_the_features() -> None:
    model = lambda x, lengths: x.sum(1, keepdim=True)  # noqa: E731
    evaluator = Evaluator(model, torch.ones(2, 400), [400, 100], grid=GRID)
    result = attribute("kernel_shap", evaluator, stretch_frames=10, max_stretches=1000, n_draws=4)
    assert result.n_samples.tolist() == [5 * 40 + 4, 5 * 10 + 4]
    result = attribute("kernel_shap", evaluator, stretch_frames=10, n_divisions=2, max_stretches=1000, n_draws=4)
    assert result.n_samples.tolist() == [2 * (100 + 102) + 4, 2 * (25 + 27) + 4]
    result = attribute("kernel_shap", evaluator, stretch_frames=10, n_divisions=2, n_draws=4, max_stretches=20)
    assert result.n_samples.tolist() == [2 * (50 + 52) + 4, 2 * (25 + 27) + 4]  # the long one's are twice as long
    result = attribute("kernel_shap", evaluator, stretch_frames=50, n_divisions=1000, n_draws=4)
    assert result.n_samples[0] == 40 + 49 * 44 + 4  # each a frame later than the one before
    result = attribute("kernel_shap", evaluator, stretch_frames=50, n_draws=16)  # two for each reference at least
    assert result.n_samples.tolist() == [5 * 8 + 16, 2 * 16 + 16]


def test_every_reference_replaces_a_part_of_the_sound() -> None:
    seen: set[int] = set()

    def model(waveforms: Tensor) -> Tensor:
        for waveform in waveforms[(waveforms == 0).any(1)]:
            seen.update(waveform.round().int().tolist())
        return waveforms.sum(1, keepdim=True)

    references = iter(range(1, 31))
    baseline = lambda waveform, generator: torch.full_like(waveform, next(references))  # noqa: E731
    evaluator = Evaluator(model, torch.zeros(1, 40), grid=FrameGrid(1, 1))
    attribute(
        "kernel_shap", evaluator, 0, baseline, stretch_frames=20, n_divisions=4, n_draws=30
    )  # 7.5 for each of 4 divisions
    assert seen == set(range(31))


@METHODS
def test_short_stretches_get_all_coalitions_since_their_divisions_do_not_differ(name: str) -> None:
    evaluator = Evaluator(lambda x: x.sum(1, keepdim=True), torch.ones(1, 10), grid=GRID)
    result = attribute(name, evaluator, stretch_frames=1, n_divisions=4, n_samples=40, n_draws=2)
    assert result.n_samples.tolist() == [40 + 2 * (name == "kernel_shap")]


@METHODS
def test_an_output_that_is_not_finite_is_reported_with_the_utterance(name: str) -> None:
    evaluator = Evaluator(lambda x: 1 / x[:, :1], torch.tensor([[1.0, 2.0]]), ids=["a"], grid=GRID)
    with pytest.raises(NonFiniteOutputError, match="an output of the model for utterance a is not finite"):
        attribute(name, evaluator, stretch_frames=1)


@METHODS
def test_one_reference_has_no_standard_errors(name: str) -> None:
    evaluator = Evaluator(lambda x: x[:, :2], torch.ones(1, 2000))
    options = {"n_draws": 1, "features": "cells", "num_bands": 2, "n_samples": 20}
    result = attribute(name, evaluator, **options)
    assert result.frames_standard_error is None
    assert result.time_frequency_standard_error is None
    assert result.completeness_gap_standard_error is None


@METHODS
def test_an_utterance_of_one_feature(name: str) -> None:
    evaluator = Evaluator(lambda x: x.sum(1, keepdim=True), torch.ones(1, 3), grid=GRID)
    options = {"stretch_frames": 5, "n_samples": 4, "n_draws": 2, **({"ridge": 0.0} if name == "lime" else {})}
    assert attribute(name, evaluator, **options).frames[0, 0].tolist() == pytest.approx([1, 1, 1])


def test_one_reference_at_a_time_is_drawn() -> None:
    drawn = []

    def draw(waveform: Tensor, generator: torch.Generator) -> Tensor:
        drawn.append(float(torch.rand((), generator=generator)))
        return torch.zeros_like(waveform)

    evaluator = Evaluator(lambda x: x[:, :1], torch.ones(2, 20), grid=GRID)
    attribute("kernel_shap", evaluator, 0, draw, stretch_frames=2, n_samples=40, n_draws=5)
    assert len(drawn) == len(set(drawn)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "words"}, "`features` is 'words'; expected stretches, bands, cells"),
        ({"stretch_frames": 0}, "`stretch_frames` is 0; expected 1 at least"),
        ({"num_bands": 1}, "`num_bands` is 1; expected 2 at least"),
        ({"n_samples": 3}, "`n_samples` is 3; expected 4 at least"),
        ({"n_samples": 20}, r"`n_draws` is 16; expected 10 at most, .* \(`n_samples` is 20\)"),
        ({"n_divisions": 0}, "`n_divisions` is 0; expected 1 at least"),
        ({"features": "bands", "num_bands": 300}, "`num_bands` is 300: num_mel_bands is 300; expected 2 to 201"),
        ({"features": "cells", "num_bands": 150}, "`num_bands` is 150: 150 mel bands over 201 frequency bins leave"),
    ],
)
def test_a_setting_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SurrogateSettings(**options)
