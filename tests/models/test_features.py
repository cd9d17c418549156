import pytest
import torch
from families import as_after_training, family_config
from models.tiny import POOLINGS, sounds
from torch import Tensor

from speechshap.models import EmotionClassifier, Pooling, build_backbone, mlp_head
from speechshap.models.standardization import moments_of


def make_classifier(
    options: dict, family: str = "wavlm", hidden_layer: int | None = None, window_seconds: float | None = None
) -> EmotionClassifier:
    """A classifier as after training, standardised by the moments of made-up utterances."""
    torch.manual_seed(0)
    fields = {"max_source_positions": 50} if family == "whisper" else {}
    backbone = build_backbone(family_config(family, **fields))
    pooling = Pooling(num_features=32, **options)
    classifier = EmotionClassifier(
        backbone, mlp_head(pooling.size, 3), hidden_layer, window_seconds, standardize=True, pooling=pooling
    )
    assert classifier.standardization is not None
    made_up = torch.randn(len(classifier.standardization.mean), 10, classifier.standardization.mean.shape[1])
    classifier.standardization.fit(moments_of(1 + made_up))
    return as_after_training(classifier)  # type: ignore[return-value]


@pytest.mark.parametrize("hidden_layer", [None, 1])
@pytest.mark.parametrize("family", ["wavlm", "whisper"])
@pytest.mark.parametrize("options", POOLINGS)
def test_features_are_classified_as_their_waveforms_are(options: dict, family: str, hidden_layer: int | None) -> None:
    classifier, (waveforms, lengths) = make_classifier(options, family, hidden_layer), sounds(2000, 900)
    features = classifier.features(waveforms, lengths)
    assert features.values.shape[:2] == (3 if hidden_layer is None else 1, 2)
    expected = classifier(waveforms, lengths)
    torch.testing.assert_close(classifier.classify(features), expected)
    for row in range(2):
        length = lengths[row : row + 1]
        torch.testing.assert_close(classifier(waveforms[row : row + 1, :length], length)[0], expected[row])


@pytest.mark.parametrize("options", POOLINGS)
def test_features_of_a_long_recording_are_classified_as_it_is(options: dict) -> None:
    classifier, (waveforms, lengths) = make_classifier(options, window_seconds=1.0), sounds(40_000, 9_000)
    features = classifier.features(waveforms, lengths)
    frames = [124, 27] if classifier.hears_frames else [1, 1]
    assert features.frame_lengths.tolist() == frames
    assert features.values.shape[2] == frames[0]
    torch.testing.assert_close(classifier.classify(features), classifier(waveforms, lengths))


@pytest.mark.parametrize("options", [{"kind": "attentive"}, {"kind": "mean_std", "convolutions": 1, "dropout": 0.0}])
def test_a_training_step_on_long_recordings_counts_once_for_the_norm(options: dict) -> None:
    """Windows are computed again in the backward pass; what is pooled from all of them is not."""
    by_waveforms, by_features = (make_classifier(options, window_seconds=1.0).train() for _ in range(2))
    waveforms, lengths = sounds(40_000, 9_000)
    for classifier in (by_waveforms, by_features):
        classifier.backbone.eval()
    by_waveforms.embed(waveforms, lengths).square().sum().backward()
    by_features.embed_features(by_features.features(waveforms, lengths)).square().sum().backward()
    assert by_waveforms.state_dict()["pooling.norm.num_batches_tracked"] == 1
    for name, expected in by_features.pooling.state_dict().items():
        torch.testing.assert_close(by_waveforms.pooling.state_dict()[name], expected)


def test_features_are_frames_of_the_backbone_with_zeros_after_them() -> None:
    classifier, (waveforms, lengths) = make_classifier({"kind": "attentive"}), sounds(2000, 900)
    states, frame_lengths = classifier.backbone(waveforms, lengths)
    features = classifier.features(waveforms, lengths)
    assert torch.equal(features.frame_lengths, frame_lengths)
    for row, length in enumerate(frame_lengths.tolist()):
        for state, values in zip(states, features.values, strict=True):
            assert torch.equal(values[row, :length], state[row, :length])
            assert not values[row, length:].any()
    rows = [features.values[:, row, :length] for row, length in enumerate(frame_lengths.tolist())]
    assert torch.equal(features.without_padding, torch.cat(rows, 1))


def test_statistics_of_each_state_are_weighted() -> None:
    classifier, (waveforms, lengths) = make_classifier({"kind": "mean_std"}), sounds(2000, 900)
    assert classifier.standardization is not None
    states, frame_lengths = classifier.backbone(waveforms, lengths)
    weights = classifier.layer_weights.softmax(0)
    for row, length in enumerate(frame_lengths.tolist()):
        own = [state[row, :length] for state in states]
        statistics = torch.stack([torch.cat([each.mean(0), each.std(0, correction=0)]) for each in own])
        standardized = (statistics - classifier.standardization.mean) / classifier.standardization.deviation
        expected = (weights[:, None] * standardized).sum(0)
        torch.testing.assert_close(classifier.embed(waveforms, lengths)[row], expected)


def test_frames_are_standardised_before_the_weighted_sum() -> None:
    classifier, (waveforms, lengths) = make_classifier({"kind": "mean", "convolutions": 1}), sounds(2000, 900)
    assert classifier.standardization is not None
    mean, deviation = classifier.standardization.mean, classifier.standardization.deviation
    states, frame_lengths = classifier.backbone(waveforms, lengths)
    weights = classifier.layer_weights.softmax(0)
    parts = [weights[number] * (state - mean[number]) / deviation[number] for number, state in enumerate(states)]
    expected = classifier.pooling(torch.stack(parts).sum(0), frame_lengths)
    torch.testing.assert_close(classifier.embed(waveforms, lengths), expected)


@pytest.mark.parametrize("options", POOLINGS)
def test_nothing_undefined_after_an_utterance_reaches_a_weight(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, (waveforms, lengths) = make_classifier(options), sounds(2000, 900)
    encode = classifier.backbone.encode

    def with_undefined_padding(*arguments: Tensor) -> tuple[list[Tensor], Tensor]:
        states, frame_lengths = encode(*arguments)
        inside = torch.arange(states[0].shape[1]) < frame_lengths[:, None]
        return [state.where(inside[..., None], torch.nan) for state in states], frame_lengths

    def gradients() -> list[Tensor]:
        parameters = [*classifier.pooling.parameters(), *classifier.head.parameters(), classifier.layer_weights]
        return list(torch.autograd.grad(classifier(waveforms, lengths).square().sum(), parameters))

    expected = gradients()
    monkeypatch.setattr(classifier.backbone, "encode", with_undefined_padding)
    for found, gradient in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_the_identity_tells_the_pooling() -> None:
    identities = [make_classifier(options).identity for options in POOLINGS]
    assert len({identity["pooling"] for identity in identities}) == len(POOLINGS)
