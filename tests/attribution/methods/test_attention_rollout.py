import numpy as np
import pytest
import torch
from families import FAMILIES, family_config, make_config
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification

from speechshap.attribution import Attribution, Evaluator, NonFiniteOutputError, Settings, Targets, UtteranceError
from speechshap.attribution.methods.attention_rollout import explain, obstacle
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models import EmotionClassifier, build_backbone, from_transformers, mlp_head
from speechshap.training import EmotionModule


class Attending(nn.Module):
    """Attends as it is told, whatever the waveform."""

    window = 800

    def __init__(self, **layers: Tensor) -> None:
        super().__init__()
        self.layers = layers

    def attention_weights(self, waveforms: Tensor, lengths: Tensor) -> dict[int, Tensor]:
        return {int(name[1:]): weights[None] for name, weights in self.layers.items()}


def attribute(module: nn.Module | None, waveforms: Tensor, targets: object = 0, **options: object) -> Attribution:
    forward = module if isinstance(module, EmotionClassifier | EmotionModule) else lambda x, lengths: x[:, :3]
    grid = getattr(module, "grid", FrameGrid())
    evaluator = Evaluator(forward, waveforms, module=module, grid=grid, **options)
    return explain(evaluator, Targets.from_classes(len(waveforms), targets), None, Settings())


def by_numpy(attentions: list[np.ndarray]) -> np.ndarray:
    """Rollout as the paper has it, ``(frames, frames)``: layers ``(heads, frames, frames)``, the first one first."""
    product = np.eye(attentions[0].shape[-1])
    for weights in attentions:
        mixed = 0.5 * weights.astype(np.float64).mean(0) + 0.5 * np.eye(weights.shape[-1])
        product = (mixed / mixed.sum(-1, keepdims=True)) @ product
    return product


def make_classifier(family: str = "wavlm", **options: object) -> EmotionClassifier:
    torch.manual_seed(0)
    backbone = build_backbone(family_config(family))
    for name, parameter in backbone.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            nn.init.normal_(parameter)  # attention that is not even
    return EmotionClassifier(backbone, mlp_head(32, 3), **options).eval()


def test_two_layers_in_closed_form() -> None:
    """The second layer has each frame look at the first one, the first layer the first frame at the second."""
    first = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    second = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    result = attribute(Attending(_2=second, _1=first), torch.ones(1, 800), [[0, 2]])
    # Queries weigh 1/2 each; after the second layer 3/4 and 1/4; after the first, half of the 3/4 stays.
    assert result.frames.tolist() == [[[0.375, 0.625]] * 2]
    assert result.completeness_gap.isnan().all()
    assert result.n_samples.tolist() == [1]


@pytest.mark.parametrize("family", FAMILIES[:3])
def test_parity_with_the_attentions_of_transformers(family: str) -> None:
    torch.manual_seed(0)
    config = make_config(family, num_labels=3)
    config._attn_implementation = "eager"
    model = AutoModelForAudioClassification.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            nn.init.normal_(parameter)
    waveform = torch.randn(1, 4000)
    with torch.no_grad():
        attentions = [weights[0].numpy() for weights in model(waveform, output_attentions=True).attentions]
    expected = by_numpy(attentions).mean(0)
    result = attribute(from_transformers(model), waveform)
    np.testing.assert_allclose(result.frames[0, 0].numpy(), expected, rtol=1e-4)
    assert expected.std() > 1e-4


@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_an_utterance_in_a_batch_is_scored_as_alone_and_the_scores_sum_to_one(family: str) -> None:
    model, waveforms, lengths = make_classifier(family), torch.randn(3, 4000), [2500, 4000, 900]
    with torch.inference_mode():
        together = attribute(model, waveforms, lengths=lengths)
    torch.testing.assert_close(together.frames.sum(2), torch.ones(3, 1))
    for row, length in enumerate(lengths):
        alone = attribute(model, waveforms[row : row + 1, :length])
        frames = alone.frames.shape[2]
        torch.testing.assert_close(together.frames[row, :, :frames], alone.frames[0])
        assert together.frames[row, :, frames:].abs().sum() == 0


@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_it_is_that_of_the_weights_of_a_padded_batch(family: str) -> None:
    model, waveforms, lengths = make_classifier(family), torch.randn(2, 4000), [2500, 4000]
    with torch.no_grad():
        weights = model.attention_weights(waveforms, torch.tensor(lengths))
    result = attribute(model, waveforms, lengths=lengths)
    for row, count in enumerate(result.frame_lengths.tolist()):
        rolled = by_numpy([weights[layer][row].numpy() for layer in (1, 2)])
        np.testing.assert_allclose(result.frames[row, 0, :count], rolled[:count].mean(0)[:count], rtol=1e-4)


def test_silence_that_whisper_adds_keeps_its_share() -> None:
    torch.manual_seed(0)
    config = family_config("whisper", max_source_positions=20)
    model = EmotionClassifier(build_backbone(config, "published"), mlp_head(32, 3)).eval()
    result = attribute(model, torch.randn(1, 3200))
    assert result.frames.shape[2] == 10
    assert float(result.frames.sum()) == pytest.approx(0.5, abs=0.1)


def test_layers_that_the_head_does_not_hear_are_left_out() -> None:
    waveform, length = torch.randn(1, 4000), torch.tensor([4000])
    assert list(make_classifier().attention_weights(waveform, length)) == [1, 2]
    assert list(make_classifier(hidden_layer=1).attention_weights(waveform, length)) == [1]
    with pytest.raises(UserError, match="no layer of attention that its output depends on"):
        attribute(make_classifier(hidden_layer=0), waveform)


def test_a_recording_longer_than_the_window_is_refused_by_name() -> None:
    model = make_classifier(window_seconds=1.0)
    assert attribute(model, torch.randn(1, 16_000)).frames.shape[2] == 49
    with pytest.raises(
        UtteranceError, match=r"it lasts 1.0625 s, and attention reaches no further than a window of 1 s"
    ):
        attribute(model, torch.randn(1, 17_000), ids=["long.wav"])
    with pytest.raises(ValueError, match="17000 samples; attention reaches no further than a window of 16000"):
        model.attention_weights(torch.randn(1, 17_000), torch.tensor([17_000]))


def test_weights_of_a_lower_precision_take_waveforms_of_theirs(tiny_module: EmotionModule) -> None:
    waveform = torch.randn(1, 4000)
    single = attribute(tiny_module, waveform).frames
    module = tiny_module.bfloat16()
    evaluator = Evaluator(lambda x, lengths: module(x.bfloat16(), lengths).float(), waveform, module=module)
    half = explain(evaluator, Targets.from_classes(1, 0), None, Settings()).frames
    torch.testing.assert_close(half, single, atol=0.01, rtol=0.1)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "`module`: it is not known; give the evaluator the `module`"),
        (nn.Conv1d(1, 1, 3), r"`module`: Conv1d has no attention \(no method `attention_weights"),
    ],
)
def test_a_module_without_attention_is_refused(module: nn.Module | None, words: str) -> None:
    assert obstacle(module) is not None
    with pytest.raises(UserError, match=words):
        attribute(module, torch.ones(1, 800))


def test_what_cannot_be_rolled_out_is_told() -> None:
    with pytest.raises(ValueError, match="attends to 1 frames of 2; give the grid of its frames"):
        attribute(Attending(_1=torch.ones(1, 1, 1)), torch.ones(1, 800))
    with pytest.raises(NonFiniteOutputError, match="utterance a is not finite"):
        attribute(Attending(_1=torch.full((1, 2, 2), torch.nan)), torch.ones(1, 800), ids=["a"])
