"""Train, validation and test utterances, by speaker unless asked otherwise."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from speechshap.data.utterance import Utterance
from speechshap.errors import UserError

SplitBy = Literal["speaker", "utterance"]
_T = TypeVar("_T")


class Splits(NamedTuple):
    """Three disjoint lists of utterances."""

    train: list[Utterance]
    val: list[Utterance]
    test: list[Utterance]


def split_by_speaker(
    utterances: Sequence[Utterance],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    val_speakers: Sequence[str] = (),
    test_speakers: Sequence[str] = (),
) -> Splits:
    """Give each speaker to one split, so that no voice is heard in two of them.

    Args:
        utterances: With a speaker each.
        val_fraction: Share of the speakers for validation; one speaker at least.
        test_fraction: Share of the speakers for test; one speaker at least.
        seed: Decides which speakers, where they are not named.
        val_speakers: Speakers for validation, instead of drawing them.
        test_speakers: Speakers for test, instead of drawing them.

    Raises:
        UserError: An utterance has no speaker, there are fewer than three, or a named one does not exist.
    """
    if unknown := [utterance for utterance in utterances if utterance.speaker is None]:
        raise UserError(
            f"{unknown[0].path}: the speaker is not known, so that a split by speaker is not possible; "
            "add a speaker column to the manifest, or accept voices in several splits with --data.split_by utterance"
        )
    speakers = sorted({str(utterance.speaker) for utterance in utterances})
    if len(speakers) < 3:
        raise UserError(
            f"{len(speakers)} speaker(s) only ({', '.join(speakers)}), while train, validation and test need one each; "
            "use --data.split_by utterance"
        )
    for option, named in (("val_speakers", val_speakers), ("test_speakers", test_speakers)):
        if missing := sorted(set(named) - set(speakers)):
            raise UserError(f"--data.{option}: no speaker {missing[0]}; there are {', '.join(speakers)}")
    if both := sorted(set(val_speakers) & set(test_speakers)):
        raise UserError(f"--data.val_speakers and --data.test_speakers both name {both[0]}")
    order = [speakers[index] for index in np.random.default_rng(seed).permutation(len(speakers))]
    free = [speaker for speaker in order if speaker not in {*val_speakers, *test_speakers}]
    test = list(test_speakers) or _take(free, test_fraction * len(speakers))
    free = [speaker for speaker in free if speaker not in test]
    val = list(val_speakers) or _take(free, val_fraction * len(speakers))
    return Splits(
        train=[utterance for utterance in utterances if utterance.speaker not in {*val, *test}],
        val=[utterance for utterance in utterances if utterance.speaker in val],
        test=[utterance for utterance in utterances if utterance.speaker in test],
    )


def split_by_utterance(utterances: Sequence[Utterance], val_fraction: float, test_fraction: float, seed: int) -> Splits:
    """Split each label's utterances at random; a speaker may then be heard in several splits.

    Args:
        utterances: With a label each.
        val_fraction: Share of each label for validation; one utterance at least.
        test_fraction: Share of each label for test; one utterance at least.
        seed: Decides which utterances.
    """
    by_label: dict[str | None, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_label[utterance.label].append(utterance)
    generator = np.random.default_rng(seed)
    splits = Splits([], [], [])
    for label in sorted(by_label, key=str):
        members = by_label[label]
        order = [members[index] for index in generator.permutation(len(members))]
        test = _take(order, test_fraction * len(members))
        val = _take(order[len(test) :], val_fraction * len(members))
        splits.test.extend(test)
        splits.val.extend(val)
        splits.train.extend(order[len(test) + len(val) :])
    for part in splits:
        part.sort(key=lambda utterance: utterance.id)
    return splits


def _take(items: Sequence[_T], count: float) -> list[_T]:
    return list(items[: max(1, round(count))])


def check_splits(splits: Splits, classes: Sequence[str]) -> None:
    """Raise a UserError where a split lacks a class: it could not be learnt, or its recall would mean nothing."""
    for name, part in splits._asdict().items():
        if missing := [label for label in classes if label not in {utterance.label for utterance in part}]:
            raise UserError(
                f"the {name} split of {len(part)} utterances has none of the class(es) {', '.join(missing)}; "
                "give more recordings, another --data.split_seed, larger --data.val_fraction and "
                "--data.test_fraction, or --data.split_by utterance"
            )


def draw_subset(utterances: Sequence[Utterance], max_samples: int | None, seed: int = 0) -> list[Utterance]:
    """At most ``max_samples`` utterances, drawn by seed so that speakers and classes stay mixed, in their old order."""
    if max_samples is None or len(utterances) <= max_samples:
        return list(utterances)
    chosen = np.random.default_rng(seed).choice(len(utterances), max_samples, replace=False)
    return [utterances[index] for index in sorted(chosen)]
