"""Augmentation against what can be measured of its results."""

import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers import write_sound
from torch import Tensor

from speechshap.data.augmentation import Augmentation
from speechshap.errors import UserError

RATE = 16000


def always(**options: Any) -> Augmentation:
    return Augmentation(**options, probability=1.0)


def speech(seconds: float = 1.0) -> Tensor:
    """A voice-like sound with a pause."""
    time = torch.arange(round(seconds * RATE)) / RATE
    return 0.2 * torch.sin(2 * torch.pi * 200 * time) * (torch.sin(2 * torch.pi * 3 * time) > -0.5)


def decibels_of_power(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(one.double().square().mean() / other.double().square().mean()))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.mark.parametrize("ratio", [-5, 5, 20, 40])
def test_noise_has_the_ratio_that_was_asked_for(ratio: float) -> None:
    noise = always(noise_snr=(ratio, ratio))(speech()) - speech()
    assert decibels_of_power(speech(), noise) == pytest.approx(ratio, abs=0.01)


def test_ratios_fill_their_range() -> None:
    augment = always(noise_snr=(5, 30))
    ratios = [decibels_of_power(speech(), augment(speech()) - speech()) for _ in range(200)]
    assert min(ratios) == pytest.approx(5, abs=1)
    assert max(ratios) == pytest.approx(30, abs=1)
    assert np.mean(ratios) == pytest.approx(17.5, abs=2)


def test_noise_falls_by_up_to_six_decibels_an_octave() -> None:
    augment, slopes = always(noise_snr=(0, 0)), []
    for _ in range(30):
        power = np.abs(np.fft.rfft((augment(speech(4)) - speech(4)).numpy())) ** 2
        low, high = (power[4 * start : 8 * start].mean() for start in (500, 2000))  # 500 to 1000, 2000 to 4000 Hz
        slopes.append(5 * np.log10(high / low))
    assert min(slopes) == pytest.approx(-6, abs=0.7)
    assert max(slopes) == pytest.approx(0, abs=0.7)


@pytest.mark.parametrize(("seconds", "rate"), [(3.0, RATE), (1.0, RATE), (0.3, RATE), (3.0, 44100)], ids=str)
def test_recorded_noise_has_the_ratio_also_where_it_is_repeated_or_resampled(
    tmp_path: Path, seconds: float, rate: int
) -> None:
    ramp = np.linspace(0.01, 1, round(seconds * rate))  # of which a stretch is louder than the whole
    tmp_path.joinpath("noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", ramp * np.random.default_rng(0).uniform(-0.5, 0.5, len(ramp)), rate)
    augment = always(noise_snr=(10, 10), noise_folder=str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        noise = augment(speech()) - speech()
    assert decibels_of_power(speech(), noise) == pytest.approx(10, abs=0.01)


def test_recorded_noise_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 1.0, seed=3)
    recorded = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    noise = always(noise_snr=(10, 10), noise_folder=str(tmp_path))(speech()) - speech()
    assert float(torch.corrcoef(torch.stack([noise, recorded]))[0, 1]) == pytest.approx(1, abs=1e-4)


def test_gain_is_in_decibels() -> None:
    for gain in (-6, 3):
        assert decibels_of_power(always(gain=(gain, gain))(speech()), speech()) == pytest.approx(gain, abs=1e-4)


def test_a_gain_is_not_clipped() -> None:
    torch.testing.assert_close(always(gain=(20, 20))(speech()), 10 * speech())


def test_recorded_responses_are_convolved_and_keep_length_and_level(tmp_path: Path) -> None:
    response = np.zeros(200)
    response[0], response[100] = 1, 0.5
    soundfile.write(tmp_path / "echo.wav", response, RATE, subtype="FLOAT")
    changed = always(impulse_responses=str(tmp_path))(speech())
    expected = np.convolve(speech().numpy(), response)[:RATE]
    expected *= np.sqrt(np.square(speech().numpy()).mean() / np.square(expected).mean())
    np.testing.assert_allclose(changed.numpy(), expected, atol=1e-5)


