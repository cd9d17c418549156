from dataclasses import replace
from pathlib import Path

from speechshap.data.overlap import speaker_overlap
from speechshap.data.splits import Splits
from speechshap.data.utterance import Utterance


def corpus(speakers: int) -> list[Utterance]:
    return [
        Utterance(f"S{number}-{label}", Path("x.wav"), label, f"S{number}")
        for number in range(speakers)
        for label in ("happy", "sad")
    ]


def test_voices_of_the_test_that_training_or_validation_hears() -> None:
    one, two, four = corpus(1), corpus(2), corpus(4)
    overlap = speaker_overlap(Splits(one, two, four))
    assert overlap.shared == ["S0", "S1"]
    assert overlap.is_independent is False
    assert str(overlap) == "speaker-dependent: 2 of the 4 test speakers are heard in training or validation"
    assert speaker_overlap(Splits(two, [], four[4:])).is_independent is True


def test_without_a_speaker_nobody_knows_whether_a_voice_is_heard_twice() -> None:
    one, other = corpus(1), [replace(u, speaker=None) for u in corpus(1)]
    assert speaker_overlap(Splits(one, [], other)).is_independent is None
    assert str(speaker_overlap(Splits(one, [], other))).startswith("speakers unknown: those of 2 utterances")


def test_nobody_is_heard_where_nobody_is_tested() -> None:
    assert speaker_overlap(Splits(corpus(2), [], [])).is_independent is None
