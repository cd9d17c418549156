from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

from speechshap.data import Stretch, Utterance, read_corpus, spliced_speech
from speechshap.data.audio import load_audio
from speechshap.data.splicing import cross_fade, draw_takes, list_takes, speech_bounds, splice
from speechshap.errors import UserError

RATE = 16000
SPEECH = (4800, 24000)
"""Samples of the speech of a voice that says its sentence evenly."""


def voice(pitch_hz: float = 120.0, level: float = 0.1, rate: float = 1.0, bend: float = 0.0) -> np.ndarray:
    """Seven vowels between 0.3 s of near silence, said ``rate`` times as slow, with a ``bend`` of the timing."""
    num_samples = round(rate * (SPEECH[1] - SPEECH[0]))
    place = place_of(np.arange(num_samples) / num_samples, bend)
    vowels = np.array([[700, 1200], [300, 2200], [450, 900], [600, 1700], [320, 800], [500, 1900], [750, 1300]])
    formants = np.stack([np.interp(place * 7 - 0.5, np.arange(7), column) for column in vowels.T])
    phase = 2 * np.pi * pitch_hz / RATE * np.arange(num_samples)
    speech = sum(
        np.sin(k * phase) * np.exp(-np.abs(k * pitch_hz - formants) / 200).sum(0)
        for k in range(1, int(4000 / pitch_hz))
    ) * (1 + 0.6 * np.cos(14 * np.pi * place + np.pi))
    silence = np.zeros(SPEECH[0])
    noise = 1e-4 * level * np.random.default_rng(round(pitch_hz)).standard_normal(num_samples + 2 * len(silence))
    return (noise + level * np.concatenate([silence, speech, silence])).astype(np.float32)


def place_of(time: np.ndarray | float, bend: float) -> np.ndarray:
    """Place in the sentence, from 0 to 1, at a share of the time that it takes."""
    return np.asarray(time + bend * np.sin(np.pi * np.asarray(time)) ** 2)


def samples(stretch: Stretch) -> tuple[int, int]:
    return round(stretch.start * RATE), round(stretch.end * RATE)


def rms_db(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean()))


