import os
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from helpers import write_sound
from transformers import Wav2Vec2FeatureExtractor

from speechshap.data import AudioFileError, load_audio, normalize_waveforms
from speechshap.data.audio import envelope_distance, find_audio, inspect_audio, resample


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "tone.wav", np.stack([tone(rate)] * channels, axis=1), rate)
    waveform = load_audio(tmp_path / "tone.wav")
    assert waveform.dtype == np.float32
    assert waveform.shape == (8000,)
    np.testing.assert_allclose(waveform[1000:7000], tone(16000)[1000:7000], atol=2e-3)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1e-2),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 1e-6),
        ("wav", "DOUBLE", 1e-6),
        ("flac", "PCM_16", 1e-4),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_any_sample_format(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / f"a name with spaces, äöü 声.{suffix}"
    soundfile.write(path, tone(16000), 16000, subtype=subtype)
    waveform = load_audio(path)
    assert abs(len(waveform) - 8000) < 1200  # lossy codecs pad
    np.testing.assert_allclose(waveform[2000:6000], tone(16000)[2000:6000], atol=tolerance)


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(16000), np.zeros(8000)], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(16000) / 2, atol=1e-6)


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.wav"
    match kind:
        case "missing":
            pass
        case "empty":
            path.touch()
        case "not audio":
            path.write_text("these are words, not sound")
        case "truncated":
            write_sound(path)
            path.write_bytes(path.read_bytes()[:-2000])
        case "truncated flac":
            path = write_sound(path.with_suffix(".flac"), seconds=2)
            path.write_bytes(path.read_bytes()[:-20000])
        case "truncated mp3" | "truncated ogg":
            path = write_sound(path.with_suffix(f".{kind[-3:]}"), seconds=4)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "folder":
            path.mkdir()
        case "not finite":
            soundfile.write(path, np.where(np.arange(8000) == 7, np.nan, 0.1), 16000, subtype="FLOAT")
        case "too short":
            soundfile.write(path, tone(16000)[:399], 16000)
        case "no samples":
            soundfile.write(path, np.zeros(0), 16000)
    return path


BAD_FILES = {
    "missing": "no such file",
    "empty": "0 bytes",
    "not audio": "cannot be decoded",
    "truncated": "truncated",
    "truncated flac": "truncated|cannot be decoded",
    "truncated mp3": "truncated",
    "truncated ogg": "truncated|cannot be decoded",
    "folder": "a folder, not a sound file",
    "not finite": "not finite",
    "too short": "too short: 24.9 ms",
    "no samples": "too short: 0.0 ms",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    path = bad_file(kind, tmp_path)
    with pytest.raises(AudioFileError, match=BAD_FILES[kind]) as error:
        load_audio(path)
    assert error.value.path == path
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_the_shortest_legal_file_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", tone(16000)[:400], 16000)
    assert load_audio(tmp_path / "short.wav").shape == (400,)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_silence_is_sound_and_known_to_be_silent(tmp_path: Path, value: float) -> None:
    soundfile.write(tmp_path / "silent.wav", np.full(8000, value), 16000)
    assert load_audio(tmp_path / "silent.wav").tolist() == [value] * 8000
    assert inspect_audio(tmp_path / "silent.wav").is_silent
    assert not inspect_audio(write_sound(tmp_path / "a.wav")).is_silent


def test_a_wav_written_to_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "piped.wav")
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[data + 4 : data + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert load_audio(path).shape == (3200,)


def test_normalisation_is_that_of_hugging_face() -> None:
    waveforms = [np.random.default_rng(seed).normal(0.3, 0.1, 800 + 100 * seed).astype(np.float32) for seed in range(3)]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    expected = extractor(waveforms, sampling_rate=16000, padding=True, return_tensors="pt").input_values
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in waveforms], batch_first=True)
    normalized = normalize_waveforms(padded, torch.tensor([len(w) for w in waveforms]))
    torch.testing.assert_close(normalized, expected.float(), atol=1e-5, rtol=1e-5)


def test_normalisation_passes_a_gradient_and_none_into_padding() -> None:
    waveforms = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), requires_grad=True)
    normalized = normalize_waveforms(waveforms, torch.tensor([50, 30]))
    (gradient,) = torch.autograd.grad(normalized.pow(3).sum(), waveforms)
    assert gradient[0].abs().min() > 0
    assert gradient[1, 30:].abs().max() == 0
    # Shifting or scaling an utterance changes nothing, so that the gradient is orthogonal to both directions.
    assert abs(float(gradient[0].sum())) < 1e-3


def test_a_name_that_is_not_utf_8_is_told_readably(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    with pytest.raises(AudioFileError, match="a name that is not UTF-8; rename it") as error:
        load_audio(path)
    assert str(error.value).encode().decode().startswith(f"{tmp_path}/caf\ufffd.wav: ")


def test_copies_of_a_recording_have_one_envelope_and_others_another(tmp_path: Path) -> None:
    original = inspect_audio(write_sound(tmp_path / "original.wav", 1.0))
    soundfile.write(tmp_path / "copy.flac", 0.3 * load_audio(tmp_path / "original.wav", 48000), 48000)
    copy = inspect_audio(tmp_path / "copy.flac")
    assert copy.digest != original.digest
    assert envelope_distance(copy.envelope, original.envelope) <= 8
    other = inspect_audio(write_sound(tmp_path / "other.wav", 1.0, seed=1))
    assert envelope_distance(other.envelope, original.envelope) > 20


def test_published_recordings_keep_their_envelopes_when_resampled(ravdess_root: Path) -> None:
    originals = sorted((ravdess_root.parent / "ravdess_original").glob("*.wav"))
    if not originals:
        pytest.skip("no folder ravdess_original with published 48 kHz files beside RAVDESS_ROOT")
    envelopes = {path.stem: inspect_audio(path).envelope for path in find_audio(ravdess_root)[::20]}
    envelopes |= {path.stem: inspect_audio(next(ravdess_root.rglob(f"{path.stem}.*"))).envelope for path in originals}
    for path in originals:
        distances = {stem: envelope_distance(inspect_audio(path).envelope, envelopes[stem]) for stem in envelopes}
        assert distances.pop(path.stem) <= 5
        assert sum(distance <= 15 for distance in distances.values()) <= 1


@pytest.mark.parametrize("rate", [8000, 22050.5, 44100])
def test_blocks_are_resampled_as_librosa_resamples_the_whole(rate: float) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 50_001).astype(np.float32)
    found = resample(np.array_split(sound, [1, 7000, 30_000]), rate, 16000)
    assert np.array_equal(found, librosa.resample(sound, orig_sr=rate, target_sr=16000))
