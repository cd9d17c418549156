from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechshap.data.choosing import ChosenSplit, check_splits, choose_split
from speechshap.data.folds import fold_key
from speechshap.data.splits import SplitOptions, Splits
from speechshap.data.utterance import SplitName, Utterance
from speechshap.errors import UserError


def corpus(speakers: int, labels: tuple[str, ...] = ("happy", "sad")) -> list[Utterance]:
    return [
        Utterance(f"S{speaker}-{label}", Path("x.wav"), label, f"S{speaker}")
        for speaker in range(speakers)
        for label in labels
    ]


SAVED: dict[str, Any] = {u.id: ("train", "train", "val", "test")[int(str(u.speaker)[1])] for u in corpus(4)}


@pytest.mark.parametrize(
    ("options", "saved", "source"),
    [
        ({}, {}, "draw"),
        ({}, SAVED, "checkpoint"),
        ({"test_speakers": ["S3"]}, SAVED, "checkpoint"),
        ({"test_speakers": ["S3"], "val_speakers": [2]}, SAVED, "checkpoint"),
        ({"test_speakers": ["S2"]}, SAVED, "draw"),
        ({"val_speakers": ["S1"]}, SAVED, "draw"),
    ],
)
def test_a_checkpoints_split_counts_unless_other_speakers_are_named(options: dict, saved: dict, source: str) -> None:
    chosen = choose_split(corpus(4), SplitOptions(**options), saved)
    assert chosen.source == source
    if source == "checkpoint":
        assert {u.id: name for name, part in chosen.splits._asdict().items() for u in part} == SAVED


def test_a_given_split_counts_before_all_others() -> None:
    given = [replace(u, split="test" if u.speaker == "S0" else "train") for u in corpus(5)]
    chosen = choose_split(given, SplitOptions(test_speakers=["S4"]), {})
    assert chosen.source == "manifest"
    assert {u.speaker for u in chosen.splits.test} == {"S0"}
    assert len(chosen.splits.val) == 2
    assert sum(map(len, chosen.splits)) == 10


def test_what_a_manifest_gives_no_split_is_left_out() -> None:
    given = [replace(u, split=(None, "train", "val", "test")[int(str(u.speaker)[1])]) for u in corpus(4)]  # type: ignore[arg-type]
    splits = choose_split(given, SplitOptions()).splits
    assert [{u.speaker for u in part} for part in splits] == [{"S1"}, {"S2"}, {"S3"}]


def test_a_given_test_split_needs_no_speakers_but_a_training_does() -> None:
    given = [replace(u, speaker=None, split="test" if u.speaker == "S0" else "train") for u in corpus(5)]
    chosen = choose_split(given, SplitOptions())
    assert [len(part) for part in chosen.splits] == [8, 0, 2]
    assert check_splits(chosen, ["happy", "sad"], "test") == []
    with pytest.raises(UserError, match=r"the val split, as the manifest has it, is empty .*`split_by=.utterance.`"):
        check_splits(chosen, ["happy", "sad"], "fit")
    assert [len(part) for part in choose_split(given, SplitOptions(split_by="utterance")).splits] == [6, 2, 2]


def test_a_drawn_split_without_a_class_is_refused() -> None:
    full, part = corpus(1), corpus(1, ("happy",))
    assert check_splits(ChosenSplit(Splits(full, full, full), "draw", "by speaker"), ["happy", "sad"], "fit") == []
    with pytest.raises(UserError, match=r"the val split of 1 utterance has none of the class sad"):
        check_splits(ChosenSplit(Splits(full, part, full), "draw", "by speaker"), ["happy", "sad"], "fit")


def test_a_given_split_without_a_class_is_told_but_a_class_must_be_there_to_be_learnt() -> None:
    full, part = corpus(1), corpus(1, ("happy",))
    given = ChosenSplit(Splits(part, full, part), "checkpoint", "as the checkpoint was trained with")
    (remark,) = check_splits(given, ["happy", "sad"], "test")
    assert remark == "the test split of 1 utterance has none of the class sad"
    with pytest.raises(UserError, match="the train split of 1 utterance has none"):
        check_splits(given, ["happy", "sad"], "fit")


def test_a_class_that_validation_takes_from_the_training_of_a_fold_is_named_with_the_fold() -> None:
    utterances = [u for u in corpus(4) if u.label == "happy" or u.speaker in ("S0", "S1")]
    seeds = range(20)
    chosen = [choose_split(utterances, SplitOptions(seed=seed, folds="speaker", fold=1)) for seed in seeds]
    (unheard, *_) = [each for each in chosen if {u.speaker for u in each.splits.val} == {"S1"}]
    with pytest.raises(UserError, match=r"train split of 2 utterances has none of the class sad.*fold 1, which leaves"):
        check_splits(unheard, ["happy", "sad"], "fit")


def test_a_fold_replaces_the_split_of_a_checkpoint_unless_it_is_the_same() -> None:
    options = [SplitOptions(folds="speaker", fold=fold) for fold in (1, 2)]
    first, second = (choose_split(corpus(4), each) for each in options)
    assert first.source == second.source == "fold"
    saved: dict[str, SplitName] = {
        u.id: name for name, part in first.splits._asdict().items() for u in part  # type: ignore[misc]
    }  # fmt: skip
    for utterances in (corpus(4), corpus(6)):  # which may have grown
        chosen = choose_split(utterances, options[0], saved, fold_key(options[0]))
        assert (chosen.source, chosen.splits) == ("checkpoint", first.splits)
    assert choose_split(corpus(4), options[1], saved, fold_key(options[0])).splits == second.splits
    assert choose_split(corpus(4), SplitOptions(), saved, fold_key(options[0])).source == "checkpoint"


def test_folds_of_a_manifest_with_splits_are_refused() -> None:
    given = [replace(u, split="test" if u.speaker == "S0" else "train") for u in corpus(5)]
    with pytest.raises(UserError, match="`folds` is 5, but the manifest says itself"):
        choose_split(given, SplitOptions(folds=5, fold=1))
    assert choose_split(given, SplitOptions(folds="emobox", fold=1)).source == "manifest"


def test_no_validation_split_where_none_is_asked_for() -> None:
    named = {"S0": "test", "S1": "val"}
    without, given = (
        [replace(u, split=own.get(u.speaker, "train")) for u in corpus(5)] for own in ({"S0": "test"}, named)
    )
    for utterances in (without, given, corpus(5)):
        chosen = choose_split(utterances, SplitOptions(val_fraction=0))
        assert [len(part) for part in chosen.splits] == [8, 0, 2]
        assert check_splits(chosen, ["happy", "sad"], "fit", validates=False) == []
        with pytest.raises(UserError, match=r"val split"):
            check_splits(chosen, ["happy", "sad"], "validate", validates=False)
