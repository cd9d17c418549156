"""Folds for cross-validation: each utterance is tested once, by a model that did not hear it."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from speechshap.data.manifests import manifest_files
from speechshap.data.splits import SplitOptions, Splits, require_speakers, split_by_speaker, split_by_utterance
from speechshap.data.utterance import Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError


def count_folds(utterances: Sequence[Utterance], options: SplitOptions) -> int:
    """Number of folds that utterances with labels are divided into; arguments and errors as of :func:`assign_folds`."""
    return max(assign_folds(utterances, options).values())


def assign_folds(utterances: Sequence[Utterance], options: SplitOptions) -> dict[str, int]:
    """The fold that each utterance is tested in.

    A number of folds deals out whole speakers, so that each fold has about as many utterances of each class
    (``StratifiedGroupKFold`` of scikit-learn); with ``split_by="utterance"`` it deals out utterances
    (``StratifiedKFold``). ``speaker`` and ``session`` have a fold for each of these, in the order of their names.
    Neither the order of the utterances nor the state of their files has an influence.

    Args:
        utterances: With a label each.
        options: ``folds`` and ``seed`` count.

    Returns:
        Folds by utterance id, the first being 1.

    Raises:
        UserError: There are fewer groups or utterances than folds, an utterance has no speaker or no session, a speaker
            is in two sessions, there is one class alone or one that is tested in one fold only, so that its training
            lacks it, or the folds are to be EmoBox's, which no draw makes.

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
        fold_of = _balanced_folds(ordered, options.folds, options)
    else:
        groups = _speakers(ordered) if options.folds == "speaker" else _sessions(ordered)
        names = sorted(set(groups))
        if len(names) < 2:
            other = "" if options.folds == "speaker" else '`folds="speaker"`, or '
            raise UserError(
                f"the corpus has one {options.folds} only ({names[0]}), and nothing else to train on; take {other}a "
                'number of `folds` with `split_by="utterance"`'
            )
        numbers = {name: number for number, name in enumerate(names, start=1)}
        fold_of = {utterance.id: numbers[group] for utterance, group in zip(ordered, groups, strict=True)}
    _refuse_unheard_classes(ordered, fold_of)
    return fold_of


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

    Raises:
        UserError: One of several is missing, or a folder has no fold files.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("fold_2", "fold_1", "others"):
        ...     (root / name).mkdir()
        ...     _ = (root / name / f"ravdess_test_{name}.jsonl").write_text("")
        >>> [folder.name for folder in fold_folders(root)]
        ['fold_1', 'fold_2']
    """
    folders = _numbered_folders(root)
    if len(folders) > 1 and (gone := sorted({*range(1, max(folders) + 1)} - {*folders})):
        raise UserError(
            f"{root}: has {counted(len(folders), 'fold')}, up to fold_{max(folders)}, but no fold_{gone[0]}; complete "
            "the folders, or give one of them as `root`"
        )
    found = [folders[number] for number in sorted(folders)] or [root]
    if empty := [folder for folder in found if not manifest_files(folder)]:
        raise UserError(
            f"{empty[0]}: no JSON lines whose names say train and test, as `folds` emobox has them; give the folder "
            "of the corpus in EmoBox's data as `root`, and that of the sound files as `audio_root`"
        )
    return found


def has_fold_folders(root: Path) -> bool:
    """Whether a folder has fold files of EmoBox in folders ``fold_1``, …, and none itself."""
    return not manifest_files(root) and any(manifest_files(folder) for folder in _numbered_folders(root).values())


def _numbered_folders(root: Path) -> dict[int, Path]:
    numbers = ((re.fullmatch(r"fold_(\d+)", path.name), path) for path in root.glob("fold_*") if path.is_dir())
    return {int(match[1]): path for match, path in numbers if match}


def fold_key(options: SplitOptions) -> list[str | int] | None:
    """What a fold of a corpus depends on, in plain types for a checkpoint; None without folds.

    Example:
        >>> fold_key(SplitOptions(folds=5, fold=2))
        ['5', '2', 'speaker', 0]
    """
    return None if options.folds is None else [str(options.folds), str(options.fold), options.split_by, options.seed]


def describe_fold(options: SplitOptions) -> str:
    """What a fold is, in words that follow "split"."""
    kind: Literal["speaker", "session", "utterance"] = options.split_by
    if isinstance(options.folds, int):
        return f"as fold {options.fold} of {options.folds} by {kind}, seed {options.seed}"
    return f"as fold {options.fold}, which leaves out one {options.folds}"


def _balanced_folds(ordered: Sequence[Utterance], count: int, options: SplitOptions) -> dict[str, int]:
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    by_utterance = options.split_by == "utterance"
    speakers = None if by_utterance else _speakers(ordered)
    if speakers is not None and (number := len(set(speakers))) < count:
        fewer = f"take {number} at most, or " if number > 1 else ""
        raise UserError(
            f"`folds` is {count}, but the corpus has {counted(number, 'speaker')}; {fewer}let voices be in several "
            'folds with `split_by="utterance"`'
        )
    labels = np.array([str(utterance.label) for utterance in ordered])
    if (most := max(Counter(labels.tolist()).values())) < count:
        raise UserError(
            f"`folds` is {count}, but no class has more than {counted(most, 'utterance')}; take as many folds at most, "
            "or give more recordings"
        )
    folds = (StratifiedKFold if by_utterance else StratifiedGroupKFold)(count, shuffle=True, random_state=options.seed)
    with warnings.catch_warnings():
        # Of a class with fewer utterances than folds, which check_splits tells of the folds that lack it.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        drawn = list(folds.split(labels, labels, speakers))
    return {ordered[index].id: fold for fold, (_, tested) in enumerate(drawn, start=1) for index in tested}


def _refuse_unheard_classes(utterances: Sequence[Utterance], fold_of: dict[str, int]) -> None:
    folds_of_class: dict[str, set[int]] = defaultdict(set)
    for utterance in utterances:
        folds_of_class[str(utterance.label)].add(fold_of[utterance.id])
    for label, (fold, *others) in sorted(folds_of_class.items()):
        if not others:
            number = sum(utterance.label == label for utterance in utterances)
            raise UserError(
                f"fold {fold} of {max(fold_of.values())} has no training recording of the class {label}, since it "
                f"tests {'the only one' if number == 1 else f'all {number} of them'}; give more recordings, or leave "
                "out this class"
            )


def _speakers(utterances: Sequence[Utterance]) -> list[str]:
    require_speakers(utterances, "folds")
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
