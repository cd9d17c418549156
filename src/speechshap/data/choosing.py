"""Choice of the split (from a manifest, from a checkpoint, or drawn) and checks on it."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from speechshap.data.splits import (
    SplitOptions,
    Splits,
    find_speakers,
    speakers_of,
    split_by_speaker,
    split_by_utterance,
)
from speechshap.data.utterance import SplitName, Utterance
from speechshap.data.wording import counted, name_some
from speechshap.errors import UserError


class ChosenSplit(NamedTuple):
    """Splits and where they come from; ``origin`` says so in words that follow "split"."""

    splits: Splits
    source: Literal["manifest", "checkpoint", "draw"]
    origin: str


def choose_split(
    utterances: Sequence[Utterance], options: SplitOptions, saved: Mapping[str, SplitName] | None = None
) -> ChosenSplit:
    """Split utterances as the manifest says, or else as in the training of a checkpoint, or else at random.

    A draw also replaces the checkpoint's split where other speakers are named than those of this split.

    Args:
        utterances: Labelled utterances.
        options: How to draw, and named speakers.
        saved: Splits of the utterances that a checkpoint knows, by id; the other utterances are then left out.

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
    """Whether the named speakers differ from those of the splits."""
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
    """Splits of a manifest; validation is drawn from train if the manifest has none and speakers are known."""
    given = _assign(utterances, {u.id: u.split for u in utterances if u.split})
    by_speaker = options.split_by == "speaker"
    if given.val or (by_speaker and (len(speakers_of(given.train)) < 2 or None in {u.speaker for u in given.train})):
        return given
    # Keep the checkpoint's validation utterances: those of another draw may have been trained on.
    as_saved = _assign(given.train, saved)
    if as_saved.val:
        val_ids = {utterance.id for utterance in as_saved.val}
        return given._replace(train=[u for u in given.train if u.id not in val_ids], val=as_saved.val)
    return _draw(given.train, options, test=False)._replace(test=given.test)


def check_splits(chosen: ChosenSplit, classes: Sequence[str], stage: str) -> list[str]:
    """Check that splits can be used in a stage.

    Args:
        chosen: The splits. Given validation and test splits are used even if they lack a class.
        classes: Classes of the model.
        stage: ``fit``, ``validate`` or ``test``.

    Returns:
        Warnings.

    Raises:
        UserError: A split that the stage needs is empty, the training split lacks a class, or a drawn split does (its
            recall would be undefined).
    """
    needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
    is_drawn = chosen.source == "draw"
    sizes = ", ".join(f"{len(part)} {name}" for name, part in chosen.splits._asdict().items())
    remarks = []
    for name, part in chosen.splits._asdict().items():
        labels = {utterance.label for utterance in part}
        missing = [label for label in classes if label not in labels]
        of_class = f"{'class' if len(missing) == 1 else 'classes'} {', '.join(missing)}"
        lacking = f"the {name} split of {counted(len(part), 'utterance')} has none of the {of_class}"
        if not part and name in needed and not is_drawn:
            hint = '; give a val split, speakers to draw one from, or `split_by="utterance"`' if name == "val" else ""
            raise UserError(
                f"the {name} split, {chosen.origin}, is empty ({sizes}); this corpus cannot be used to {stage}{hint}"
            )
        if missing and (is_drawn or (name == "train" and stage == "fit")):
            raise UserError(
                f"{lacking}; give more recordings, another `split_seed`, a larger `val_fraction` and `test_fraction`, "
                'or `split_by="utterance"`'
            )
        if missing and name in needed:
            remarks.append(lacking)
    if chosen.source == "manifest" and (shared := speakers_in_two_splits(chosen.splits)):
        remarks.append(f"{counted(len(shared), 'speaker')} in more than one split: {name_some(shared)}")
    return remarks


def describe(name: str, part: Sequence[Utterance]) -> str:
    """One line with the size and the speakers of a split.

    Example:
        >>> from pathlib import Path
        >>> describe("test", [Utterance("a", Path("a.wav"), speaker="S1"), Utterance("b", Path("b.wav"), speaker="S2")])
        'test     2 utterances of 2 speakers: S1 S2'
        >>> describe("val", [])
        'val      0 utterances'
    """
    speakers = speakers_of(part)
    of_speakers = f" of {counted(len(speakers), 'speaker')}: {' '.join(speakers)}" if speakers else ""
    count, words = counted(len(part), "utterance").split()
    return f"{name:<5} {count:>4} {words}{of_speakers}"


def speakers_in_two_splits(splits: Splits) -> list[str]:
    """Speakers with utterances in more than one split."""
    groups = [set(speakers_of(part)) for part in splits]
    return sorted((groups[0] & groups[1]) | (groups[0] & groups[2]) | (groups[1] & groups[2]))
