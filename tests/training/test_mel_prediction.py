"""The second task of a stem against transformers' spectrogram, scikit-learn, and sums that are written out."""

from typing import Any

import numpy as np
import pytest
import torch
from families import family_config
from sklearn.linear_model import LinearRegression
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperFeatureExtractor

from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.frames import FrameGrid
from speechshap.models import build_backbone
from speechshap.training import EmotionModule
from speechshap.training.mel_prediction import MelPrediction, mel_targets


def make_waveforms(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.linspace(0.01, 1, length) * torch.randn(length, generator=generator) for length in lengths]


def make_module(**options: Any) -> EmotionModule:
    torch.manual_seed(0)
    config = family_config("wavlm", do_normalize=True)
    return EmotionModule(["a", "b", "c"], backbone_config=config, **{"freeze": "none", **options})


@pytest.mark.parametrize("grid", [FrameGrid(320, 400), FrameGrid(640, 880), FrameGrid(160, 400)])
def test_targets_are_the_nearest_mel_frames_of_transformers_with_each_bin_standardised(grid: FrameGrid) -> None:
    waveforms = make_waveforms(9000, 5000)
    lengths = torch.tensor([9000, 5000])
    found, inside = mel_targets(pad_sequence(waveforms, batch_first=True), lengths, grid, grid.num_frames(9000))
    assert inside.sum(1).tolist() == [grid.num_frames(9000), grid.num_frames(5000)]
    extractor = WhisperFeatureExtractor(feature_size=80)
    for row, waveform in enumerate(waveforms):
        count = len(waveform) // 160
        levels = extractor(waveform.numpy(), sampling_rate=16000, padding="longest").input_features[0].T[:count]
        levels = (levels - levels.mean(0)) / levels.std(0)
        for frame in range(grid.num_frames(len(waveform))):
            centre = frame * grid.hop + (grid.receptive_field - 1) / 2
            number = grid.hop // 160
            parts = [centre / 160 + part - (number - 1) / 2 for part in range(number)]
            expected = np.concatenate([levels[min(round(part), count - 1)] for part in parts])
            np.testing.assert_allclose(found[row, frame], expected, atol=1e-3)


def test_the_loss_of_the_best_linear_map_is_what_scikit_learn_leaves_unexplained() -> None:
    backbone = build_backbone(family_config("wavlm")).eval()
    prediction = MelPrediction(backbone)
    waveforms, lengths = make_waveforms(16000)[0][None], torch.tensor([16000])
    with torch.no_grad(), prediction.listening(backbone) as calls:
        backbone(waveforms, lengths)
    features = torch.nn.functional.layer_norm(calls[0].features.transpose(1, 2), (calls[0].features.shape[1],))[0]
    targets, _ = mel_targets(waveforms, None, backbone.grid, len(features))
    best = LinearRegression().fit(features.numpy(), targets[0].numpy())
    with torch.no_grad():
        assert prediction(calls) > 1  # a random map is worse than the mean
        prediction.linear.weight.copy_(torch.from_numpy(best.coef_))
        prediction.linear.bias.copy_(torch.from_numpy(best.intercept_))
    unexplained = np.square(best.predict(features.numpy()) - targets[0].numpy()).mean()
    assert prediction(calls).item() == pytest.approx(unexplained, rel=1e-4)
    assert unexplained < 1


def test_padding_is_not_predicted() -> None:
    backbone = build_backbone(family_config("wavlm")).eval()
    prediction, losses = MelPrediction(backbone), []
    short = make_waveforms(3000)[0]
    with torch.no_grad():
        for width in (3000, 9000):
            padded = torch.nn.functional.pad(short, (0, width - 3000))[None]
            with prediction.listening(backbone) as calls:
                backbone(padded, torch.tensor([3000]))
            losses.append(prediction(calls).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    backbone(short[None], torch.tensor([3000]))
    assert len(calls) == 1  # nobody listens any more


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_the_loss_of_a_step_is_that_of_the_classes_and_the_weighted_one_of_the_sound(mixup: float) -> None:
    names, lengths = ["a.wav", "b.wav"], torch.tensor([1500, 1100])
    waveforms = pad_sequence(make_waveforms(1500, 1100), batch_first=True)
    batch, weight = Batch(waveforms, lengths, torch.tensor([0, 2]), names, names, names), 0.7
    losses = {}
    for mel_weight in (0.0, weight):
        module = make_module(mel_weight=mel_weight, mixup=mixup).eval()
        logged: dict[str, Any] = {}
        module.log = lambda name, value, logged=logged, **_: logged.update({name: value})  # type: ignore[method-assign]
        torch.manual_seed(1)
        losses[mel_weight] = module.training_step(batch, 0).item()
    assert losses[weight] == pytest.approx(losses[0.0] + weight * logged["train/mel_loss"].item(), rel=1e-5)
    assert "train/mel_loss" in module.logged["train"]


def test_a_stem_learns_to_predict_the_sound_of_unlabelled_speech() -> None:
    module = make_module(mel_weight=1.0)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    waveforms = pad_sequence(make_waveforms(8000, 6000), batch_first=True)
    losses = []
    assert module.mel_prediction is not None
    for _ in range(40):
        with module.mel_prediction.listening(module.backbone) as calls:
            module(waveforms, torch.tensor([8000, 6000]))
        loss = module.mel_prediction(calls)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    stem = module.backbone.model.feature_extractor
    assert all(parameter.grad is not None for parameter in stem.parameters())


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("wavlm", {"freeze": "stem"}, "`mel_weight` is 1.0, but the stem is not trained; set `freeze` to none"),
        ("wavlm", {"mel_weight": -1.0}, "`mel_weight` is -1.0; expected 0 at least"),
        ("whisper", {}, "is for a convolutional stem, and whisper has none"),
    ],
)
def test_what_has_no_stem_to_train_is_refused(family: str, options: dict[str, Any], message: str) -> None:
    given = {"freeze": "none", "mel_weight": 1.0, **options}
    with pytest.raises(UserError, match=message):
        EmotionModule(["a", "b"], backbone_config=family_config(family), **given)
