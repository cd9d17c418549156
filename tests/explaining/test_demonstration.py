import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import write_sound

from speechshap import GradientSHAPDemo, create_synthetic_audio
from speechshap.data import AudioFileError, load_audio
from speechshap.errors import UserError
from speechshap.explaining.explainer import GradientSHAP


def test_one_file_is_explained_seen_and_heard(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a b.wav", 0.5)
    demo = GradientSHAPDemo(str(tiny_checkpoint), batch_size=8, num_samples=400)
    results = demo.run_demo(audio_file=path, target_class=1, save_dir=tmp_path / "out")
    (result,) = results.values()
    assert list(results) == ["a b.wav"]
    expected = GradientSHAP(str(tiny_checkpoint), num_samples=400, batch_size=8).explain(path, 1)
    torch.testing.assert_close(result["attributions"], expected["attributions"])
    torch.testing.assert_close(result["standard_error"], expected["standard_error"])
    assert result["prediction"] == expected["prediction"]
    assert result["target_class"] == 1
    assert {name: tuple(values.shape) for name, values in result["neurons"].items()} == {
        "layer_1": (24, 32),
        "layer_2": (24, 32),
    }
    assert result["picture"].read_bytes().startswith(b"\x89PNG")
    kept, rate = soundfile.read(result["sounds"]["kept"])
    removed, _ = soundfile.read(result["sounds"]["removed"])
    assert (len(kept), len(removed), rate) == (8000, 8000, 16000)
    assert not np.logical_and(np.abs(kept) > 0.02, np.abs(removed) > 0.02).all()
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".png", ".wav", ".wav"]


def test_some_files_of_a_folder_are_drawn(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        write_sound(tmp_path / "data" / f"{number}.wav", 0.3, seed=number)
    demo = GradientSHAPDemo(str(tiny_checkpoint), tmp_path / "data", max_samples=2, num_samples=4)
    results = demo.run_demo(save_dir=tmp_path / "out")
    assert list(results) == [path.name for path in demo.files[:2]]
    again = GradientSHAPDemo(str(tiny_checkpoint), tmp_path / "data", max_samples=2, num_samples=4)
    assert again.files == demo.files
    assert demo.files != sorted(demo.files)
    demo.files[0].write_bytes(b"RIFF")
    with caplog.at_level(logging.WARNING):
        replaced = demo.run_demo(save_dir=tmp_path / "out")
    assert list(replaced) == [path.name for path in demo.files[1:3]]  # a file that cannot be used does not count
    assert f"{demo.files[0].name}: " in caplog.text
    assert "it is left out" in caplog.text
    for file in demo.files:
        file.write_bytes(b"RIFF")
    with pytest.raises(UserError, match="none of 4 sound files can be used"):
        demo.run_demo(save_dir=tmp_path / "out")


def test_without_evidence_there_is_none_to_hear(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_sound(tmp_path / "a.wav", 0.5)
    with caplog.at_level(logging.WARNING):
        (result,) = GradientSHAPDemo(str(tiny_checkpoint), num_samples=4).run_demo(path, save_dir=tmp_path).values()
    assert result["sounds"] == {}
    assert result["picture"].is_file()
    assert "a.wav: nothing speaks for the class significantly; take more draws" in caplog.text


def test_without_data_a_sound_is_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    results = GradientSHAPDemo(str(tiny_checkpoint), num_samples=4).run_demo(save_dir=tmp_path)
    assert list(results) == ["synthetic"]
    assert results["synthetic"]["attributions"].shape == (149,)


def test_a_long_recording_has_frames_but_no_neurons(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "long.wav", 21)
    result = GradientSHAPDemo(str(tiny_checkpoint), num_samples=4).run_demo(path, save_dir=tmp_path)["long.wav"]
    assert result["neurons"] == {}
    assert result["attributions"].shape == (1049,)


def test_mistakes_are_told(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        GradientSHAPDemo(str(tiny_checkpoint), tmp_path / "none")
    with pytest.raises(UserError, match="`max_samples` is 0; expected 1 at least"):
        GradientSHAPDemo(str(tiny_checkpoint), max_samples=0)
    with pytest.raises(UserError, match=r"`num_classes` is 2, but .* has 5 classes"):
        GradientSHAPDemo(str(tiny_checkpoint), num_classes=2)
    with pytest.raises(AudioFileError):
        GradientSHAPDemo(str(tiny_checkpoint)).run_demo(tmp_path / "none.wav", save_dir=tmp_path)
    with pytest.raises(ValueError, match="expected both above 0"):
        create_synthetic_audio(0)


@pytest.mark.parametrize(("duration", "rate"), [(3, 16000), (0.5, 44100), (0.1, 8000)])
def test_the_synthetic_sound_is_as_long_as_asked_for(duration: float, rate: int, tmp_path: Path) -> None:
    waveform = create_synthetic_audio(duration=duration, sr=rate)
    assert waveform.shape == (round(duration * rate),)
    assert waveform.dtype == np.float32
    assert 0.01 < np.abs(waveform).max() <= 1
    np.testing.assert_array_equal(waveform, create_synthetic_audio(duration, rate))
    soundfile.write(tmp_path / "a.wav", waveform, rate)
    assert len(load_audio(tmp_path / "a.wav")) == pytest.approx(duration * 16000, abs=2)
