import pytest
import torch
from helpers import tiny_config
from models.tiny import sounds
from torch import nn

from speechshap.attribution import Evaluator, Targets
from speechshap.attribution.methods.integrated_gradients import IntegratedGradientsSettings, explain
from speechshap.fingerprint import fingerprint
from speechshap.models import EmotionClassifier, build_backbone, masked_mean, mlp_head
from speechshap.models.standardization import Moments


def standardized(
    hidden_layer: int | None = None, window_seconds: float | None = None, **config: object
) -> EmotionClassifier:
    """A classifier whose standardisation has the moments of made-up utterances."""
    torch.manual_seed(0)
    backbone = build_backbone(tiny_config(norm="group", **config))
    classifier = EmotionClassifier(backbone, mlp_head(32, 3), hidden_layer, window_seconds, standardize=True)
    assert classifier.standardization is not None
    shape = classifier.standardization.mean.shape
    classifier.standardization.fit(Moments(10, torch.randn(shape).double(), 10 * torch.rand(shape).double() + 0.1))
    if hidden_layer is None:
        nn.init.normal_(classifier.layer_weights)
    return classifier.eval()


@pytest.mark.parametrize("hidden_layer", [None, 1])
def test_each_state_is_standardised_before_the_weighted_sum(hidden_layer: int | None) -> None:
    classifier, (waveforms, lengths) = standardized(hidden_layer), sounds(2000, 900)
    states, frame_lengths = classifier.backbone(waveforms, lengths)
    pooled = torch.stack([masked_mean(state, frame_lengths) for state in states]).requires_grad_()
    numbers = [0, 1, 2] if hidden_layer is None else [hidden_layer]
    weights = classifier.layer_weights.softmax(0) if hidden_layer is None else torch.ones(1)
    mean, deviation = classifier.standardization.mean, classifier.standardization.deviation
    parts = [w * (pooled[n] - mean[k]) / deviation[k] for k, (n, w) in enumerate(zip(numbers, weights, strict=True))]
    expected = torch.stack(parts).sum(0)
    torch.testing.assert_close(classifier.embed(waveforms, lengths), expected)
    torch.testing.assert_close(classifier(waveforms, lengths), classifier.head(expected))
    features = classifier.features(waveforms, lengths)
    torch.testing.assert_close(features.values, pooled[numbers][:, :, None])
    assert features.frame_lengths.tolist() == [1, 1]


def test_a_long_recording_is_standardised_after_the_mean_over_all_its_windows() -> None:
    classifier, (waveforms, lengths) = standardized(window_seconds=1.0), sounds(40_000, 9_000)
    mean, deviation = classifier.standardization.mean[:, None], classifier.standardization.deviation[:, None]
    plain = EmotionClassifier(classifier.backbone, classifier.head, window_seconds=1.0)
    expected = (plain.features(waveforms, lengths).values[:, :, 0] - mean) / deviation
    weighted = (classifier.layer_weights.softmax(0)[:, None, None] * expected).sum(0)
    torch.testing.assert_close(classifier.embed(waveforms, lengths), weighted)


def test_the_gradient_of_the_waveform_is_that_of_the_formula() -> None:
    classifier, (waveforms, lengths) = standardized().double(), sounds(1200)
    values = waveforms.double().requires_grad_()
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(classifier(values, lengths)[0, 1], values)
    with torch.no_grad():
        higher, lower = (classifier(values + step * direction, lengths)[0, 1] for step in (1e-5, -1e-5))
    torch.testing.assert_close((gradient * direction).sum(), (higher - lower) / 2e-5, rtol=1e-6, atol=1e-9)


def test_attributions_of_a_standardised_classifier_are_complete() -> None:
    classifier, (both, _) = standardized().double().requires_grad_(False), sounds(1200, 1200)
    waveform, reference, length = both[:1].double(), both[1:].double(), torch.tensor([1200])
    evaluator, targets = Evaluator(classifier, waveform, length), Targets.from_classes(1, 1)
    result = explain(evaluator, targets, lambda *_: reference[0], IntegratedGradientsSettings(n_points=127))
    difference = (classifier(waveform, length) - classifier(reference, length))[0, 1]
    assert abs(float(difference)) > 0.01
    torch.testing.assert_close(result.frames.sum(), difference, rtol=0.01, atol=0)


def test_a_fingerprint_tells_what_a_classifier_is_standardised_by() -> None:
    classifier = standardized()
    plain = EmotionClassifier(classifier.backbone, classifier.head)
    assert plain.identity != classifier.identity
    before = fingerprint(classifier.state_dict(), classifier.identity)
    for buffer in ("mean", "deviation"):
        getattr(classifier.standardization, buffer)[1, 3] += 1e-3
        after = fingerprint(classifier.state_dict(), classifier.identity)
        assert after != before
        before = after
