"""Folds against those of scikit-learn, and what cannot be divided."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from speechshap.data.corpora import read_corpus
from speechshap.data.folds import assign_folds, count_folds, fold_folders, split_fold
from speechshap.data.splits import Folds, SplitOptions
from speechshap.data.utterance import Utterance
from speechshap.errors import UserError

LABELS = ("angry", "calm", "sad")


def corpus(speakers: int = 12, seed: int = 0) -> list[Utterance]:
    """Speakers with different numbers of utterances of each class."""
    generator = np.random.default_rng(seed)
    return [
        Utterance(f"S{speaker:02}-{label}-{number}", Path("x.wav"), label, f"S{speaker:02}", session=f"{speaker // 3}")
        for speaker in range(speakers)
        for label in LABELS
        for number in range(generator.integers(2, 8))
    ]


def parts_of(utterances: list[Utterance], **options: object) -> list[set[str]]:
    """Ids that are tested in each fold."""
    folds = assign_folds(utterances, SplitOptions(**options))  # type: ignore[arg-type]
    return [{id_ for id_, fold in folds.items() if fold == number} for number in range(1, max(folds.values()) + 1)]


@pytest.mark.parametrize(("folds", "group"), [("speaker", "speaker"), ("session", "session")])
def test_leaving_one_group_out_is_that_of_scikit_learn(folds: Folds, group: str) -> None:
    utterances = corpus()
    groups = [getattr(utterance, group) for utterance in utterances]
    theirs = [{utterances[i].id for i in test} for _, test in LeaveOneGroupOut().split(utterances, groups=groups)]
    assert parts_of(utterances, folds=folds) == theirs
    assert count_folds(utterances, SplitOptions(folds=folds)) == len(theirs)


def largest_deviation(parts: list[set[str]], utterances: list[Utterance]) -> float:
    """Of the share of a class in a fold from that in the corpus."""
    label = {utterance.id: utterance.label for utterance in utterances}
    shares = np.array([[Counter(label[id_] for id_ in part)[name] / len(part) for name in LABELS] for part in parts])
    overall = np.array([Counter(label.values())[name] / len(label) for name in LABELS])
    return float(np.abs(shares - overall).max())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_balanced_folds_keep_voices_apart_and_classes_alike(seed: int) -> None:
    utterances = corpus(seed=seed)
    parts = parts_of(utterances, folds=4, seed=seed)
    assert sorted(id_ for part in parts for id_ in part) == sorted(utterance.id for utterance in utterances)
    voices = [{id_[:3] for id_ in part} for part in parts]
    assert sum(map(len, voices)) == len(set.union(*voices)) == 12
    groups = [utterance.speaker for utterance in utterances]
    theirs = [{utterances[i].id for i in test} for _, test in GroupKFold(4).split(utterances, groups=groups)]
    assert largest_deviation(parts, utterances) <= largest_deviation(theirs, utterances)


def test_the_order_of_the_utterances_decides_nothing_and_the_seed_decides_among_equals() -> None:
    utterances = corpus()
    assert parts_of(utterances[::-1], folds=4) == parts_of(utterances, folds=4)
    alike = [u for u in utterances if u.id.endswith(("-0", "-1"))]
    assert parts_of(alike, folds=4, seed=1) != parts_of(alike, folds=4)


def test_utterances_can_be_divided_without_regard_to_voices() -> None:
    utterances = corpus(speakers=2)
    parts = parts_of(utterances, folds=5, split_by="utterance")
    sizes = [len(part) for part in parts]
    assert sum(sizes) == len(utterances)
    assert max(sizes) - min(sizes) <= len(LABELS)


@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
def test_a_fold_is_tested_and_validation_is_drawn_from_other_voices(val_fraction: float) -> None:
    utterances = corpus()
    for fold in (1, 2, 3):
        options = SplitOptions(folds=3, fold=fold, val_fraction=val_fraction)
        splits = split_fold(utterances, options)
        assert {u.id for u in splits.test} == parts_of(utterances, folds=3)[fold - 1]
        voices = [{u.speaker for u in part} for part in splits]
        assert sum(map(len, voices)) == len(set.union(*voices)) == 12
        assert len(voices[1]) == round(val_fraction * 8)


@pytest.mark.parametrize(
    ("options", "utterances", "message"),
    [
        ({"folds": 13}, corpus(), "`folds` is 13, but the corpus has 12 speakers; take 12 at most"),
        ({"folds": 3}, corpus(speakers=1), "`folds` is 3, but the corpus has 1 speaker; let voices be in several"),
        ({"folds": 3}, [u for u in corpus(3) if u.id.endswith("-0")][::4], "no class has more than 1 utterance;"),
        ({"folds": "session"}, corpus(speakers=3), r"one session only \(0\).*`folds="),
        ({"folds": "speaker"}, corpus(speakers=1), r"one speaker only \(S00\).*split_by"),
        ({"folds": 2}, [u for u in corpus() if u.label == "sad"], "all recordings are of the class sad"),
        ({"folds": 2}, [replace(u, speaker=None) for u in corpus()], "the speaker is not known.*split_by"),
        ({"folds": "session"}, [replace(u, session=None) for u in corpus()], "the session is not known.*column"),
        ({"folds": "session"}, [replace(u, session=u.label) for u in corpus()], "speaker S00 is in the sessions"),
        (
            {"folds": 99, "split_by": "utterance"},
            corpus(speakers=1),
            "`folds` is 99, but no class has more than .",
        ),
        ({"folds": "emobox"}, corpus(), "no fold_1, fold_2"),
    ],
)
def test_what_cannot_be_divided_is_refused_with_the_way_out(
    options: dict, utterances: list[Utterance], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        assign_folds(utterances, SplitOptions(**options))


@pytest.mark.parametrize(
    ("folds", "message"), [("speaker", "fold 2 of 12 has no training recording of the class calm"), (4, "class calm")]
)
def test_a_class_that_one_fold_alone_tests_is_named_with_the_fold(folds: Folds, message: str) -> None:
    utterances = [u for u in corpus() if u.label != "calm" or u.speaker == "S01"]
    with pytest.raises(UserError, match=message):
        assign_folds(utterances, SplitOptions(folds=folds))


@pytest.mark.filterwarnings("error")
def test_a_class_with_fewer_utterances_than_folds_is_in_as_many_of_them() -> None:
    utterances = [u for u in corpus() if u.label != "calm" or u.id in ("S01-calm-0", "S05-calm-1")]
    for split_by in ("speaker", "utterance"):
        folds = assign_folds(utterances, SplitOptions(folds=6, split_by=split_by))  # type: ignore[arg-type]
        assert len({folds["S01-calm-0"], folds["S05-calm-1"]}) == 2


def write_fold_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "x_test_fold_1.jsonl").write_text('{"wav": "a.wav", "emo": "sad"}')
    return folder


def test_folds_of_emobox_may_be_one_and_have_no_gaps(tmp_path: Path) -> None:
    second = write_fold_files(tmp_path / "fold_2")
    assert fold_folders(tmp_path) == fold_folders(second) == [second]
    (tmp_path / "fold_1").mkdir()
    with pytest.raises(UserError, match="fold_1: no JSON lines whose names say train and test"):
        fold_folders(tmp_path)
    (tmp_path / "fold_1").rmdir()
    write_fold_files(tmp_path / "fold_10")
    with pytest.raises(UserError, match="has 2 folds, up to fold_10, but no fold_1;"):
        fold_folders(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": "actor"}, "`folds` is actor; expected a number from 2 on, speaker, session or emobox"),
        ({"folds": 2.5}, "`folds` is 2.5; expected"),
        ({"folds": True}, "`folds` is True; expected"),
        ({"folds": 1}, "`folds` is 1; expected a number from 2 on, speaker, session or emobox"),
        ({"fold": 1}, "`fold` is 1, but `folds` does not say"),
        ({"folds": "speaker", "split_by": "utterance"}, "`folds` is speaker, and `split_by` is utterance"),
        ({"folds": 3, "test_speakers": ["S00"]}, "`test_speakers` and `folds` both say"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SplitOptions(**options)


@pytest.mark.parametrize(("fold", "message"), [(None, "`fold` is missing"), (0, "`fold` is 0"), (5, "has 4 folds")])
def test_the_fold_has_to_be_one_of_them(fold: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_fold(corpus(), SplitOptions(folds=4, fold=fold))


def test_five_folds_of_real_speech(ravdess_root: Path) -> None:
    utterances = read_corpus(ravdess_root, "ravdess").utterances
    parts = parts_of(utterances, folds=5)
    assert [len(part) for part in parts] == [240] * 5
    speaker = {utterance.id: utterance.speaker for utterance in utterances}
    assert [len({speaker[id_] for id_ in part}) for part in parts] == [4] * 5
    label = {utterance.id: utterance.label for utterance in utterances}
    assert {len({label[id_] for id_ in part}) for part in parts} == {8}
