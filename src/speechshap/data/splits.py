"""Train, validation and test utterances, drawn by speaker unless asked otherwise."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from speechshap.data.utterance import Utterance
from speechshap.data.wording import counted, name_some
from speechshap.errors import UserError, require_at_least

SplitBy = Literal["speaker", "utterance"]
Folds = int | Literal["speaker", "session", "emobox"]
_T = TypeVar("_T")


class Splits(NamedTuple):
    """Three disjoint lists of utterances."""

    train: list[Utterance]
    val: list[Utterance]
    test: list[Utterance]


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How to draw splits.

    Attributes:
        split_by: ``speaker`` puts all utterances of a speaker into one split; ``utterance`` splits each class.
        val_fraction: Share of the speakers, or of the utterances of each class, for validation; 0 for none.
        test_fraction: The same for test, of which there is always some.
        seed: Seed of the draw.
        val_speakers: Speakers for validation, instead of drawing them; see :func:`find_speakers`.
        test_speakers: Speakers for test, instead of drawing them.
        folds: Into which folds the corpus is divided; see :func:`speechshap.data.folds.assign_folds`.
        fold: The one that is tested, the first being 1.

    Raises:
        UserError: A share is not between 0 and 1, nothing is left for training, the seed is negative, or options
            contradict each other.
    """

    split_by: SplitBy = "speaker"
    val_fraction: float = 0.15
    test_fraction: float = 0.2
    seed: int = 0
    val_speakers: Sequence[str | int] = ()
    test_speakers: Sequence[str | int] = ()
    folds: Folds | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"`val_fraction` is {self.val_fraction}; expected a share from 0 to less than 1")
        if not 0 < self.test_fraction < 1:
            raise UserError(f"`test_fraction` is {self.test_fraction}; expected a share between 0 and 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise UserError(
                f"`val_fraction` is {self.val_fraction} and `test_fraction` is {self.test_fraction}; expected a sum "
                "below 1, so that something is left for training"
            )
        if self.val_speakers and not self.val_fraction:
            raise UserError(
                "`val_fraction` is 0, but `val_speakers` names speakers for validation; leave one of them out"
            )
        require_at_least(0, split_seed=self.seed)
        self._check_folds()

    def _check_folds(self) -> None:
        if self.folds is None:
            if self.fold is not None:
                raise UserError(f"`fold` is {self.fold}, but `folds` does not say of how many; give both, or neither")
            return
        is_number = isinstance(self.folds, int) and not isinstance(self.folds, bool)
        if self.folds < 2 if is_number else self.folds not in ("speaker", "session", "emobox"):  # type: ignore[operator]
            raise UserError(f"`folds` is {self.folds}; expected a number from 2 on, speaker, session or emobox")
        if self.split_by == "utterance" and self.folds in ("speaker", "session"):
            raise UserError(
                f"`folds` is {self.folds}, and `split_by` is utterance; take a number of `folds`, or "
                '`split_by="speaker"`'
            )
        for name, speakers in (("val_speakers", self.val_speakers), ("test_speakers", self.test_speakers)):
            if speakers:
                raise UserError(f"`{name}` and `folds` both say who is in which split; leave one of them out")


def speakers_of(utterances: Iterable[Utterance]) -> list[str]:
    """Names of the speakers, sorted."""
    return sorted({utterance.speaker for utterance in utterances if utterance.speaker is not None})


def require_speakers(utterances: Iterable[Utterance], parts: Literal["splits", "folds"]) -> None:
    """Raise a UserError where an utterance has no speaker.

    Args:
        utterances: To be divided.
        parts: Into what.
    """
    unknown = next((utterance for utterance in utterances if utterance.speaker is None), None)
    if unknown is not None:
        raise UserError(
            f"{unknown.path}: the speaker is not known, so that {parts} cannot keep voices apart; add a speaker column "
            f'to the manifest, or accept voices in several {parts} with `split_by="utterance"`'
        )


def listed_speakers(speakers: Sequence[str | int] | str | None) -> tuple[str | int, ...]:
    """Speakers from a list, or from a comma-separated string.

    Example:
        >>> listed_speakers([3, "08"]), listed_speakers("03, 08"), listed_speakers(""), listed_speakers(None)
        ((3, '08'), ('03', '08'), (), ())
    """
    names = speakers.strip("[]").split(",") if isinstance(speakers, str) else speakers or ()
    stripped = (name.strip() if isinstance(name, str) else name for name in names)
    return tuple(name for name in stripped if name != "")


