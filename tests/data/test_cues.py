"""Cues of synthetic sounds, whose prosody is known."""

import numpy as np
import pytest

from speechshap.data.cues import CUES, HOP, WINDOW, cues, pauses, spectral_tilt
from speechshap.data.planted_clip import PROSODIES, synthesize
from speechshap.data.planted_voice import make_speaker
from speechshap.frames import SAMPLE_RATE, FrameGrid

GRID = FrameGrid()
WHISPER_GRID = FrameGrid(hop=320, receptive_field=1039, padding_before=519, padding_after=360)


def glide(hz: float, semitones_per_second: float, seconds: float, harmonics: int = 8) -> np.ndarray:
    """A voice of equally strong harmonics whose pitch rises evenly."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = np.cumsum(hz * 2 ** (semitones_per_second * time / 12)) / SAMPLE_RATE
    return 0.05 * sum(np.sin(2 * np.pi * number * phase) for number in range(1, harmonics + 1))


def noise(seconds: float, exponent: float = 0.0, seed: int = 0) -> np.ndarray:
    """Noise whose power goes with this power of the frequency."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=int(seconds * SAMPLE_RATE)))
    hz = np.fft.rfftfreq(int(seconds * SAMPLE_RATE), 1 / SAMPLE_RATE)
    spectrum *= np.where(hz > 0, np.maximum(hz, 20), 1) ** (exponent / 2)
    sound = np.fft.irfft(spectrum)
    return 0.1 * sound / sound.std()


@pytest.mark.parametrize("slope", [-12.0, 0.0, 8.0])
def test_pitch_slope_and_range_of_a_glide(slope: float) -> None:
    values = cues(glide(160, slope, 1.5), GRID)
    inner = slice(15, -15)
    expected = slope * (GRID.center_seconds(24000).numpy() - 0.75)  # its median is that of the middle
    np.testing.assert_allclose(values["f0"][inner], expected[inner], atol=0.3)
    assert values["f0_slope"][inner].mean() == pytest.approx(slope, abs=0.5)
    # 80 % of 24 hops of 20 ms.
    assert values["f0_range"][inner].mean() == pytest.approx(abs(slope) * 0.8 * 0.48, abs=0.25)
    assert values["voicing"][inner].mean() == 1


def test_noise_is_not_voiced_and_has_no_pitch() -> None:
    values = cues(noise(1.0), GRID)
    assert values["voicing"].mean() < 0.2
    is_unvoiced = values["voicing"] == 0
    for name in ("f0", "f0_slope", "f0_range", "tilt"):
        assert np.isnan(values[name][is_unvoiced]).all()


@pytest.mark.parametrize(("exponent", "tilt"), [(0, 0.0), (-1, -3.01), (-2, -6.02), (-4, -12.04)])
def test_tilt_of_coloured_noise(exponent: float, tilt: float) -> None:
    sound = noise(4.0, exponent)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    assert spectral_tilt(windows).mean() == pytest.approx(tilt, abs=0.3)


def test_a_silent_octave_has_no_tilt() -> None:
    assert np.isnan(spectral_tilt(np.zeros((2, WINDOW)))).all()


@pytest.mark.parametrize("rate", [3.0, 5.0, 7.0])
def test_rate_of_a_voice_that_swells(rate: float) -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    values = cues(glide(150, 0, 2.0) * (0.55 - 0.45 * np.cos(2 * np.pi * rate * time)), GRID)
    assert np.nanmean(values["rate"]) == pytest.approx(rate, rel=0.07)


def test_peaks_of_noise_are_no_syllables() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    values = cues(noise(1.0) * (0.55 - 0.45 * np.cos(2 * np.pi * 5 * time)), GRID)
    assert np.nanmean(values["rate"]) < 1


def test_pauses_have_their_share_and_no_other_cue() -> None:
    sound = np.concatenate([np.zeros(8000), glide(180, 0, 1.0), np.zeros(8000)]) + 1e-5 * noise(2.0)
    values = cues(sound, GRID)
    assert values["pause"].mean() == pytest.approx(0.5, abs=0.04)
    for name in set(CUES) - {"pause"}:
        assert np.isnan(values[name][values["pause"] == 1]).all()
    assert np.nanmedian(values["intensity"]) == pytest.approx(3.0, abs=0.3)  # twice the mean power


