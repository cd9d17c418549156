import numpy as np
import pytest
from helpers import make_explanation

from speechshap.frames import FrameGrid
from speechshap.report import sound
from speechshap.results.estimate import Estimate

RATE = 16000
EDGES = FrameGrid().edges(16000).numpy() / 16000


def noise(scale: float = 0.1) -> np.ndarray:
    return scale * np.random.default_rng(0).normal(size=RATE).astype(np.float32)


def windows_of(*frames: int) -> np.ndarray:
    """Bounds of frames in seconds."""
    return np.array([[EDGES[frame], EDGES[frame + 1]] for frame in frames]).reshape(-1, 2)


def stretch(frame: int) -> slice:
    return slice(round(EDGES[frame] * RATE), round(EDGES[frame + 1] * RATE))


def test_what_is_heard_is_the_evidence_of_the_target_and_the_rest() -> None:
    explanation = make_explanation(targets=("happy", "sad"), relative_error=0.1)
    for target in range(2):
        heard = sound.heard(explanation, target)
        assert list(heard) == list(sound.WORDS)
        windows = explanation.evidence_windows(target)
        middles = windows.mean(1)
        assert (np.interp(middles, heard["kept"].seconds, heard["kept"].gains) == 1).all()
        assert (np.interp(middles, heard["removed"].seconds, heard["removed"].gains) == 0).all()
        kept = np.diff(windows, axis=1).sum()
        assert heard["kept"].at(RATE, RATE).mean() == pytest.approx(kept, abs=2 * sound.FADE_SECONDS * len(windows))


def test_where_nothing_is_significant_there_is_only_the_sound() -> None:
    noise = np.random.default_rng(0).normal(size=(1, 49))
    explanation = make_explanation(frames=Estimate(noise, np.ones_like(noise), 16))
    assert list(sound.heard(explanation)) == ["original"]


def test_what_is_kept_is_untouched_and_the_rest_is_silent() -> None:
    waveform, windows = noise(), windows_of(10, 11, 30)
    heard = sound.kept(windows, 1.0).apply(waveform, RATE)
    for frame in (10, 11, 30):
        np.testing.assert_array_equal(heard[stretch(frame)], waveform[stretch(frame)])
    far = np.ones(RATE, dtype=bool)
    for frame in range(9, 13), range(29, 32):
        far[round(EDGES[frame[0]] * RATE) : round(EDGES[frame[-1] + 1] * RATE)] = False
    assert not heard[far].any()


def test_what_is_removed_is_silent_and_both_sum_to_the_sound() -> None:
    waveform, windows = noise(), windows_of(0, 20, 48)
    left = sound.removed(windows, 1.0).apply(waveform, RATE)
    for frame in (0, 20, 48):
        assert not left[stretch(frame)][1:-1].any()
    np.testing.assert_allclose(left + sound.kept(windows, 1.0).apply(waveform, RATE), waveform, atol=1e-7)


@pytest.mark.parametrize("frames", [(10,), (10, 12), (0, 48), (5, 6, 7)])
def test_nothing_clicks(frames: tuple[int, ...]) -> None:
    for make in (sound.kept, sound.removed):
        gains = make(windows_of(*frames), 1.0).apply(np.ones(RATE, np.float32), RATE)
        steepest = np.abs(np.diff(gains)).max() * RATE
        assert steepest <= 1.01 / sound.FADE_SECONDS


def test_nothing_or_everything_kept() -> None:
    waveform = noise()
    assert not sound.kept(windows_of(), 1.0).apply(waveform, RATE).any()
    np.testing.assert_array_equal(sound.kept(np.array([[0.0, 1.0]]), 1.0).apply(waveform, RATE), waveform)


def test_loudness_follows_the_attribution() -> None:
    frames = np.zeros(49)
    frames[[10, 30]] = [4.0, 1.0]
    frames[20] = -4.0
    envelope = sound.weighted(frames, EDGES)
    centers = (EDGES[:-1] + EDGES[1:]) / 2
    np.testing.assert_allclose(
        np.interp(centers[[10, 20, 30, 40]], envelope.seconds, envelope.gains), [1.0, 0.0, 0.5, 0.0], atol=1e-12
    )
    assert not sound.weighted(np.zeros(49), EDGES).gains.any()


def test_sounds_are_equally_loud_and_none_clips() -> None:
    waveform = noise(0.5)
    waveform[8000] = 5.0
    windows = windows_of(*range(20, 25))
    sounds = sound.equal_loudness(
        {"original": waveform, "kept": sound.kept(windows, 1.0).apply(waveform, RATE), "quiet": noise(0.001)}
    )
    levels = []
    for heard in sounds.values():
        assert np.abs(heard).max() <= 0.8901
        audible = heard[heard != 0]
        levels.append(np.sqrt(np.mean(audible**2)))
    assert max(levels) / min(levels) < 1.12  # within 1 dB


def test_a_quiet_sound_comes_out_at_a_usual_level_and_silence_stays_silent() -> None:
    sounds = sound.equal_loudness({"quiet": noise(0.01), "silent": np.zeros(RATE, np.float32)})
    assert np.sqrt(np.mean(sounds["quiet"] ** 2)) == pytest.approx(0.1, rel=0.01)
    assert not sounds["silent"].any()
    assert np.isfinite(sound.equal_loudness({"broken": np.full(4, np.nan)})["broken"]).all()
