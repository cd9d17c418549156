from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import write_sound

from speechshap.data.audio import load_audio
from speechshap.errors import UserError
from speechshap.explaining.waveforms import read_waveform


def test_tensor_array_list_and_path_are_the_same_sound(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", subtype="FLOAT")
    array = load_audio(path)
    for sound in (
        str(path), path, array, torch.from_numpy(array)[None], array[:, None], array.tolist(), array[::-1][::-1]
    ):  # fmt: skip
        np.testing.assert_array_equal(read_waveform(sound), array)
    tensor = torch.from_numpy(array).double().requires_grad_()
    np.testing.assert_array_equal(read_waveform(tensor), array)


def test_another_rate_is_resampled() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(32000) / 32000)
    found = read_waveform(tone, sample_rate=32000)
    assert found.shape == (16000,)
    np.testing.assert_allclose(found[500:-500], tone[::2][500:-500], atol=1e-3)


@pytest.mark.parametrize(("subtype", "dtype"), [("PCM_16", "int16"), ("PCM_24", "int32"), ("DOUBLE", "float64")])
def test_integers_are_what_a_wav_file_has(tmp_path: Path, subtype: str, dtype: str) -> None:
    path = write_sound(tmp_path / "a.wav", subtype=subtype)
    array, _ = soundfile.read(path, dtype=dtype)
    for sound in (array, torch.from_numpy(array)):
        np.testing.assert_array_equal(read_waveform(sound), read_waveform(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, r"`sample_rate` is 0; expected samples a second \(Hz\), 1000 at least"),
        ({"sample_rate": "16k"}, "`sample_rate` is '16k'; expected"),
        ({"sample_rate": float("nan")}, "`sample_rate` is nan; expected"),
        ({"waveform": torch.zeros(2, 900)}, r"shape \(2, 900\); expected \(time,\): average the channels"),
        ({"waveform": torch.tensor(0.5)}, r"shape \(\); expected \(time,\)"),
        ({"waveform": []}, "`waveform` is empty"),
        ({"waveform": torch.zeros(1, 0)}, "`waveform` is empty"),
        ({"waveform": [0.0, float("nan")]}, "not finite"),
        ({"waveform": np.array([1e300, 0.0])}, "not finite"),
        ({"waveform": np.zeros(900, dtype=np.int64)}, "type int64; expected floats from -1 to 1, int16 or int32"),
        ({"waveform": [[0.0], [0.0, 1.0]]}, "of type list; expected floats"),
        ({"waveform": {"array": [0.0]}}, "of type dict; expected floats"),
        ({"waveform": None}, "of type NoneType; expected floats"),
    ],
)
def test_what_is_no_waveform(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_waveform(**{"waveform": [0.0, 0.5], **options})
