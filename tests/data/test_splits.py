from pathlib import Path

import pytest

from speechshap.data.splits import draw_subset, find_speakers, listed_speakers, split_by_speaker, split_by_utterance
from speechshap.data.utterance import Utterance
from speechshap.errors import UserError


def corpus(speakers: int, labels: tuple[str, ...] = ("happy", "sad"), repetitions: int = 5) -> list[Utterance]:
    return [
        Utterance(f"{speaker}-{label}-{number}", Path("x.wav"), label, f"S{speaker:02d}")
        for speaker in range(speakers)
        for label in labels
        for number in range(repetitions)
    ]


def speakers_of(part: list[Utterance]) -> set[str | None]:
    return {utterance.speaker for utterance in part}


@pytest.mark.parametrize("speakers", [3, 4, 10, 24])
def test_no_speaker_is_in_two_splits_and_nothing_is_lost(speakers: int) -> None:
    splits = split_by_speaker(corpus(speakers), 0.15, 0.2, seed=1)
    groups = [speakers_of(part) for part in splits]
    assert sum(map(len, groups)) == len(set.union(*groups)) == speakers
    assert sum(map(len, splits)) == speakers * 10
    assert all(groups)


def test_the_seed_decides_and_decides_again() -> None:
    draws = [speakers_of(split_by_speaker(corpus(24), 0.15, 0.2, seed).test) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 5


def test_named_speakers_are_taken() -> None:
    splits = split_by_speaker(corpus(5), 0.2, 0.2, 0, val_speakers=["S03"], test_speakers=["S00", "S04"])
    assert speakers_of(splits.val) == {"S03"}
    assert speakers_of(splits.test) == {"S00", "S04"}


def test_split_by_utterance_keeps_the_shares_of_the_classes() -> None:
    splits = split_by_utterance(corpus(2, repetitions=20), 0.1, 0.25, seed=0)
    assert [len(part) for part in splits] == [52, 8, 20]
    for part in splits:
        assert sum(utterance.label == "sad" for utterance in part) * 2 == len(part)
    assert len({utterance.id for part in splits for utterance in part}) == 80


@pytest.mark.parametrize(
    ("utterances", "options", "message"),
    [
        (corpus(1), {}, "1 speaker only .S00."),
        (corpus(2), {}, "2 speakers only"),
        ([Utterance("a", Path("a.wav"), "sad")], {}, "a.wav: the speaker is not known"),
        (corpus(3), {"test_speakers": ["S77"]}, "`test_speakers`: no speaker S77"),
        (corpus(3), {"val_speakers": ["S01"], "test_speakers": ["S01"]}, "both name S01"),
    ],
)
def test_a_split_that_cannot_be(utterances: list[Utterance], options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_by_speaker(utterances, 0.2, 0.2, 0, **options)


@pytest.mark.parametrize(
    ("wanted", "speakers", "expected"),
    [
        (["03"], ["03", "08"], ["03"]),
        ([3, "08"], ["03", "08", "13"], ["03", "08"]),
        ([3, "08"], ["Actor_03", "Actor_08", "Actor_13"], ["Actor_03", "Actor_08"]),
        ([1001], ["1001", "1002"], ["1001"]),
        ([0], ["0", "10"], ["0"]),
        ([3, 10, 9], ["03", "10", "011"], ["03", "10", "011"]),  # as YAML reads [03, 10, 011]
        (["9"], ["09", "011"], ["09"]),  # a text was never octal
    ],
)
def test_numbers_are_speakers(wanted: list[str | int], speakers: list[str], expected: list[str]) -> None:
    assert find_speakers(wanted, speakers, "test_speakers") == expected


@pytest.mark.parametrize(
    ("wanted", "speakers", "message"),
    [
        (9, ["009", "011"], "`test_speakers` has 9, which may be 009 or 011; write the whole name, in quotes"),
        (9, ["S009", "S011"], "`test_speakers` has 9, which may be S009 or S011; write the whole name, in quotes"),
        (3, ["a_3", "b_3"], "`test_speakers` has 3, which may be a_3 or b_3"),
        (4, ["03", "14"], "`test_speakers`: no speaker 4; there are 03, 14"),
        ("Actor", ["Actor_03"], "`test_speakers`: no speaker Actor; there are Actor_03"),
    ],
)
def test_a_number_that_is_no_speaker_or_several(wanted: str | int, speakers: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_speakers([wanted], speakers, "test_speakers")


@pytest.mark.parametrize("text", ["03,10,011", "03, 10, 011", "[03,10,011]"])
def test_speakers_may_be_a_text_with_commas(text: str) -> None:
    assert listed_speakers(text) == ("03", "10", "011")


def test_a_share_of_nothing_leaves_out_the_test_split() -> None:
    for splits in (split_by_speaker(corpus(2), 0.2, 0, seed=0), split_by_utterance(corpus(2), 0.2, 0, seed=0)):
        assert not splits.test
        assert splits.val
        assert len(splits.train) + len(splits.val) == 20


def test_a_subset_keeps_the_order() -> None:
    utterances = corpus(4)
    subset = draw_subset(utterances, 7, seed=3)
    assert len(subset) == 7
    assert subset == [utterance for utterance in utterances if utterance in subset]
    assert draw_subset(utterances, None) == draw_subset(utterances, 999) == utterances
