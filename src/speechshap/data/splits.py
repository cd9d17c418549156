"""Train, validation and test utterances: as a manifest or a checkpoint says, else drawn, by speaker unless asked."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from speechshap.data.utterance import SplitName, Utterance
from speechshap.errors import UserError

SplitBy = Literal["speaker", "utterance"]
_T = TypeVar("_T")


class Splits(NamedTuple):
    """Three disjoint lists of utterances."""

    train: list[Utterance]
    val: list[Utterance]
    test: list[Utterance]


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How utterances are split where nothing else decides; see :class:`~speechshap.training.AudioDataModule`."""

    split_by: SplitBy = "speaker"
    val_fraction: float = 0.15
    test_fraction: float = 0.2
    seed: int = 0
    val_speakers: Sequence[str | int] = ()
    test_speakers: Sequence[str | int] = ()


class ChosenSplit(NamedTuple):
    """A split, where it comes from (in words that follow "split"), and whether another draw could be another."""

    splits: Splits
    origin: str
    is_drawn: bool = False


def choose_split(
    utterances: Sequence[Utterance], options: SplitOptions, saved: Mapping[str, SplitName] | None = None
) -> ChosenSplit:
    """Split utterances as their manifest says, or as a checkpoint was trained with, or by a draw.

    Speakers that are named go before the checkpoint's split, unless these are its speakers, too.

    Args:
        utterances: With a label each.
        options: How to draw, and named speakers.
        saved: The checkpoint's split of those utterances that it knows, by id; the others are then left out.

    Raises:
        UserError: As of :func:`split_by_speaker`.
    """
    saved = saved or {}
    if any(utterance.split for utterance in utterances):
        return ChosenSplit(_split_as_given(utterances, options, saved), "as the manifest has it")
    as_saved = _assign(utterances, saved)
    if saved and not _asks_for_others(utterances, options, as_saved):
        return ChosenSplit(as_saved, "as the checkpoint was trained with")
    return ChosenSplit(_draw(utterances, options), f"by {options.split_by}, seed {options.seed}", is_drawn=True)


def _assign(utterances: Sequence[Utterance], part_of: Mapping[str, SplitName]) -> Splits:
    return Splits(*([u for u in utterances if part_of.get(u.id) == name] for name in Splits._fields))


def _asks_for_others(utterances: Sequence[Utterance], options: SplitOptions, splits: Splits) -> bool:
    """Whether speakers are named that are not those of the splits."""
    speakers = _speakers(utterances)
    return any(
        named and set(find_speakers(named, speakers, option)) != set(_speakers(part))
        for option, named, part in (
            ("val_speakers", options.val_speakers, splits.val),
            ("test_speakers", options.test_speakers, splits.test),
        )
    )


def _draw(utterances: Sequence[Utterance], options: SplitOptions, test: bool = True) -> Splits:
    fractions = options.val_fraction, options.test_fraction if test else 0.0
    if options.split_by == "utterance":
        return split_by_utterance(utterances, *fractions, options.seed)
    named = options.val_speakers, options.test_speakers if test else ()
    return split_by_speaker(utterances, *fractions, options.seed, *named)


def _split_as_given(utterances: Sequence[Utterance], options: SplitOptions, saved: Mapping[str, SplitName]) -> Splits:
    """Splits of a manifest; validation is taken from train where the manifest has none."""
    given = _assign(utterances, {u.id: u.split for u in utterances if u.split})
    if given.val or not given.train:
        return given
    # The checkpoint's validation utterances stay so, or the model would be validated on what it was trained on.
    as_saved = _assign(given.train, saved)
    if as_saved.val:
        val_ids = {utterance.id for utterance in as_saved.val}
        return given._replace(train=[u for u in given.train if u.id not in val_ids], val=as_saved.val)
    train, val, _ = _draw(given.train, options, test=False)
    return Splits(train, val, given.test)


def _speakers(utterances: Sequence[Utterance]) -> list[str]:
    return sorted({utterance.speaker for utterance in utterances if utterance.speaker is not None})


def speakers_in_two_splits(splits: Splits) -> list[str]:
    """Speakers who are heard in more than one split."""
    heard = [set(_speakers(part)) for part in splits]
    return sorted((heard[0] & heard[1]) | (heard[0] & heard[2]) | (heard[1] & heard[2]))


def find_speakers(wanted: Sequence[str | int], speakers: Sequence[str], option: str) -> list[str]:
    """Names of speakers as the corpus has them.

    A number is the speaker whose name ends in it. One that came through YAML may have been octal there: 011 arrives as
    9, and is the speaker 011 where there is one.

    Args:
        wanted: Names, or numbers.
        speakers: All names of the corpus.
        option: Name of the parameter, for the message.

    Raises:
        UserError: No speaker is meant by a name, or several.

    Example:
        >>> find_speakers([3, "08", "Actor_10"], ["Actor_03", "Actor_08", "Actor_10"], "test_speakers")
        ['Actor_03', 'Actor_08', 'Actor_10']
    """
    found = []
    for name in wanted:
        meant = [name] if name in speakers else [speaker for speaker in speakers if _is_meant(name, speaker)]
        if len(meant) > 1:
            raise UserError(
                f"`{option}` has {name}, which may be {' or '.join(meant)}; write the whole name, in quotes"
            )
        if not meant:
            raise UserError(f"`{option}`: no speaker {name}; there are {', '.join(speakers)}")
        found.append(str(meant[0]))
    return found


