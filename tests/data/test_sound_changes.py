"""Changes of sound against closed forms."""

import random

import numpy as np
import pytest

from speechshap.data.sound_changes import as_loud, at_other_speed, impulse_response, reverberated

RATE = 16000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def loudest_hertz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples))


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_speed_divides_the_duration_and_multiplies_the_pitch(speed: float) -> None:
    changed = at_other_speed(tone(400), (speed, speed), 1.0, 400, None)
    assert len(changed) == pytest.approx(RATE / speed, abs=1)
    assert loudest_hertz(changed) == pytest.approx(400 * speed, rel=0.005)


@pytest.mark.parametrize(
    ("count", "speed", "expected"), [(450, 2.0, 400), (1000, 2.0, 500), (31000, 0.5, 32000), (15000, 0.5, 30000)]
)
def test_a_recording_stays_within_the_lengths_of_the_model(count: int, speed: float, expected: int) -> None:
    changed = at_other_speed(np.ones(count, np.float32), (speed, speed), 1.0, shortest=400, longest=32000)
    assert 400 <= len(changed) <= 32000
    assert len(changed) == pytest.approx(expected, abs=2)


def test_the_tail_of_a_response_falls_by_60_db_in_its_time() -> None:
    response = impulse_response(0.5, RATE, np.random.default_rng(0))
    energy = np.cumsum(response[:0:-1] ** 2)[::-1]  # of Schroeder 1965, without the direct sound
    levels = 10 * np.log10(energy / energy[0])
    slope, _ = np.polyfit(np.arange(len(levels))[: RATE // 4] / RATE, levels[: RATE // 4], 1)
    assert slope == pytest.approx(-60 / 0.5, rel=0.05)
    assert np.square(response[1:]).sum() == pytest.approx(response[0] ** 2)


def test_reverberation_keeps_length_and_level_and_outlasts_the_sound() -> None:
    samples = np.concatenate([tone(300, 0.3), np.zeros(RATE // 2, np.float32)])
    random.seed(0)
    changed = reverberated(samples, RATE, (0.4, 0.4))
    assert changed.shape == samples.shape
    assert changed.dtype == np.float32
    assert np.square(changed).mean() == pytest.approx(np.square(samples).mean(), rel=1e-4)
    tails = [np.square(reverberated(samples, RATE, (0.4, 0.4))) for _ in range(40)]
    just_after, later = (np.mean(tails, axis=0)[RATE * start // 100 :][:800].mean() for start in (32, 52))
    assert 10 * np.log10(just_after / later) == pytest.approx(0.2 * 60 / 0.4, abs=2)


def test_a_change_that_leaves_nothing_is_not_made() -> None:
    samples = tone(300)
    assert np.array_equal(as_loud(samples, RATE, lambda sound, _: sound * 0), samples)