def test_changes_follow_each_other_from_the_speaker_to_the_microphone() -> None:
    changed = always(speed=(2, 2), reverberation=(0.2, 0.2), noise_snr=(0, 0), gain=(6, 6))(speech())
    assert len(changed) == RATE // 2
    assert changed.dtype == torch.float32
    # The level of the speed's result stays; noise doubles its power, and the gain comes last.
    assert decibels_of_power(changed, speech()) == pytest.approx(6 + 10 * np.log10(2), abs=0.5)


def test_each_change_is_made_as_often_as_its_probability() -> None:
    augment = Augmentation(gain=(6, 6), speed=(2, 2), probability=0.3)
    results = [augment(speech(0.1)) for _ in range(600)]
    faster = [len(result) == 800 for result in results]
    louder = [float(result.abs().max()) > 0.3 for result in results]
    assert np.mean(faster) == pytest.approx(0.3, abs=0.06)
    assert np.mean(louder) == pytest.approx(0.3, abs=0.06)
    assert np.mean(np.logical_and(faster, louder)) == pytest.approx(0.09, abs=0.04)  # each on its own


def test_nothing_is_changed_unless_it_is_asked_for() -> None:
    assert Augmentation().asked == {}
    assert torch.equal(Augmentation()(speech()), speech())


def test_the_waveform_itself_stays_as_it_is() -> None:
    waveform = speech()
    always(gain=(6, 6), noise_snr=(5, 5), reverberation=(0.2, 0.2), speed=(0.9, 0.9))(waveform)
    assert torch.equal(waveform, speech())


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav")
    augment = always(noise_snr=(5, 30), impulse_responses=str(tmp_path))
    augment.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert pickle.loads(pickle.dumps(augment)) == augment  # noqa: S301


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"noise_snr": (30, 5)},
            r"`noise_snr` is \[30, 5\]; expected a lowest and a highest number, from -100 to 100 dB",
        ),
        ({"speed": (0.1, 1)}, r"`speed` is \[0.1, 1\]; expected a lowest and a highest number, from 0.5 to 2"),
        ({"gain": (float("nan"), 6)}, "`gain` is"),
        ({"reverberation": (0, 1)}, "`reverberation` is"),
        ({"probability": 0}, "`probability` is 0; expected a number above 0, and 1 at most"),
        ({"probability": 1.1}, "`probability` is 1.1"),
        ({"noise_folder": "musan"}, "`noise_folder` is given, but not how loud its noise is; add `noise_snr`"),
        ({"reverberation": (0.2, 0.3), "impulse_responses": "rooms"}, "give one of them"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**options)


def test_a_folder_has_to_have_sounds_that_can_be_read(tmp_path: Path) -> None:
    augment = always(noise_snr=(5, 30), noise_folder=str(tmp_path / "noise"))
    with pytest.raises(UserError, match=r"`noise_folder` is .*noise; expected a folder with sounds in it \(.wav"):
        augment.check()
    write_sound(tmp_path / "noise" / "a.wav")
    augment.check()
    soundfile.write(tmp_path / "noise" / "b.wav", np.zeros(0), RATE)
    with pytest.raises(UserError, match=r"b.wav is empty; remove it"):
        augment.check()
    (tmp_path / "noise" / "b.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"b.wav cannot be read: .*; remove it"):
        augment.check()


@pytest.mark.parametrize("use", [Augmentation.check, lambda augment: augment(speech())], ids=["check", "call"])
def test_a_missing_library_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, use: Any) -> None:
    monkeypatch.setattr("speechshap.data.augmentation.find_spec", lambda name: None)
    use(Augmentation())
    with pytest.raises(UserError, match=r"not installed: pip install 'speechshap\[augment\]'"):
        use(always(speed=(0.9, 1.1)))