def _is_meant(wanted: str | int, speaker: str) -> bool:
    number = re.search(r"\d+$", speaker)
    if number is None or not str(wanted).isdecimal():
        return False
    octal = isinstance(wanted, int) and re.fullmatch("0[0-7]+", speaker) is not None
    return int(wanted) in (int(number[0]), int(speaker, 8) if octal else None)


def split_by_speaker(
    utterances: Sequence[Utterance],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    val_speakers: Sequence[str | int] = (),
    test_speakers: Sequence[str | int] = (),
) -> Splits:
    """Give each speaker to one split, so that no voice is heard in two of them.

    Args:
        utterances: With a speaker each.
        val_fraction: Share of the speakers for validation; one speaker at least.
        test_fraction: Share of the speakers for test; one speaker at least, or none for a share of 0.
        seed: Decides which speakers, where they are not named.
        val_speakers: Speakers for validation, instead of drawing them; see :func:`find_speakers`.
        test_speakers: Speakers for test, instead of drawing them.

    Raises:
        UserError: An utterance has no speaker, there are too few of them, or a named one does not exist.
    """
    if unknown := [utterance for utterance in utterances if utterance.speaker is None]:
        raise UserError(
            f"{unknown[0].path}: the speaker is not known, so that a split by speaker is not possible; "
            'add a speaker column to the manifest, or accept voices in several splits with `split_by="utterance"`'
        )
    speakers = _speakers(utterances)
    needing = "train, validation and test" if test_fraction else "train and validation"
    if len(speakers) < (3 if test_fraction else 2):
        raise UserError(
            f"{len(speakers)} speaker(s) only ({', '.join(speakers)}), while {needing} need one each; "
            'take `split_by="utterance"`'
        )
    named_val = find_speakers(val_speakers, speakers, "val_speakers")
    named_test = find_speakers(test_speakers, speakers, "test_speakers")
    if both := sorted(set(named_val) & set(named_test)):
        raise UserError(f"`val_speakers` and `test_speakers` both name {both[0]}")
    order = [speakers[index] for index in np.random.default_rng(seed).permutation(len(speakers))]
    free = [speaker for speaker in order if speaker not in {*named_val, *named_test}]
    test = named_test or _take(free, test_fraction * len(speakers))
    free = [speaker for speaker in free if speaker not in test]
    val = named_val or _take(free, val_fraction * len(speakers))
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
        test_fraction: Share of each label for test; one utterance at least, or none for a share of 0.
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
    return list(items[: max(1, round(count))]) if count else []


def check_splits(splits: Splits, classes: Sequence[str], stage: str, is_drawn: bool) -> list[str]:
    """Whether splits serve a stage; what is merely doubtful is returned in sentences.

    Args:
        splits: The splits.
        classes: Those of the model.
        stage: ``fit``, ``validate`` or ``test``.
        is_drawn: Whether another draw could be better; a given split is tested as it is.

    Raises:
        UserError: A split that the stage needs is empty; a class is not there to be learnt; or a drawn split lacks a
            class, so that its recall would mean nothing.
    """
    needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
    remarks = []
    for name, part in splits._asdict().items():
        labels = {utterance.label for utterance in part}
        missing = ", ".join(label for label in classes if label not in labels)
        if not part and name in needed and not is_drawn:
            there = ", ".join(f"{len(part)} {name}" for name, part in splits._asdict().items() if part)
            raise UserError(f"the {name} split is empty, as given ({there}); it cannot be used to {stage} a model")
        if missing and (is_drawn or (name == "train" and name in needed)):
            raise UserError(
                f"the {name} split of {len(part)} utterances has none of the class(es) {missing}; "
                "give more recordings, another `split_seed`, a larger `val_fraction` and `test_fraction`, or "
                '`split_by="utterance"`'
            )
        if missing and name in needed:
            remarks.append(f"the {name} split of {len(part)} utterances has none of the class(es) {missing}")
    if not is_drawn and (shared := speakers_in_two_splits(splits)):
        remarks.append(f"{len(shared)} speaker(s) are heard in more than one split: {name_some(shared)}")
    return remarks


def describe(name: str, part: Sequence[Utterance]) -> str:
    """Size and speakers of a split, in one line.

    Example:
        >>> describe("test", [Utterance("a", Path("a.wav"), speaker="S1"), Utterance("b", Path("b.wav"), speaker="S2")])
        'test     2 utterances of 2 speakers: S1 S2'
    """
    speakers = _speakers(part)
    return f"{name:<5} {len(part):4d} utterances of {len(speakers)} speakers: {' '.join(speakers)}".rstrip()


def name_some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, for a message.

    Example:
        >>> name_some(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])


def draw_subset(utterances: Sequence[Utterance], most: int | None, seed: int = 0) -> list[Utterance]:
    """At most so many utterances, drawn by seed so that speakers and classes stay mixed, in their old order."""
    if most is None or len(utterances) <= most:
        return list(utterances)
    chosen = np.random.default_rng(seed).choice(len(utterances), most, replace=False)
    return [utterances[index] for index in sorted(chosen)]
