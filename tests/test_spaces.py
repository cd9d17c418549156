"""Spaces of the backbones: all that a classifier hears passes through each of them, with padding or without."""

import pytest
import torch
from families import SHAPES, TINY_WHISPER, as_after_training, family_config

from speechshap.attribution import Evaluator, Targets, find_method, gaussian_noise
from speechshap.errors import UserError
from speechshap.models import EmotionClassifier, Padding, build_backbone, from_transformers, mlp_head
from speechshap.models.log_mel import LogMel, log_mel

LENGTHS = [3000, 1700]


def make_classifier(family: str, norm: str, is_stable: bool, padding: Padding = "masked") -> EmotionClassifier:
    torch.manual_seed(0)
    fields = {"max_source_positions": 50} if family == "whisper" and padding == "published" else {}
    config = family_config(family, **fields) if family == "whisper" else family_config(family, norm, is_stable)
    backbone = build_backbone(config, padding)
    as_after_training(backbone)
    return EmotionClassifier(backbone, mlp_head(backbone.hidden_size, 2)).eval().requires_grad_(False)


def check(classifier: EmotionClassifier, space: str) -> None:
    """The change from references to the sounds is accounted for, and a batch is the same as each sound alone."""
    waveforms = 0.1 * torch.randn(2, 3000, generator=torch.Generator().manual_seed(1))
    waveforms[1, LENGTHS[1] :] = 0
    method = find_method("integrated_gradients")
    settings = method.settings(space=space, n_points=63)

    def explain(sounds: torch.Tensor, lengths: list[int], ids: list[str]) -> object:
        evaluator = Evaluator(
            classifier, sounds, lengths, ids, grid=classifier.grid, spaces=classifier.spaces, chunk_size=16
        )
        return method.explain(evaluator, Targets.from_classes(len(sounds), 1), gaussian_noise(), settings)

    together = explain(waveforms, LENGTHS, ["a", "b"])
    size = together.frames.abs().sum(2)
    assert (together.completeness_gap.abs() < 0.02 * size).all()
    for row, length in enumerate(LENGTHS):
        alone = explain(waveforms[row : row + 1, :length], [length], ["ab"[row]])
        frames = alone.frames[0, 0]
        torch.testing.assert_close(
            together.frames[row, 0, : len(frames)], frames, atol=2e-4 * float(size.max()), rtol=0
        )
        assert not together.frames[row, 0, len(frames) :].any()


@pytest.mark.parametrize("space", ["stem", "projection"])
@pytest.mark.parametrize(("family", "norm", "is_stable"), SHAPES)
def test_speech_transformers(family: str, norm: str, is_stable: bool, space: str) -> None:
    check(make_classifier(family, norm, is_stable), space)


@pytest.mark.parametrize("space", ["stem", "log_mel"])
@pytest.mark.parametrize("padding", ["masked", "published"])
def test_whisper(padding: Padding, space: str) -> None:
    check(make_classifier("whisper", "", False, padding), space)


def test_the_stem_does_not_run_where_its_features_are_given() -> None:
    classifier = make_classifier("wavlm", "group", False)
    calls = []
    classifier.backbone.model.feature_extractor.conv_layers[0].register_forward_hook(lambda *_: calls.append(1))
    waveform = torch.randn(1, 2000, generator=torch.Generator().manual_seed(1))
    evaluator = Evaluator(classifier, waveform, grid=classifier.grid, spaces=classifier.spaces)
    _ = evaluator.logits
    for space in classifier.spaces:
        calls.clear()
        method = find_method("integrated_gradients")
        method.explain(evaluator, Targets.from_classes(1, 0), gaussian_noise(), method.settings(space=space))
        assert len(calls) == 2  # for the sound, and for its reference


def test_mel_bins_sum_to_the_frames() -> None:
    classifier = make_classifier("whisper", "", False)
    waveform = 0.1 * torch.randn(1, 3000, generator=torch.Generator().manual_seed(1))
    evaluator = Evaluator(classifier, waveform, grid=classifier.grid, spaces=classifier.spaces)
    method = find_method("gradient_shap")
    settings = method.settings(space="log_mel", n_samples=8)
    result = method.explain(evaluator, Targets.from_classes(1, 1), gaussian_noise(), settings)
    assert result.time_frequency.shape == (1, 1, TINY_WHISPER["num_mel_bins"], 18)
    torch.testing.assert_close(result.time_frequency.sum((2, 3)), result.frames.sum(2))
    assert (result.time_frequency_standard_error > 0).all()


def test_a_mel_frame_belongs_to_the_frame_that_is_centred_nearest() -> None:
    """A click in the middle of the tenth frame moves no frame but those whose windows hear it."""
    features, grid = LogMel(20), LogMel.grid
    assert grid.num_frames(3000) == log_mel(torch.zeros(1, 3000), None, 20).shape[2] == 18
    assert (grid.first_center, grid.hop) == (0, 160)
    frequencies = features.frequencies
    assert len(frequencies) == 20
    tone = torch.sin(2 * torch.pi * frequencies[12] * torch.arange(3000) / 16_000)
    assert int(features(tone[None], None)[0, :, 9].argmax()) == 12


def test_a_classifier_of_transformers_has_a_stem() -> None:
    from transformers import SEWConfig, SEWForSequenceClassification

    torch.manual_seed(0)
    config = SEWConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 13,
        num_labels=3,
    )
    classifier = from_transformers(SEWForSequenceClassification(config).eval(), None).requires_grad_(False)
    assert list(classifier.spaces) == ["stem"]
    evaluator = Evaluator(classifier, torch.randn(1, 2000), grid=classifier.grid, spaces=classifier.spaces)
    method = find_method("integrated_gradients")
    settings = method.settings(space="stem", n_points=63)
    result = method.explain(evaluator, Targets.from_classes(1, 1), gaussian_noise(), settings)
    assert result.completeness_gap.abs().item() < 0.02 * result.frames.abs().sum().item()


def test_windows_are_refused() -> None:
    """Within windows a space has no single point for an utterance."""
    torch.manual_seed(0)
    backbone = build_backbone(family_config("wavlm", "group"))
    classifier = EmotionClassifier(backbone, mlp_head(backbone.hidden_size, 2), window_seconds=1.0).eval()
    classifier.requires_grad_(False)
    evaluator = Evaluator(classifier, torch.randn(1, 40_000), grid=classifier.grid, spaces=classifier.spaces)
    method = find_method("integrated_gradients")
    with pytest.raises(UserError, match="`space`"):
        method.explain(evaluator, Targets.from_classes(1, 1), gaussian_noise(), method.settings(space="stem"))
