import numpy as np
import pytest

from speechshap.frames import FrameGrid
from speechshap.report import sound

RATE = 16000
EDGES = FrameGrid().edges(16000).numpy() / 16000


def noise(scale: float = 0.1) -> np.ndarray:
    return scale * np.random.default_rng(0).normal(size=RATE).astype(np.float32)


def mask_of(*frames: int) -> np.ndarray:
    mask = np.zeros(49, dtype=bool)
    mask[list(frames)] = True
    return mask


def stretch(frame: int) -> slice:
    return slice(round(EDGES[frame] * RATE), round(EDGES[frame + 1] * RATE))


def test_evidence_is_the_strongest_share_of_what_speaks_for_the_class() -> None:
    frames = np.random.default_rng(0).normal(size=50)
    mask = sound.evidence(frames, 0.2)
    assert mask.sum() == 10
    assert frames[mask].min() > np.sort(frames)[-11]
    assert not sound.evidence(-np.abs(frames)).any()
    assert list(sound.evidence(np.array([np.nan, np.inf, 1.0, 0.0]), 1.0)) == [False, False, True, False]
    assert sound.evidence(np.array([2.0]), 0.2).all()


def test_what_is_kept_is_untouched_and_the_rest_is_silent() -> None:
    waveform, mask = noise(), mask_of(10, 11, 30)
    heard = sound.kept(mask, EDGES).apply(waveform, RATE)
    for frame in (10, 11, 30):
        np.testing.assert_array_equal(heard[stretch(frame)], waveform[stretch(frame)])
    far = np.ones(RATE, dtype=bool)
    for frame in range(9, 13), range(29, 32):
        far[round(EDGES[frame[0]] * RATE) : round(EDGES[frame[-1] + 1] * RATE)] = False
    assert not heard[far].any()


def test_what_is_removed_is_silent_and_both_sum_to_the_sound() -> None:
    waveform, mask = noise(), mask_of(0, 20, 48)
    left = sound.removed(mask, EDGES).apply(waveform, RATE)
    for frame in (0, 20, 48):
        assert not left[stretch(frame)][1:-1].any()
    np.testing.assert_allclose(left + sound.kept(mask, EDGES).apply(waveform, RATE), waveform, atol=1e-7)


@pytest.mark.parametrize("frames", [(10,), (10, 12), (0, 48), (5, 6, 7)])
def test_nothing_clicks(frames: tuple[int, ...]) -> None:
    for make in (sound.kept, sound.removed):
        gains = make(mask_of(*frames), EDGES).apply(np.ones(RATE, np.float32), RATE)
        steepest = np.abs(np.diff(gains)).max() * RATE
        assert steepest <= 1.01 / sound.FADE_SECONDS


def test_nothing_or_everything_kept() -> None:
    waveform = noise()
    assert not sound.kept(mask_of(), EDGES).apply(waveform, RATE).any()
    np.testing.assert_array_equal(sound.kept(np.ones(49, bool), EDGES).apply(waveform, RATE), waveform)


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
    mask = mask_of(*range(20, 25))
    sounds = sound.equal_loudness(
        {"original": waveform, "kept": sound.kept(mask, EDGES).apply(waveform, RATE), "quiet": noise(0.001)}
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
