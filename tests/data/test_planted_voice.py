import numpy as np

from speechshap.data.planted_clip import NEUTRAL, PROSODIES
from speechshap.data.planted_voice import background, make_speaker, speak


def test_prosody_goes_over_into_another() -> None:
    course = NEUTRAL.towards(PROSODIES["sad"], np.array([0.0, 0.5, 1.0]))
    assert course["rate"].tolist() == [4.0, 3.0, 2.0]
    assert course["pitch"][0] == 1.0


def test_even_speakers_have_low_voices_and_odd_ones_high_voices() -> None:
    pitches = [make_speaker(index, seed=0).pitch_hz for index in range(8)]
    assert max(pitches[::2]) < min(pitches[1::2])


def test_a_voice_has_its_pitch_and_its_syllables() -> None:
    speaker = make_speaker(0, seed=0)
    course = NEUTRAL.towards(NEUTRAL, np.zeros(602))
    voice = speak(course, speaker, np.random.default_rng(0), 48000)
    power = np.abs(np.fft.rfft(voice)) ** 2
    frequency_hz = np.fft.rfftfreq(48000, 1 / 16000)
    lowest = (frequency_hz > 60) & (frequency_hz < 1.5 * speaker.pitch_hz)
    assert abs(frequency_hz[lowest][power[lowest].argmax()] / speaker.pitch_hz - 1) < 0.1
    envelope = (voice.reshape(-1, 160) ** 2).mean(axis=1)
    rates = np.fft.rfftfreq(len(envelope), 0.01)
    swing = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert abs(rates[swing.argmax()] / (NEUTRAL.rate * speaker.rate) - 1) < 0.15


def test_the_level_of_the_noise_wanders_and_differs_between_clips() -> None:
    noises = [background(np.random.default_rng(seed), 48000) for seed in range(40)]
    levels_db = np.array([20 * np.log10(noise.reshape(-1, 1600).std(axis=1)) for noise in noises])
    assert (np.ptp(levels_db, axis=1) > 3).all()
    assert levels_db.mean(axis=1).std() > 2
    assert (
        abs(levels_db.mean(axis=0)).max() - abs(levels_db.mean(axis=0)).min() < 5
    )  # at no place louder than elsewhere


def test_the_noise_falls_as_speech_does() -> None:
    power = np.mean([np.abs(np.fft.rfft(background(np.random.default_rng(seed), 16000))) ** 2 for seed in range(20)], 0)
    octaves_db = 10 * np.log10([power[low : 2 * low].mean() for low in (1000, 2000, 4000)])
    assert np.allclose(np.diff(octaves_db), -9, atol=1.5)
