from itertools import pairwise

import librosa
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from speechshap.data.planted_clip import (
    BANDS_HZ,
    CLASSES,
    PLANTED_KINDS,
    PlantedKind,
    planted_stretches,
    synthesize,
)
from speechshap.data.utterance import Stretch

EMOTIONS = CLASSES[1:]


def is_within(seconds: np.ndarray, stretches: tuple[Stretch, ...]) -> np.ndarray:
    return np.any([(stretch.start <= seconds) & (seconds <= stretch.end) for stretch in stretches], axis=0)


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_stretches_lie_apart_within_the_clip(kind: PlantedKind) -> None:
    for clip in range(200):
        stretches = planted_stretches("sad", 2.0, clip=clip, kind=kind)
        assert len(stretches) == (2 if kind == "planted_pair" else 1)
        assert 0 < stretches[0].start < stretches[-1].end < 2.0
        assert all(stretch.end - stretch.start > 0.3 for stretch in stretches)
        assert all(other.start - one.end > 0.09 for one, other in pairwise(stretches))


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_neutral_clips_carry_no_cue(kind: PlantedKind) -> None:
    assert CLASSES[0] == "neutral"
    sound, stretches = synthesize("neutral", 0, 1.0, clip=3, kind=kind)
    assert stretches == planted_stretches("neutral", 1.0, clip=3, kind=kind) == ()
    assert len(sound) == 16000
    assert (synthesize("sad", 0, 1.0, clip=3, kind=kind)[0] != sound).any()


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_band_is_all_that_differs_from_the_neutral_clip(emotion: str) -> None:
    for clip in range(3):
        sound, (stretch,) = synthesize(emotion, clip, 2.0, clip=clip, kind="planted_band")
        neutral, _ = synthesize("neutral", clip, 2.0, clip=clip, kind="planted_band")
        energy = np.abs(librosa.stft(sound - neutral, n_fft=512, hop_length=128)) ** 2
        frequency_hz = librosa.fft_frequencies(sr=16000, n_fft=512)
        seconds = np.arange(energy.shape[1]) * 128 / 16000
        assert (stretch.low_hz, stretch.high_hz) == BANDS_HZ[emotion]
        in_band = (BANDS_HZ[emotion][0] <= frequency_hz) & (frequency_hz <= BANDS_HZ[emotion][1])
        assert energy[in_band][:, is_within(seconds, (stretch,))].sum() > 0.95 * energy.sum()


def test_bands_do_not_overlap() -> None:
    bands = sorted(BANDS_HZ.values())
    assert [*BANDS_HZ] == EMOTIONS
    assert all(one[1] < other[0] for one, other in pairwise(bands))


def brightness_and_pitch(sound: np.ndarray) -> np.ndarray:
    """Share of the energy above 600 Hz, and pitch in Hz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    pitch_hz = librosa.yin(sound, fmin=60, fmax=500, sr=16000)
    return np.array([power[np.fft.rfftfreq(len(sound), 1 / 16000) > 600].sum() / power.sum(), np.median(pitch_hz)])


@pytest.mark.parametrize("kind", ["planted", "planted_pair"])
def test_the_stretches_sound_like_their_emotion(kind: PlantedKind) -> None:
    rises = {}
    for emotion in ("angry", "happy", "sad"):
        differences = []
        for clip in range(6):
            sound, stretches = synthesize(emotion, clip, 2.0, clip=clip, kind=kind)
            within = is_within(np.arange(len(sound)) / 16000, stretches)
            differences.append(brightness_and_pitch(sound[within]) - brightness_and_pitch(sound[~within]))
        rises[emotion] = (np.array(differences) > 0).mean(axis=0)
    assert min(*rises["angry"], rises["happy"][1]) >= 5 / 6, rises
    assert rises["sad"][1] <= 1 / 6, rises


@pytest.mark.parametrize("kind", ["planted", "planted_band"])
def test_only_the_stretch_tells_the_emotion(kind: PlantedKind) -> None:
    """Timbre differs between the emotions inside the stretch, and not outside of it."""
    inside, outside = {}, {}
    for emotion in EMOTIONS:
        features: dict[bool, list[np.ndarray]] = {True: [], False: []}
        for clip in range(16):
            sound, stretches = synthesize(emotion, speaker_index=clip % 4, duration_seconds=2.0, clip=clip, kind=kind)
            within = is_within(np.arange(len(sound)) / 16000, stretches)
            for is_inside, part in ((True, sound[within]), (False, sound[~within])):
                centroid = librosa.feature.spectral_centroid(y=part, sr=16000).mean() / 100
                features[is_inside].append(np.array([20 * np.log10(part.std()), centroid]))
        inside[emotion], outside[emotion] = (np.mean(features[where], axis=0) for where in (True, False))
    spread_inside = np.ptp(list(inside.values()), axis=0)
    spread_outside = np.ptp(list(outside.values()), axis=0)
    assert spread_outside[1] < 0.25 * spread_inside[1], (spread_inside, spread_outside)
    assert spread_outside[0] < 1  # dB
    assert spread_inside[0] < 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_energy_does_not_find_the_stretch(kind: PlantedKind) -> None:
    of_emotion: dict[str, list[float]] = {emotion: [] for emotion in EMOTIONS}
    for clip in range(100):
        emotion = EMOTIONS[clip % 4]
        sound, stretches = synthesize(emotion, clip // 4 % 24, 2.0, clip=clip, kind=kind)
        frames = (sound.reshape(-1, 320) ** 2).mean(axis=1)
        truth = is_within((np.arange(len(frames)) + 0.5) * 0.02, stretches)
        of_emotion[emotion].append(float(roc_auc_score(truth, frames)))
    means = [float(np.mean(areas)) for areas in of_emotion.values()]
    assert 0.45 < np.mean(means) < 0.55
    assert max(abs(mean - 0.5) for mean in means) < 0.1, means


@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_no_clip_reaches_full_scale(kind: PlantedKind) -> None:
    assert max(np.abs(synthesize("angry", clip % 24, 2.0, clip=clip, kind=kind)[0]).max() for clip in range(24)) < 1
