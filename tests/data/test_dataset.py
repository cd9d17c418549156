from pathlib import Path

import pytest
import torch
from helpers import write_sound
from transformers import Wav2Vec2FeatureExtractor

from speechshap.data import AudioDataset
from speechshap.errors import UserError


def test_an_item_has_waveform_label_and_name(planted_root: Path) -> None:
    dataset = AudioDataset(planted_root)
    assert len(dataset) == 60
    item = dataset[13]
    assert item["input_values"].dtype == torch.float32
    assert item["input_values"].shape == (9600,)
    assert item["filename"].startswith(dataset.classes[item["label"]])


def test_the_feature_extractor_decides_on_normalisation(planted_root: Path) -> None:
    raw = AudioDataset(planted_root)[0]["input_values"]
    for do_normalize in (True, False):
        extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
        values = AudioDataset(planted_root, extractor)[0]["input_values"]
        expected = extractor(raw.numpy(), sampling_rate=16000, return_tensors="pt").input_values[0]
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)


def test_given_labels_count_and_the_rest_is_unknown(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_sound(tmp_path / name)
    assert [item["label"] for item in AudioDataset(tmp_path)] == [-1, -1]
    assert [item["label"] for item in AudioDataset(tmp_path, labels={"b.wav": 4})] == [-1, 4]


def test_rate_number_and_transform(planted_root: Path) -> None:
    dataset = AudioDataset(planted_root, sample_rate=8000, max_samples=5, transform=lambda waveform: waveform * 0)
    assert len(dataset) == 5
    assert dataset[0]["input_values"].shape == (4800,)
    assert dataset[0]["input_values"].abs().max() == 0


def test_a_rate_against_the_feature_extractor_is_refused(planted_root: Path) -> None:
    with pytest.raises(ValueError, match="`sample_rate` is 8000 Hz, but the feature extractor takes 16000 Hz"):
        AudioDataset(planted_root, Wav2Vec2FeatureExtractor(), sample_rate=8000)


def test_labels_and_waveforms_are_those_of_the_data_modules_dataset(planted_root: Path) -> None:
    dataset = AudioDataset(planted_root)
    batch = dataset.source[[3, 17]]
    for row, index in enumerate((3, 17)):
        item = dataset[index]
        assert torch.equal(item["input_values"], batch.waveforms[row])
        assert item["label"] == batch.labels[row]
        assert item["filename"] == Path(batch.paths[row]).name


def test_a_number_of_utterances_below_one_is_refused(planted_root: Path) -> None:
    with pytest.raises(UserError, match="`max_samples` is 0; expected 1 at least"):
        AudioDataset(planted_root, max_samples=0)
