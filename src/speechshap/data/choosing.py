"""Choice of the split (from a manifest, from a checkpoint, or drawn) and checks on it."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from speechshap.data.folds import describe_fold, fold_key, split_fold
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

_MOST_NAMED = 30
"""Speakers of a split whose names are told."""


class ChosenSplit(NamedTuple):
    """Splits and where they come from; ``origin`` says so in words that follow "split"."""

    splits: Splits
    source: Literal["manifest", "checkpoint", "draw", "fold"]
    origin: str


def choose_split(
    utterances: Sequence[Utterance],
    options: SplitOptions,
    saved: Mapping[str, SplitName] | None = None,
    saved_fold: Sequence[object] | None = None,
) -> ChosenSplit:
    """Split utterances as the manifest says, or else as in the training of a checkpoint, or else by fold or at random.

    A draw also replaces the checkpoint's split where other speakers or another fold are named than those of this split.

    Args:
        utterances: Labelled utterances.
        options: How to draw, and named speakers.
        saved: Splits of the utterances that a checkpoint knows, by id; the other utterances are then left out.
        saved_fold: The fold that it was trained with, as :func:`speechshap.data.folds.fold_key` names it.

    Raises:
        UserError: As of :func:`split_by_speaker` and :func:`speechshap.data.folds.split_fold`.
    """
    saved = saved or {}
    if any(utterance.split for utterance in utterances):
        if options.folds not in (None, "emobox"):
            raise UserError(
                f"`folds` is {options.folds}, but the manifest says itself who is in which split; remove its split "
                "column, or leave out `folds`"
            )
        origin = "as the manifest has it" if options.folds is None else f"as fold {options.fold} of EmoBox has it"
        if not options.val_fraction and any(utterance.split == "val" for utterance in utterances):
            origin += ", its val split trained on, too"
        return ChosenSplit(_split_as_given(utterances, options, saved), "manifest", origin)
    as_saved = _assign(utterances, saved)
    if saved and not _asks_for_others(utterances, options, as_saved, saved_fold):
        return ChosenSplit(as_saved, "checkpoint", "as the checkpoint was trained with")
    if options.folds is not None:
        return ChosenSplit(split_fold(utterances, options), "fold", describe_fold(options))
    return ChosenSplit(_draw(utterances, options), "draw", f"by {options.split_by}, seed {options.seed}")


def _assign(utterances: Sequence[Utterance], part_of: Mapping[str, SplitName]) -> Splits:
    return Splits(*([u for u in utterances if part_of.get(u.id) == name] for name in Splits._fields))


def _asks_for_others(
    utterances: Sequence[Utterance], options: SplitOptions, splits: Splits, saved_fold: Sequence[object] | None
) -> bool:
    """Whether the named speakers, or the fold, differ from those of the splits."""
    if options.folds is not None:
        return fold_key(options) != saved_fold  # however the corpus has grown
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
    if not options.val_fraction:
        return given._replace(train=[*given.train, *given.val], val=[])
    if given.val:
        return given
    speakers = {utterance.speaker for utterance in given.train}
    if options.split_by == "speaker" and (None in speakers or len(speakers) < 2):
        return given
    # Keep the checkpoint's validation utterances: those of another draw may have been trained on.
    as_saved = _assign(given.train, saved)
    if as_saved.val:
        val_ids = {utterance.id for utterance in as_saved.val}
        return given._replace(train=[u for u in given.train if u.id not in val_ids], val=as_saved.val)
    return _draw(given.train, options, test=False)._replace(test=given.test)


def check_splits(chosen: ChosenSplit, classes: Sequence[str], stage: str, validates: bool = True) -> list[str]:
    """Check that splits can be used in a stage.

    Args:
        chosen: The splits. Given validation and test splits, and those of a fold, are used even if they lack a class.
        classes: Classes of the model.
        stage: ``fit``, ``validate`` or ``test``.
        validates: Whether there is to be a validation split.

    Returns:
        Warnings.

    Raises:
        UserError: A split that the stage needs is empty, the training split lacks a class, or a drawn split does (its
            recall would be undefined).
    """
    needed = {"fit": ("train", "val") if validates else ("train",), "validate": ("val",), "test": ("test",)}[stage]
    is_drawn = chosen.source == "draw"
    sizes = ", ".join(f"{len(part)} {name}" for name, part in chosen.splits._asdict().items())
    remarks = []
    for name, part in chosen.splits._asdict().items():
        if name == "val" and not part and not validates and stage != "validate":
            continue
        labels = {utterance.label for utterance in part}
        missing = [label for label in classes if label not in labels]
        of_class = f"{'class' if len(missing) == 1 else 'classes'} {', '.join(missing)}"
        lacking = f"the {name} split of {counted(len(part), 'utterance')} has none of the {of_class}"
        if not part and name in needed and not is_drawn:
            others = 'speakers to draw one from, `split_by="utterance"`, or `val_fraction` 0 to do without'
            hint = f"; give a val split, {others}" if name == "val" else ""
            raise UserError(
                f"the {name} split, {chosen.origin}, is empty ({sizes}); this corpus cannot be used to {stage}{hint}"
            )
        if missing and (is_drawn or (name == "train" and stage == "fit")):
            unheard = ", which the model could not learn" if name == "train" else ""
            ways = {
                "draw": 'another `split_seed`, a larger `val_fraction` and `test_fraction`, or `split_by="utterance"`',
                "fold": 'another `split_seed`, a smaller `val_fraction`, or `split_by="utterance"`',
            }
            way_out = ways.get(chosen.source, "or a split that trains all classes")
            raise UserError(f"{lacking}{unheard} (split {chosen.origin}); give more recordings, {way_out}")
        if missing and name in needed:
            remarks.append(lacking)
    train, val, _ = chosen.splits
    if chosen.source == "manifest" and (shared := sorted(set(speakers_of(train)) & set(speakers_of(val)))):
        remarks.append(f"{counted(len(shared), 'speaker')} in both the train and the val split: {name_some(shared)}")
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
    names = " ".join([*speakers[:_MOST_NAMED], *["..."] * (len(speakers) > _MOST_NAMED)])
    of_speakers = f" of {counted(len(speakers), 'speaker')}: {names}" if speakers else ""
    count, words = counted(len(part), "utterance").split()
    return f"{name:<5} {count:>4} {words}{of_speakers}"
