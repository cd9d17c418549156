"""Which split counts: a manifest's, a checkpoint's or a drawn one; and whether it serves."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from speechshap.data.splits import (
    SplitOptions,
    Splits,
    find_speakers,
    name_some,
    speakers_of,
    split_by_speaker,
    split_by_utterance,
)
from speechshap.data.utterance import SplitName, Utterance
from speechshap.errors import UserError


class ChosenSplit(NamedTuple):
    """A split, and where it comes from; ``origin`` tells that in words that follow "split"."""

    splits: Splits
    source: Literal["manifest", "checkpoint", "draw"]
    origin: str


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
        return ChosenSplit(_split_as_given(utterances, options, saved), "manifest", "as the manifest has it")
    as_saved = _assign(utterances, saved)
    if saved and not _asks_for_others(utterances, options, as_saved):
        return ChosenSplit(as_saved, "checkpoint", "as the checkpoint was trained with")
    return ChosenSplit(_draw(utterances, options), "draw", f"by {options.split_by}, seed {options.seed}")


def _assign(utterances: Sequence[Utterance], part_of: Mapping[str, SplitName]) -> Splits:
    return Splits(*([u for u in utterances if part_of.get(u.id) == name] for name in Splits._fields))


def _asks_for_others(utterances: Sequence[Utterance], options: SplitOptions, splits: Splits) -> bool:
    """Whether speakers are named that are not those of the splits."""
    speakers = speakers_of(utterances)
    return any(
        named and set(find_speakers(named, speakers, option)) != set(speakers_of(part))
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


def check_splits(chosen: ChosenSplit, classes: Sequence[str], stage: str) -> list[str]:
    """Whether splits serve a stage; what is merely doubtful is returned in sentences.

    Args:
        chosen: The splits; one that is not drawn is tested as it is, even where it lacks a class.
        classes: Those of the model.
        stage: ``fit``, ``validate`` or ``test``.

    Raises:
        UserError: A split that the stage needs is empty; a class is not there to be learnt; or a drawn split lacks a
            class, so that its recall would mean nothing.
    """
    needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
    is_drawn = chosen.source == "draw"
    sizes = ", ".join(f"{len(part)} {name}" for name, part in chosen.splits._asdict().items())
    remarks = []
    for name, part in chosen.splits._asdict().items():
        labels = {utterance.label for utterance in part}
        missing = ", ".join(label for label in classes if label not in labels)
        lacking = f"the {name} split of {len(part)} utterances has none of the class(es) {missing}"
        if not part and name in needed and not is_drawn:
            raise UserError(f"the {name} split is empty ({sizes}); split {chosen.origin}, it cannot serve to {stage}")
        if missing and (is_drawn or (name == "train" and stage == "fit")):
            raise UserError(
                f"{lacking}; give more recordings, another `split_seed`, a larger `val_fraction` and `test_fraction`, "
                'or `split_by="utterance"`'
            )
        if missing and name in needed:
            remarks.append(lacking)
    if chosen.source == "manifest" and (shared := speakers_in_two_splits(chosen.splits)):
        remarks.append(f"{len(shared)} speaker(s) are heard in more than one split: {name_some(shared)}")
    return remarks


def describe(name: str, part: Sequence[Utterance]) -> str:
    """Size and speakers of a split, in one line.

    Example:
        >>> describe("test", [Utterance("a", Path("a.wav"), speaker="S1"), Utterance("b", Path("b.wav"), speaker="S2")])
        'test     2 utterances of 2 speakers: S1 S2'
    """
    speakers = speakers_of(part)
    return f"{name:<5} {len(part):4d} utterances of {len(speakers)} speakers: {' '.join(speakers)}".rstrip()


def speakers_in_two_splits(splits: Splits) -> list[str]:
    """Speakers who are heard in more than one split."""
    heard = [set(speakers_of(part)) for part in splits]
    return sorted((heard[0] & heard[1]) | (heard[0] & heard[2]) | (heard[1] & heard[2]))
