"""Folds for cross-validation: each utterance is tested once, by a model that did not hear it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from speechshap.data.splits import SplitOptions, Splits, split_by_speaker, split_by_utterance
from speechshap.data.utterance import Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError


def count_folds(utterances: Sequence[Utterance], options: SplitOptions) -> int:
    """Number of folds that utterances with labels are divided into; arguments and errors as of :func:`assign_folds`."""
    return max(assign_folds(utterances, options).values())


def assign_folds(utterances: Sequence[Utterance], options: SplitOptions) -> dict[str, int]:
    """The fold that each utterance is tested in.

    A number of folds gives each the same number of speakers, as far as possible, and of the utterances of each class
    (``StratifiedGroupKFold`` of scikit-learn); with ``split_by="utterance"`` classes alone are balanced
    (``StratifiedKFold``). ``speaker`` and ``session`` have a fold for each of these, in the order of their names.
    Neither the order of the utterances nor the state of their files has an influence.

    Args:
        utterances: With a label each.
        options: ``folds`` and ``seed`` count.

    Returns:
        Folds by utterance id, the first being 1.

    Raises:
        UserError: There are fewer groups or utterances than folds, an utterance has no speaker or no session, a speaker
            is in two sessions, there is one class alone, or the folds are to be EmoBox's, which no draw makes.

    Example:
        >>> from pathlib import Path
        >>> utterances = [Utterance(f"{s}{c}", Path("a.wav"), c, s) for s in "PQRS" for c in ("angry", "sad")]
        >>> folds = assign_folds(utterances, SplitOptions(folds=2, fold=1))
        >>> sorted(folds.values()), folds["Pangry"] == folds["Psad"]
        ([1, 1, 1, 1, 2, 2, 2, 2], True)
    """
    if options.folds == "emobox":
        raise UserError(
            "`folds` is emobox, but `root` has no fold_1, fold_2, ... of JSON lines whose names say train and test; "
            "give the folder of the corpus in EmoBox's data, and that of the sound files as `audio_root`"
        )
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    if len(labels := sorted({str(utterance.label) for utterance in ordered})) < 2:
        raise UserError(
            f"all recordings are of the class {labels[0]}; a classifier needs two classes, so give a corpus with more"
        )
    if isinstance(options.folds, int):
        return _balanced_folds(ordered, options.folds, options)
    groups = _speakers(ordered) if options.folds == "speaker" else _sessions(ordered)
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(
            f"the corpus has one {options.folds} only ({names[0]}), who cannot be kept apart; take a number of "
            '`folds` with `split_by="utterance"`'
        )
    return {utterance.id: names.index(group) + 1 for utterance, group in zip(ordered, groups, strict=True)}


def split_fold(utterances: Sequence[Utterance], options: SplitOptions) -> Splits:
    """Splits of one fold: its utterances for test; validation is drawn from the rest.

    Args:
        utterances: With a label each.
        options: ``fold`` names the fold; ``split_by``, ``val_fraction`` and ``seed`` draw the validation split.

    Raises:
        UserError: As of :func:`assign_folds` and :func:`speechshap.data.splits.split_by_speaker`; or there is no such
            fold.
    """
    fold_of = assign_folds(utterances, options)
    fold = existing_fold(options.fold, max(fold_of.values()))
    rest = [utterance for utterance in utterances if fold_of[utterance.id] != fold]
    test = [utterance for utterance in utterances if fold_of[utterance.id] == fold]
    split = split_by_utterance if options.split_by == "utterance" else split_by_speaker
    return split(rest, options.val_fraction, 0.0, options.seed)._replace(test=test)


def existing_fold(fold: int | None, count: int) -> int:
    """The fold that is asked for.

    Raises:
        UserError: None is named, or there is none of this number.
    """
    if fold is None:
        raise UserError(f"`fold` is missing; `folds` makes {count}: name one from 1 to {count}")
    if not 1 <= fold <= count:
        raise UserError(f"`fold` is {fold}; this corpus has {counted(count, 'fold')}, from 1 on")
    return fold


def fold_folders(root: Path) -> list[Path]:
    """Folders ``fold_1``, ``fold_2``, … of EmoBox's fold files in the order of their numbers, or ``root`` itself.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("fold_10", "fold_2", "others"):
        ...     (root / name).mkdir()
        >>> [folder.name for folder in fold_folders(root)]
        ['fold_2', 'fold_10']
    """
    numbers = {int(m[1]): path for path in root.glob("fold_*") if (m := re.fullmatch(r"fold_(\d+)", path.name))}
    return [numbers[number] for number in sorted(numbers)] or [root]


def describe_fold(options: SplitOptions) -> str:
    """What a fold is, in words that follow "split"."""
    kind: Literal["speaker", "session", "utterance"] = options.split_by
    if isinstance(options.folds, int):
        return f"as fold {options.fold} of {options.folds} by {kind}, seed {options.seed}"
    return f"as fold {options.fold}, which leaves out one {options.folds}"


def _balanced_folds(ordered: Sequence[Utterance], count: int, options: SplitOptions) -> dict[str, int]:
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = np.array([str(utterance.label) for utterance in ordered])
    if options.split_by == "utterance":
        if len(ordered) < count:
            raise UserError(f"`folds` is {count}, but there are {counted(len(ordered), 'utterance')}; take fewer")
        drawn = StratifiedKFold(count, shuffle=True, random_state=options.seed).split(labels, labels)
    else:
        speakers = _speakers(ordered)
        if (number := len(set(speakers))) < count:
            raise UserError(
                f"`folds` is {count}, but the corpus has {counted(number, 'speaker')}; take {number} at most, or let "
                'voices be in several folds with `split_by="utterance"`'
            )
        drawn = StratifiedGroupKFold(count, shuffle=True, random_state=options.seed).split(labels, labels, speakers)
    return {ordered[index].id: fold for fold, (_, tested) in enumerate(drawn, start=1) for index in tested}


def _speakers(utterances: Sequence[Utterance]) -> list[str]:
    if unknown := [utterance for utterance in utterances if utterance.speaker is None]:
        raise UserError(
            f"{unknown[0].path}: the speaker is not known, so that folds cannot keep voices apart; add a speaker "
            'column to the manifest, or accept voices in several folds with `split_by="utterance"`'
        )
    return [str(utterance.speaker) for utterance in utterances]


def _sessions(utterances: Sequence[Utterance]) -> list[str]:
    session_of: dict[str, str] = {}
    for utterance in utterances:
        if utterance.session is None:
            raise UserError(
                f"{utterance.path}: the session is not known; add a session column to the manifest, or take "
                '`folds="speaker"`'
            )
        speaker = utterance.speaker
        if speaker is not None and session_of.setdefault(speaker, utterance.session) != utterance.session:
            raise UserError(
                f"speaker {speaker} is in the sessions {session_of[speaker]} and {utterance.session}, so that a voice "
                'would be heard in training and in test; correct the manifest, or take `folds="speaker"`'
            )
    return [str(utterance.session) for utterance in utterances]
