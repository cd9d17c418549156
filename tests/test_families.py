"""What holds of an explanation whatever the backbone, from the training of a classifier to its report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from attribution.tiny import draws_for_captum
from captum.attr import GradientShap
from families import FAMILIES, as_after_training, family_config, features_of, make_config, save
from helpers import write_sound
from torch.utils.data import DataLoader
from transformers import AutoModelForAudioClassification

from speechshap import EmotionModule, GradientSHAPCallback
from speechshap.attribution import SpectralGrid, gradient_shap
from speechshap.data.audio import load_audio
from speechshap.models import Padding, load_classifier

LENGTHS = [3000, 1700, 2345]


def make_module(family: str, padding: Padding) -> EmotionModule:
    """A classifier of a tiny model, whose head hears its last layer alone: all that it hears passes through each."""
    torch.manual_seed(0)
    window = {"max_source_positions": 50} if padding == "published" else {}
    config = family_config(family, **window)
    module = EmotionModule(["calm", "angry"], backbone_config=config, hidden_layer=2, padding=padding)
    as_after_training(module.backbone)
    return module.eval()


def make_clips(folder: Path) -> dict[str, np.ndarray]:
    names = [f"{number}.wav" for number in range(len(LENGTHS))]
    return {
        name: load_audio(write_sound(folder / name, length / 16_000, seed=number))
        for number, (name, length) in enumerate(zip(names, LENGTHS, strict=True))
    }


def predict(module: EmotionModule, clips: dict[str, np.ndarray], folder: Path, batch_size: int) -> pd.DataFrame:
    """Explain clips in their order with Lightning, and read the rows."""
    batches = []
    for first in range(0, len(clips), batch_size):
        names = list(clips)[first : first + batch_size]
        sounds = [torch.from_numpy(clips[name]) for name in names]
        waveforms = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
        batches.append({"waveforms": waveforms, "lengths": torch.tensor([len(s) for s in sounds]), "ids": names})
    callback = GradientSHAPCallback(
        output_dir=str(folder), n_samples=40, targets="all", layers="all", layer_method="path",
        spectrum=SpectralGrid(num_mel_bands=12), chunk_size=32, max_drawn=0,
    )  # fmt: skip
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(module, DataLoader(batches, batch_size=None), return_predictions=False)
    table = pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))
    return table.sort_values(["utterance", "target"]).reset_index(drop=True)


def nested(column: Any) -> np.ndarray:
    """Numbers of one cell of a table, which holds lists of lists."""
    return np.stack([np.asarray(row, dtype=np.float64) for row in column])


@pytest.mark.parametrize(
    ("family", "padding"), [*((family, "masked") for family in FAMILIES), ("whisper", "published")]
)
def test_attributions_are_complete_and_those_of_each_utterance_alone(
    family: str, padding: Padding, tmp_path: Path
) -> None:
    module, clips = make_module(family, padding), make_clips(tmp_path)
    table = predict(module, clips, tmp_path / "together", batch_size=3)
    assert len(table) == 2 * len(clips)
    for row in table.itertuples():
        frames, errors = row.frame_attribution.astype(float), row.frame_standard_error
        assert len(frames) == module.grid.num_frames(len(clips[row.utterance]))
        assert np.isfinite(errors).all()
        assert (errors > 0).all()
        assert row.completeness_gap_standard_error > 0
        assert abs(row.completeness_gap) < 4 * row.completeness_gap_standard_error
        scale = abs(frames).max()
        assert scale > 0
        assert nested(row.time_frequency_attribution).sum() == pytest.approx(frames.sum(), abs=1e-3 * scale)
        layers = nested(row.layer_frame_attribution)
        assert layers.shape == (2, len(frames))
        if padding == "masked":  # elsewhere some of it passes through the frames of the silence
            assert layers.sum(1) == pytest.approx([frames.sum()] * 2, abs=1e-4 * scale)
    alone = predict(module, dict(reversed(clips.items())), tmp_path / "alone", batch_size=1)
    assert alone.fingerprint.equals(table.fingerprint)
    for name in ("frame_attribution", "frame_standard_error", "time_frequency_attribution", "layer_frame_attribution"):
        for one, other in zip(table[name], alone[name], strict=True):
            found, expected = nested(one), nested(other)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max(), err_msg=name)


def test_a_head_trained_in_transformers_is_explained_as_captum_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = as_after_training(AutoModelForAudioClassification.from_config(make_config("whisper")))
    waveform, references, alphas = draws_for_captum(monkeypatch)
    expected = GradientShap(lambda clips: model(features_of(clips, 480_000)).logits).attribute(
        waveform, references, n_samples=6, stdevs=0.0, target=1
    )
    classifier = load_classifier(save(model, tmp_path))
    result = gradient_shap(
        classifier, waveform, references, torch.tensor([[1]]), alphas=alphas, chunk_size=4, grid=classifier.grid
    )
    scale = float(expected.abs().max())
    torch.testing.assert_close(result.values[0], expected, atol=1e-5 * scale, rtol=1e-5)