@pytest.fixture(scope="module")
def ravdess_like(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Two speakers who say two sentences, twice neutrally, twice happily, once angrily."""
    root = tmp_path_factory.mktemp("corpus")
    for actor in (1, 2):
        for statement in (1, 2):
            for emotion, takes, pitch in (("01", 2, 100), ("03", 2, 180), ("05", 1, 150)):
                for take in range(1, takes + 1):
                    path = (
                        root / f"Actor_{actor:02d}" / f"03-01-{emotion}-01-{statement:02d}-{take:02d}-{actor:02d}.wav"
                    )
                    path.parent.mkdir(exist_ok=True)
                    sound = voice(pitch + 10 * actor + 3 * take, 0.02 * pitch / 100, bend=0.03 * statement * take)
                    soundfile.write(path, sound, RATE, subtype="FLOAT")
    return read_corpus(root).utterances


def test_speech_is_found_to_the_block_and_clicks_and_breath_are_not_speech() -> None:
    sound = voice()
    start, end = speech_bounds(sound)
    assert 0 <= start - SPEECH[0] <= 320  # the voice swells from nothing
    assert 0 <= SPEECH[1] - end <= 320
    sound[800:960] += 0.05
    sound[27200:28000] += 0.01 * np.random.default_rng(0).standard_normal(800)
    assert speech_bounds(sound) == (start, end)


@pytest.mark.parametrize("match_level", [True, False])
def test_all_but_the_stretch_is_the_neutral_take(match_level: bool) -> None:
    neutral = voice()
    result = splice(neutral, voice(190.0, 0.3, rate=1.2), match_level=match_level)
    start, end = samples(result.stretch)
    longer = len(result.waveform) - len(neutral)
    assert result.waveform.dtype == np.float32
    assert np.array_equal(result.waveform[:start], neutral[:start])
    assert np.array_equal(result.waveform[end:], neutral[end - longer :])
    assert not np.isclose(result.waveform[start:end], neutral[start:end]).all()
    bounds = speech_bounds(neutral)
    assert samples(result.speech) == (bounds[0], bounds[1] + longer)
    assert (end - longer - start) / (bounds[1] - bounds[0]) == pytest.approx(0.4, abs=0.08)  # the borders may move


def test_the_stretch_has_the_level_of_what_it_replaces_or_its_own() -> None:
    neutral, emotional = voice(), voice(190.0, 0.3)
    matched, kept = (splice(neutral, emotional, match_level=match) for match in (True, False))
    start, end = samples(matched.stretch)
    longer = len(matched.waveform) - len(neutral)
    assert rms_db(matched.waveform[start:end]) == pytest.approx(rms_db(neutral[start : end - longer]), abs=0.5)
    assert kept.stretch == matched.stretch
    assert rms_db(kept.waveform[start:end]) == pytest.approx(rms_db(emotional[slice(*SPEECH)]), abs=1.5)


@pytest.mark.parametrize(("rate", "bend"), [(1.0, 0.0), (1.5, 0.0), (0.7, 0.0), (1.0, 0.1), (1.3, -0.1)])
def test_the_stretch_is_the_same_part_of_the_sentence(rate: float, bend: float) -> None:
    neutral, emotional = voice(), voice(125.0, 0.1, rate, bend)
    result = splice(neutral, emotional, match_level=False)
    start, end = samples(result.stretch)
    # Past the cross-fades the stretch is the emotional take, sample by sample.
    (first,) = np.flatnonzero(emotional == result.waveform[start + 160]) - 160
    last = first + end - start
    assert np.array_equal(result.waveform[start + 160 : end - 160], emotional[first + 160 : last - 160])
    end -= len(result.waveform) - len(neutral)
    for sample, other in ((start, first), (end, last)):
        place = (sample - SPEECH[0]) / (SPEECH[1] - SPEECH[0])
        there = place_of((other - SPEECH[0]) / (rate * (SPEECH[1] - SPEECH[0])), bend)
        assert float(there) == pytest.approx(place, abs=0.02)  # 24 ms


def test_borders_are_no_clicks() -> None:
    neutral = voice(level=0.01)
    neutral += 0.05 * np.cos(2 * np.pi * 50 / RATE * np.arange(len(neutral))).astype(np.float32)
    result = splice(neutral, -neutral)  # which would jump by up to 0.1
    for border in samples(result.stretch):
        steps, own = (np.abs(np.diff(sound[border - 200 : border + 200])).max() for sound in (result.waveform, neutral))
        assert steps <= 1.2 * own


@pytest.mark.parametrize("likeness", [0.0, 0.5, 1.0])
def test_the_level_of_a_cross_fade_is_even(likeness: float) -> None:
    one, two = np.random.default_rng(0).standard_normal((2, 200, 4000))
    other = likeness * one + np.sqrt(1 - likeness**2) * two
    faded = np.stack([cross_fade(*pair) for pair in zip(one, other, strict=True)])
    assert np.abs([rms_db(part) for part in np.split(faded, 10, axis=1)]).max() < 0.1


def test_a_take_spliced_into_itself_is_the_take() -> None:
    assert np.allclose(splice(voice(), voice()).waveform, voice(), atol=1e-6)


def test_clicks_alone_are_too_little_speech() -> None:
    click = np.zeros(4000, np.float32)
    click[2000:2100] = 0.5
    with pytest.raises(UserError, match="too little speech to splice; expected two takes of the same sentence"):
        splice(click, voice())


def test_takes_of_a_corpus(ravdess_like: list[Utterance]) -> None:
    takes = list_takes(ravdess_like)
    assert takes == list_takes(ravdess_like[::-1])
    assert len(takes) == 2 * 2 * 2 * 3  # speakers, sentences, neutral takes, emotional takes
    for neutral, emotional, repetition in takes:
        assert repetition is not None
        assert repetition != neutral
        assert neutral.label == repetition.label == "neutral" != emotional.label
        assert len({(take.speaker, take.sentence) for take in (neutral, emotional, repetition)}) == 1


def many_takes(*of_the_first: str) -> list[Utterance]:
    """Of 6 speakers, a neutral and 3 emotional takes of 4 sentences, and more of the first one."""
    return [
        Utterance(f"{speaker}{sentence}{label}", Path("a.wav"), label, f"s{speaker}", sentence=f"{sentence}")
        for speaker in range(6)
        for sentence in range(4)
        for label in ["neutral", "angry", "happy", "sad", *of_the_first * (speaker == 0)]
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_even_over_emotions_and_speakers(seed: int) -> None:
    drawn = draw_takes(list_takes(many_takes()), 18, seed)
    assert Counter(item.emotional.label for item in drawn[:6]) == {"angry": 2, "happy": 2, "sad": 2}
    assert len({item.emotional.speaker for item in drawn[:6]}) == 6
    assert len({(item.emotional.label, item.emotional.speaker) for item in drawn}) == 18


def test_a_draw_is_repeatable_and_takes_nothing_twice() -> None:
    takes = list_takes(many_takes())
    assert all(item.repetition is None for item in takes)
    drawn = draw_takes(takes, 1000)
    assert draw_takes(takes, 5) == drawn[:5] != draw_takes(takes, 5, seed=1)
    assert sorted(item.emotional.id for item in drawn) == sorted(item.emotional.id for item in takes)


def test_a_draw_is_even_over_emotions_though_one_speaker_alone_has_one() -> None:
    drawn = draw_takes(list_takes(many_takes("bored")), 12)
    assert set(Counter(item.emotional.label for item in drawn).values()) == {3}
    assert len({item.emotional.speaker for item in drawn}) == 6


def test_clips_of_a_corpus(ravdess_like: list[Utterance]) -> None:
    clips = list(spliced_speech(ravdess_like, limit=4))
    again = list(spliced_speech(ravdess_like, limit=4))
    assert [clip.utterance for clip in clips] == [clip.utterance for clip in again]
    assert all(np.array_equal(clip.waveform, other.waveform) for clip, other in zip(clips, again, strict=True))
    assert Counter(clip.utterance.label for clip in clips) == {"happy": 2, "angry": 2}
    by_id = {utterance.id: utterance for utterance in ravdess_like}
    for clip in clips:
        neutral, emotional = map(by_id.__getitem__, clip.utterance.id.split(" + "))
        sounds = load_audio(neutral.path), load_audio(emotional.path)
        expected = splice(*sounds)
        assert np.array_equal(clip.waveform, expected.waveform)
        assert (clip.utterance.stretches, clip.speech) == ((expected.stretch,), expected.speech)
        assert (clip.utterance.label, clip.utterance.path) == (emotional.label, neutral.path)
        assert (clip.utterance.speaker, clip.utterance.sentence) == (emotional.speaker, emotional.sentence)
        assert clip.control is not None
        other = by_id[next(item.repetition.id for item in list_takes(ravdess_like) if item.neutral == neutral)]
        assert np.array_equal(clip.control.waveform, splice(sounds[0], load_audio(other.path)).waveform)
    assert len(list(spliced_speech(ravdess_like))) == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "calm"}, r"none of the 2 utterances has the label neutral \(labels: calm\); set `neutral` to that"),
        (
            {"sentence": None},
            "no sentence is known of a, b; names tell it in the corpora ravdess, emodb, crema_d, tess",
        ),
        ({"label": "neutral"}, "no speaker says a sentence both in neutral speech and with an emotion"),
        ({"speaker": None}, "no speaker says a sentence both in neutral speech and with an emotion"),
    ],
)
def test_speech_that_cannot_be_spliced(changes: dict, message: str) -> None:
    fields = {"speaker": "s", "sentence": "t"}
    utterances = [
        Utterance(id_, Path(id_), **{"label": label, **fields, **changes})
        for id_, label in (("a", "neutral"), ("b", "sad"))
    ]
    with pytest.raises(UserError, match=message):
        spliced_speech(utterances)
    with pytest.raises(UserError, match="`limit` is 0; expected 1 at least"):
        spliced_speech(utterances, limit=0)


def test_takes_without_speech_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    click = np.zeros(4000)
    click[2000:2100] = 0.5
    for name in ("03a01Nc.wav", "03a01Wa.wav"):
        soundfile.write(tmp_path / name, click, RATE)
    assert list(spliced_speech(read_corpus(tmp_path).utterances)) == []
    assert "03a01Nc.wav and 03a01Wa.wav: too little speech to splice" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("match_level", "least", "most"), [(True, 0.45, 0.6), (False, 0.65, 1.0)])
def test_on_real_speech_loudness_alone_does_not_show_the_stretch(
    ravdess_root: Path, match_level: bool, least: float, most: float
) -> None:
    clips = spliced_speech(read_corpus(ravdess_root).utterances, match_level=match_level, limit=42)
    assert (
        least
        < np.mean([loudness_auc(clip.waveform, clip.utterance.stretches[0], clip.speech) for clip in clips])
        < most
    )


def loudness_auc(waveform: np.ndarray, stretch: Stretch, speech: Stretch) -> float:
    """How well the energy of frames of 20 ms tells the stretch from the rest of the speech."""
    start, end = samples(speech)
    energies = np.square(waveform[start : start + (end - start) // 320 * 320]).reshape(-1, 320).mean(1)
    time = speech.start + 0.02 * (np.arange(len(energies)) + 0.5)
    return float(roc_auc_score((stretch.start < time) & (time < stretch.end), energies))
