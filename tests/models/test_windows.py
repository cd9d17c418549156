from itertools import pairwise
from typing import Any

import pytest
import torch
from families import family_config
from helpers import WHISPER_GRID, tiny_config
from models.tiny import POOLINGS
from torch import Tensor, nn

from speechshap.attribution import gradient_shap
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models import Backbone, EmotionClassifier, Pooling, build_backbone
from speechshap.models.windows import split_into_windows, split_waveform


@pytest.mark.parametrize(
    "grid", [FrameGrid(), FrameGrid(2, 2), FrameGrid(20, 30), FrameGrid(5, 30, 10, 4), WHISPER_GRID]
)
def test_every_frame_is_kept_once_and_no_window_is_longer_than_asked_for(grid: FrameGrid) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        longest, total = torch.randint(15, 1000, (2,), generator=generator).tolist()
        window = grid.shortest + longest * grid.hop + total % grid.hop
        num_samples = grid.shortest + total * grid.hop + (7 * total + longest) % grid.hop
        windows = split_into_windows(num_samples, window, grid)
        kept = [part.start // grid.hop + frame for part in windows for frame in range(part.first, part.last)]
        assert kept == list(range(grid.num_frames(num_samples)))
        assert windows[-1].stop == num_samples
        for part in windows:
            assert part.stop - part.start < window + grid.hop
            assert 0 <= part.start < part.stop <= num_samples
            assert part.first < part.last <= grid.num_frames(part.stop - part.start)


@pytest.mark.parametrize("grid", [FrameGrid(), WHISPER_GRID])
def test_frames_of_a_window_lie_where_those_of_the_recording_do(grid: FrameGrid) -> None:
    for num_samples in torch.randint(32_000, 200_000, (20,), generator=torch.Generator().manual_seed(0)).tolist():
        windows = split_into_windows(num_samples, 32_000, grid)
        centers = [
            (part.start / 16_000 + grid.center_seconds(part.stop - part.start))[part.first : part.last]
            for part in windows
        ]
        torch.testing.assert_close(torch.cat(centers), grid.center_seconds(num_samples))


def test_inner_frames_are_kept_away_from_the_edges() -> None:
    grid = FrameGrid()
    first, *_, last = windows = split_into_windows(600 * 16000, 30 * 16000, grid)
    assert len(windows) == 23
    assert first.first == 0
    assert last.last == grid.num_frames(last.stop - last.start)
    for left, right in pairwise(windows):
        assert right.first * grid.hop_seconds == pytest.approx(1.5, abs=0.02)
        assert (grid.num_frames(left.stop - left.start) - left.last) * grid.hop_seconds == pytest.approx(1.5, abs=0.02)


class LocalBackbone(nn.Module):
    """A backbone whose frames see their own samples alone: windows change nothing for it."""

    grid = FrameGrid(hop=20, receptive_field=30)
    num_layers = 1
    hidden_size = 2
    window = Backbone.window

    def prepare(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        return waveforms

    def encode(self, waveforms: Tensor, lengths: Tensor, states: object) -> tuple[list[Tensor], Tensor]:
        frames = waveforms.unfold(1, 30, 20)
        frame_lengths = (lengths - 30) // 20 + 1
        return [torch.stack([frames.sin().sum(2), frames.square().sum(2)], 2)] * 2, frame_lengths


@pytest.mark.parametrize("options", POOLINGS)
def test_windows_of_a_local_backbone_give_what_it_gives_for_the_whole(options: dict) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([70_000, 16_000, 41_017])
    waveforms = torch.randn(3, 70_000) * (torch.arange(70_000) < lengths[:, None])
    pooling = Pooling(num_features=2, **options).eval()
    head = nn.Linear(pooling.size, 3)
    results = []
    for window_seconds in (10.0, 1.0):
        backbone: Any = LocalBackbone()
        classifier = EmotionClassifier(backbone, head, window_seconds=window_seconds, pooling=pooling)
        values = waveforms.clone().requires_grad_()
        logits = classifier(values, lengths)
        results.append((logits, torch.autograd.grad(logits[:, 1].sum(), values)[0]))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_gradients_of_windows_are_no_longer_than_these() -> None:
    grid, waveform = FrameGrid(), torch.randn(60 * 16_000, requires_grad=True)
    windows = split_into_windows(len(waveform), 2 * 16_000, grid)
    stretches = [torch.cat(pieces) for pieces in split_waveform(waveform, windows)]
    for stretch, window in zip(stretches, windows, strict=True):
        assert torch.equal(stretch, waveform[window.start : window.stop])
        assert sum(piece.numel() for piece in stretch.grad_fn(torch.ones_like(stretch))) == len(stretch)
    (gradient,) = torch.autograd.grad(torch.stack([stretch.sum() for stretch in stretches]).sum(), waveform)
    expected = sum(
        (torch.arange(len(waveform)) >= window.start) & (torch.arange(len(waveform)) < window.stop).long()
        for window in windows
    )
    assert torch.equal(gradient, expected.float())


def speech_classifier(window_seconds: float | None) -> EmotionClassifier:
    torch.manual_seed(0)
    backbone = build_backbone(tiny_config(norm="group", do_normalize=True))
    return EmotionClassifier(backbone, nn.Linear(32, 3), window_seconds=window_seconds).eval().requires_grad_(False)


def test_a_long_recording_is_explained_as_a_whole_and_as_it_is_alone() -> None:
    torch.manual_seed(1)
    classifier = speech_classifier(window_seconds=1.0)
    lengths = torch.tensor([56_000, 9_000])
    waveforms = torch.randn(2, 56_000) * (torch.arange(56_000) < lengths[:, None])
    options = {"n_samples": 4, "targets": torch.tensor([[0]])}
    both = gradient_shap(classifier, waveforms, "silence", lengths=lengths, ids=["long", "short"], n_samples=4)
    for row, name in enumerate(["long", "short"]):
        length = int(lengths[row])
        options["targets"] = both.targets.classes[row : row + 1]
        alone = gradient_shap(classifier, waveforms[row : row + 1, :length], "silence", ids=[name], **options)
        scale = float(alone.frames.abs().max())
        torch.testing.assert_close(
            both.frames[row, :, : alone.frames.shape[2]], alone.frames[0], atol=1e-4 * scale, rtol=1e-3
        )
    assert both.frame_lengths.tolist() == [174, 27]
    assert (both.frames[0, 0] != 0).all()


def whisper_classifier() -> EmotionClassifier:
    """Of a Whisper that hears a second at once."""
    torch.manual_seed(0)
    backbone = build_backbone(family_config("whisper", max_source_positions=50))
    return EmotionClassifier(backbone, nn.Linear(32, 3), window_seconds=None).eval().requires_grad_(False)


def test_whisper_hears_a_long_recording_window_by_window() -> None:
    classifier = whisper_classifier()
    backbone, waveform = classifier.backbone, torch.randn(1, 40_123, generator=torch.Generator().manual_seed(1))
    values = waveform.clone().requires_grad_()
    kept = []
    for window in split_into_windows(40_123, 16_000, backbone.grid):
        clip = values[:, window.start : window.stop]
        states, _ = backbone(clip, torch.tensor([clip.shape[1]]))
        kept.append(torch.stack(states).mean(0)[0, window.first : window.last])  # all states weigh the same
    expected = classifier.head(torch.cat(kept).mean(0))
    found = classifier(waveform, torch.tensor([40_123]))[0]
    assert len(kept) == 3
    torch.testing.assert_close(found, expected)
    result = gradient_shap(
        classifier, waveform, torch.zeros(2, 40_123), torch.tensor([[1]]), alphas=torch.ones(2), grid=backbone.grid
    )
    (gradient,) = torch.autograd.grad(expected[1], values)
    attributions = waveform * gradient
    torch.testing.assert_close(
        result.values[:, 0], attributions, rtol=1e-4, atol=1e-5 * float(attributions.abs().max())
    )


def test_a_recording_of_one_window_is_not_split() -> None:
    torch.manual_seed(1)
    waveforms, lengths = torch.randn(1, 16_000), torch.tensor([16_000])
    whole, window = speech_classifier(20.0), speech_classifier(1.0)
    assert torch.equal(whole(waveforms, lengths), window(waveforms, lengths))


def test_without_a_window_no_recording_is_split() -> None:
    torch.manual_seed(1)
    waveforms, lengths = torch.randn(1, 40_000), torch.tensor([40_000])
    assert torch.equal(speech_classifier(None)(waveforms, lengths), speech_classifier(20.0)(waveforms, lengths))


def test_the_graph_of_a_long_recording_keeps_no_activations() -> None:
    classifier = speech_classifier(window_seconds=1.0)
    waveforms = torch.randn(1, 160_000, requires_grad=True)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        classifier(waveforms, torch.tensor([160_000]))
    assert sum(kept.values()) < 5 * waveforms.nbytes


def test_masks_and_dropout_of_training_are_the_same_when_a_window_is_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config(norm="group", mask_time_length=4, hidden_dropout=0.2)
    backbone = build_backbone({**config, "mask_time_prob": 0.5})
    classifier = EmotionClassifier(backbone, nn.Linear(32, 3), window_seconds=1.0).train()
    waveforms, lengths = torch.randn(1, 40_000), torch.tensor([40_000])

    def gradients() -> list[Tensor]:
        torch.manual_seed(5)
        parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        return list(torch.autograd.grad(classifier(waveforms, lengths)[0, 0], parameters, allow_unused=True))

    found = gradients()
    monkeypatch.setattr("speechshap.models.features.checkpoint", lambda f, *args, **_: f(*args))
    for gradient, expected in zip(found, gradients(), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_a_window_that_is_too_short_is_refused() -> None:
    with pytest.raises(UserError, match=r"`window_seconds` is 0.5; expected 1 at least"):
        speech_classifier(window_seconds=0.5)