def test_a_closure_is_no_pause() -> None:
    level = np.array([0.0] * 10 + [-60.0] * 4 + [0.0] * 10 + [-60.0] * 5 + [0.0] * 10)
    assert np.flatnonzero(pauses(level)).tolist() == [24, 25, 26, 27, 28]


def test_the_louder_half_is_louder() -> None:
    sound = glide(150, 0, 1.0)
    values = cues(np.concatenate([sound, 10 ** (6 / 20) * sound]), GRID)["intensity"]
    assert values[60:90].mean() - values[10:40].mean() == pytest.approx(6.0, abs=0.1)


def test_the_edges_of_a_recording_are_no_quieter() -> None:
    values = cues(noise(1.0), GRID)["intensity"]
    assert abs(values[[0, -1]].mean()) < 2


@pytest.mark.parametrize("grid", [GRID, WHISPER_GRID, FrameGrid(160, 465), FrameGrid(640, 800)])
def test_a_value_belongs_to_the_centre_of_its_frame(grid: FrameGrid) -> None:
    values = cues(glide(140, 10.0, 1.5), grid)["f0"]
    seconds = grid.center_seconds(24000).numpy()
    assert len(values) == grid.num_frames(24000)
    inner = (seconds > 0.3) & (seconds < 1.2)
    offsets = values[inner] - 10.0 * seconds[inner]
    assert np.ptp(offsets) < 0.35  # a step of pitch, and half a hop of 20 ms


def test_the_level_of_a_recording_changes_nothing() -> None:
    sound, _ = synthesize("happy", 0, 1.0)
    loud, quiet = cues(sound, GRID), cues(0.01 * sound, GRID)
    for name in CUES:
        np.testing.assert_allclose(loud[name], quiet[name], atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 200, 400, 1100])
def test_short_and_silent_sounds_have_values_for_each_frame(num_samples: int) -> None:
    for sound in (np.zeros(num_samples, np.float32), noise(1.0)[:num_samples]):
        values = cues(sound, GRID)
        assert list(values) == list(CUES)
        for value in values.values():
            assert value.shape == (max(1, GRID.num_frames(num_samples)),)
            assert value.dtype == np.float32
        assert values["pause"].all() == (not sound.any())


@pytest.mark.slow
@pytest.mark.parametrize("speaker", [0, 1])
def test_planted_emotions_differ_from_neutral_as_they_were_made(speaker: int) -> None:
    """The rate is that of the stretch itself; the rest is compared with the neutral voice around it."""
    differences, rates = {}, {}
    for emotion in PROSODIES:
        found, spoken = [], []
        for clip in range(4):
            sound, (stretch,) = synthesize(emotion, speaker, 3.0, clip=clip)
            seconds = GRID.center_seconds(len(sound)).numpy()
            inside = (seconds > stretch.start + 0.05) & (seconds < stretch.end - 0.05)
            outside = (seconds < stretch.start - 0.05) | (seconds > stretch.end + 0.05)
            values = cues(sound, GRID)
            found.append([np.nanmean(values[name][inside]) - np.nanmean(values[name][outside]) for name in CUES])
            spoken.append(np.nanmean(values["rate"][inside]))
        differences[emotion] = dict(zip(CUES, np.mean(found, 0), strict=True))
        rates[emotion] = np.mean(spoken)
    own_rate = make_speaker(speaker, 0).rate
    for emotion, prosody in PROSODIES.items():
        difference = differences[emotion]
        assert difference["f0"] == pytest.approx(12 * np.log2(prosody.pitch), abs=1)
        # Half a second beyond counts. The noise fills the dips between syllables, of the fastest ones most.
        assert rates[emotion] == pytest.approx(prosody.rate * own_rate, abs=1.8 if emotion == "fearful" else 1.0)
    assert differences["angry"]["tilt"] > max(1.5, differences["happy"]["tilt"]) > differences["fearful"]["tilt"]
    assert differences["angry"]["f0_slope"] < 0 < differences["happy"]["f0_slope"]
    assert differences["happy"]["f0_range"] > differences["angry"]["f0_range"] > differences["sad"]["f0_range"]
