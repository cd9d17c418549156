"""The encoder of Whisper itself, on real speech where it is at hand."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import features_of, relative_difference, states_and_gradient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechshap.cli.explain import explain
from speechshap.cli.train import train
from speechshap.data.audio import load_audio
from speechshap.models import Backbone, load_backbone
from speechshap.models.log_mel import log_mel

pytestmark = pytest.mark.slow

STRETCHES = ((0.3, 1.1), (0.5, 1.7))
"""Seconds of the recording that are heard, from and to."""


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    """Stretches ``(1, samples)`` of a recording of RAVDESS; without it, of noise that swells twice a second."""
    if root := os.environ.get("RAVDESS_ROOT"):
        sound = torch.from_numpy(load_audio(next(Path(root).rglob("03-01-05-02-02-02-*"))))
    else:
        swell = (2 * torch.pi * torch.arange(48_000) / 16_000).sin().square()
        sound = 0.1 * swell * torch.randn(48_000, generator=torch.Generator().manual_seed(0))
    return [sound[None, int(16_000 * first) : int(16_000 * last)] for first, last in STRETCHES]


def load(folder: Path, padding: Any = "masked") -> Backbone:
    return load_backbone(str(folder), padding).eval().requires_grad_(False)


def encoder_of(backbone: Backbone, frames: int) -> nn.Module:
    """The encoder of transformers with the weights of a backbone, for clips of so many frames."""
    config = WhisperConfig.from_dict({**backbone.model.config.to_dict(), "max_source_positions": frames})
    encoder, weights = WhisperEncoder(config), backbone.model.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:frames]
    encoder.load_state_dict(weights)
    return encoder.eval().requires_grad_(False)


def test_the_weights_are_those_that_transformers_loads(whisper_folder: Path) -> None:
    expected = WhisperModel.from_pretrained(whisper_folder, dtype=torch.float32).get_encoder().state_dict()
    found = load(whisper_folder).model.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name])


def test_the_front_end_makes_what_its_feature_extractor_does(whisper_folder: Path, clips: list[Tensor]) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(whisper_folder)
    features = extractor(clips[0][0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    whole = nn.functional.pad(clips[0], (0, 480_000 - clips[0].shape[1]))
    torch.testing.assert_close(log_mel(whole, torch.tensor([480_000]), 80), features, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_states_and_input_gradients_are_those_of_transformers(
    whisper_folder: Path, clips: list[Tensor], padding: Any
) -> None:
    backbone, clip = load(whisper_folder, padding), clips[0]
    frames = clip.shape[1] // 320 if padding == "masked" else 1500
    encoder = encoder_of(backbone, frames)
    expected, expected_gradient = states_and_gradient(
        lambda values: encoder(features_of(values, 320 * frames, 80), output_hidden_states=True).hidden_states, clip
    )
    states, gradient = states_and_gradient(lambda values: backbone(values, torch.tensor([clip.shape[1]]))[0], clip)
    assert len(states) == len(expected) == 7
    for state, reference in zip(states, expected, strict=True):
        assert relative_difference(state, reference) < 1e-4
    assert relative_difference(gradient, expected_gradient) < 1e-4


def test_clips_of_a_padded_batch_are_heard_as_alone(whisper_folder: Path, clips: list[Tensor]) -> None:
    backbone, lengths = load(whisper_folder), torch.tensor([clip.shape[1] for clip in clips])
    padded = pad_sequence([clip[0] for clip in clips], batch_first=True).requires_grad_()
    weights = torch.randn(512, generator=torch.Generator().manual_seed(0))
    (state,), frames = backbone(padded, lengths, [6])
    own = [(state[row, :count] @ weights).sum() for row, count in enumerate(frames.tolist())]
    (gradient,) = torch.autograd.grad(own[0] + own[1], padded)
    for row, clip in enumerate(clips):
        values = clip.clone().requires_grad_()
        (alone,), count = backbone(values, lengths[row : row + 1], [6])
        (expected,) = torch.autograd.grad((alone @ weights).sum(), values)
        assert relative_difference(state[row, : int(count)], alone[0]) < 1e-4
        assert relative_difference(gradient[row, : clip.shape[1]], expected[0]) < 1e-4
        assert not gradient[row, clip.shape[1] :].any()


def test_half_precision_costs_less_than_in_transformers(whisper_folder: Path, clips: list[Tensor]) -> None:
    """There the convolutions round, and the gradient of real speech is off by half of its size and more."""
    backbone, clip = load(whisper_folder), clips[0]
    encoder = encoder_of(backbone, clip.shape[1] // 320)

    def ours(values: Tensor) -> list[Tensor]:
        return backbone(values, torch.tensor([clip.shape[1]]), [6])[0]

    def theirs(values: Tensor) -> list[Tensor]:
        with torch.autocast("cpu", enabled=False):
            features = features_of(values, clip.shape[1], 80)
        return [encoder(features).last_hidden_state]

    errors = []
    for function in (ours, theirs):
        (full,), full_gradient = states_and_gradient(function, clip)
        with torch.autocast("cpu", torch.bfloat16):
            (half,), half_gradient = states_and_gradient(function, clip)
        errors.append((relative_difference(half, full), relative_difference(half_gradient, full_gradient)))
    (state, gradient), (their_state, their_gradient) = errors
    assert state < min(0.05, their_state)
    assert gradient < min(0.25, their_gradient)


def test_a_head_on_it_knows_emotions_of_actors_it_never_heard_and_is_explained(
    whisper_folder: Path, ravdess_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(
        ["fit", "--config", "ravdess", "--config", "whisper", "--model.backbone", str(whisper_folder),
         "--data.root", str(ravdess_root), "--data.max_utterances", "64", "--data.batch_size", "8",
         "--data.num_workers", "0", "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "3",
         "--trainer.num_sanity_val_steps", "0", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    run = tmp_path / "runs" / "whisper" / "version_0"
    (recall,) = EventAccumulator(str(run)).Reload().Scalars("val/uar")
    assert recall.value > 0.25, recall  # chance is 0.125; 0.34 to 0.38 over three seeds
    explain(
        ["--ckpt_path", str(run / "checkpoints" / "best.ckpt"), "--data.max_utterances", "2", "--data.num_workers", "0",
         "--explain.preset", "textbook",
         "--explain.n_samples", "8", "--explain.layers", "6", "--explain.spectrum.num_mel_bands", "20",
         "--explain.max_drawn", "0", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    table = pd.read_parquet(sorted((run / "explanations").glob("part-*.parquet")))
    assert len(table) == 2
    for row in table.itertuples():
        assert 0 < row.relative_error < 10
        assert np.isfinite(row.frame_standard_error).all()
        assert len(row.frame_attribution) == pytest.approx(50 * row.duration_seconds, abs=1)
        assert np.isfinite(np.stack(row.time_frequency_attribution)).all()
    assert (run / "explanations" / "report.html").read_text().count('id="payload-') == 2