def find_speakers(wanted: Sequence[str | int], speakers: Sequence[str], option: str) -> list[str]:
    """Find the speakers that names or numbers refer to.

    A number refers to the speaker whose name ends in it. An integer may come from YAML, which reads 011 as octal and
    gives 9; so it also refers to a speaker whose name ends in 011.

    Args:
        wanted: Names, or numbers.
        speakers: Names of all speakers of the corpus.
        option: Name of the parameter, for error messages.

    Returns:
        Names of speakers, in the order of ``wanted``.

    Raises:
        UserError: A name or number refers to no speaker, or to several.

    Example:
        >>> find_speakers([3, "08", "Actor_10"], ["Actor_03", "Actor_08", "Actor_10"], "test_speakers")
        ['Actor_03', 'Actor_08', 'Actor_10']
    """
    found = []
    for name in wanted:
        matches = [s for s in speakers if s == name] or [s for s in speakers if _refers_to(name, s)]
        if len(matches) > 1:
            raise UserError(
                f"`{option}` has {name}, which may be {' or '.join(matches)}; write the whole name, in quotes"
            )
        if not matches:
            raise UserError(f"`{option}`: no speaker {name}; there are {name_some(speakers, 50)}")
        found += matches
    return found


def _refers_to(wanted: str | int, speaker: str) -> bool:
    number = re.search(r"\d+$", speaker)
    if number is None or not str(wanted).isdecimal():
        return False
    octal = isinstance(wanted, int) and re.fullmatch("0[0-7]+", number[0]) is not None
    return int(wanted) in (int(number[0]), int(number[0], 8) if octal else None)


def split_by_speaker(
    utterances: Sequence[Utterance],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    val_speakers: Sequence[str | int] = (),
    test_speakers: Sequence[str | int] = (),
) -> Splits:
    """Assign each speaker to one split, so that no voice is in two of them.

    Args:
        utterances: With a speaker each.
        val_fraction: Share of the speakers for validation; one speaker at least, or none for a share of 0.
        test_fraction: Share of the speakers for test; one speaker at least, or none for a share of 0.
        seed: Seed of the draw.
        val_speakers: Speakers for validation, instead of drawing them; see :func:`find_speakers`.
        test_speakers: Speakers for test, instead of drawing them.

    Raises:
        UserError: An utterance has no speaker, there are too few of them, or a named one does not exist.
    """
    require_speakers(utterances, "splits")
    speakers = speakers_of(utterances)
    parts = ["train", *(["validation"] if val_fraction else []), *(["test"] if test_fraction else [])]
    needing = " and ".join(", ".join(parts).rsplit(", ", 1))
    if len(speakers) < len(parts):
        raise UserError(
            f"{counted(len(speakers), 'speaker')} only ({', '.join(speakers)}), while {needing} need one each; "
            'take `split_by="utterance"`'
        )
    named_val = find_speakers(val_speakers, speakers, "val_speakers")
    named_test = find_speakers(test_speakers, speakers, "test_speakers")
    if both := sorted(set(named_val) & set(named_test)):
        raise UserError(f"`val_speakers` and `test_speakers` both name {both[0]}")
    order = [speakers[index] for index in np.random.default_rng(seed).permutation(len(speakers))]
    named = {*named_val, *named_test}
    free = [speaker for speaker in order if speaker not in named]
    test = set(named_test or _take(free, test_fraction * len(speakers)))
    free = [speaker for speaker in free if speaker not in test]
    val = set(named_val or _take(free, val_fraction * len(speakers)))
    set_apart = val | test
    return Splits(
        train=[utterance for utterance in utterances if utterance.speaker not in set_apart],
        val=[utterance for utterance in utterances if utterance.speaker in val],
        test=[utterance for utterance in utterances if utterance.speaker in test],
    )


def split_by_utterance(utterances: Sequence[Utterance], val_fraction: float, test_fraction: float, seed: int) -> Splits:
    """Split the utterances of each label at random; a speaker may then be in several splits.

    Args:
        utterances: With a label each.
        val_fraction: Share of each label for validation; one utterance at least, or none for a share of 0.
        test_fraction: Share of each label for test; one utterance at least, or none for a share of 0.
        seed: Seed of the draw.
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


def draw_subset(utterances: Sequence[Utterance], most: int | None, seed: int = 0) -> list[Utterance]:
    """Draw at most ``most`` utterances at random, in their original order."""
    if most is None or len(utterances) <= most:
        return list(utterances)
    chosen = np.random.default_rng(seed).choice(len(utterances), most, replace=False)
    return [utterances[index] for index in sorted(chosen)]
