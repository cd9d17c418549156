"""The utterances of a corpus or of loose files, split and checked."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

from speechshap.data.audio import AudioFacts, AudioFileError
from speechshap.data.checking import FileChecker
from speechshap.data.choosing import (
    ChosenSplit,
    check_splits,
    choose_split,
)
from speechshap.data.corpora import NAMING_RULES, Corpus, CorpusName, loose_files, read_corpus
from speechshap.data.decoding import NEEDS_MEDIA, NO_FILE
from speechshap.data.folds import count_folds, existing_fold, fold_folders, fold_key, has_fold_folders
from speechshap.data.hub import HubDataset
from speechshap.data.manifest_rows import Columns
from speechshap.data.overlap import SpeakerOverlap, speaker_overlap
from speechshap.data.planted import PLANTED_ROOT, make_planted_corpus
from speechshap.data.planted_clip import CLASSES, PLANTED_KINDS
from speechshap.data.recognition import KnownRecordings, Recording, describe_known, refuse_trained, split_of_each
from speechshap.data.shards import Portion, Shard
from speechshap.data.splits import SplitOptions, Splits, draw_subset
from speechshap.data.telling import Teller
from speechshap.data.twins import SAME_SOUND, same_sound, without_twins
from speechshap.data.utterance import Skipped, SplitName, Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError, require_choice
from speechshap.fingerprint import fingerprint

Check = Literal["first", "lazily"]
"""When files are looked at: all of them before they are used, or each when it is decoded."""

_EVALUATED: dict[str, tuple[SplitName, ...]] = {"fit": ("val", "test"), "validate": ("val",), "test": ("test",)}
"""Splits that each stage evaluates the model on."""


class Catalogue:
    """The utterances of a corpus or of loose files, and their splits.

    Args:
        root: Folder of the corpus, a manifest, or a dataset; None for a planted-evidence corpus.
        corpus: Name of the corpus.
        audio_root: Folder that relative paths of a manifest start from.
        files: Sound files and folders to explain instead of the corpus.
        classes: Labels in the order of the class indices; the corpus' own unless given.
        options: How to draw the splits.
        on_bad_file: ``skip`` leaves out a file that cannot be used, ``raise`` raises.
        check: ``first`` decodes every file of the splits before they are used. ``lazily`` opens only those whose
            duration the manifest does not have, and trusts it for the rest. What is to be explained or referred to is
            checked first in any case, since it is decoded anyway.
        columns: What the columns of a manifest are called.
        shard: Which part is explained of what there is to explain; None for all of it.

    Attributes:
        splits: The usable utterances of each split, or None before they are set up.
        skipped: Files that were left out, with the reason.
    """

    def __init__(
        self,
        root: Path | HubDataset | None = None,
        corpus: CorpusName = "auto",
        audio_root: Path | None = None,
        files: Sequence[Path] = (),
        classes: list[str] | None = None,
        options: SplitOptions | None = None,
        on_bad_file: Literal["skip", "raise"] = "skip",
        check: Check = "first",
        columns: Columns = Columns(),  # noqa: B008 - immutable
        shard: Shard | None = None,
    ) -> None:
        require_choice("check", check, get_args(Check))
        if root is None and options is not None and options.folds == "emobox":
            raise UserError("`root` is missing; give the folder of the corpus in EmoBox's data as `root`")
        if root is None and not files and corpus not in ("auto", *PLANTED_KINDS):
            raise UserError(f"`root` is missing; give the folder (or the manifest) of the {corpus} corpus")
        if isinstance(root, HubDataset):
            _refuse_for_dataset(corpus, audio_root, options)
        self.root = root
        self.corpus: CorpusName = corpus
        self.audio_root = audio_root
        self.files = files
        self.given_classes = classes
        self.options = options or SplitOptions()
        self.on_bad_file = on_bad_file
        self.check = check
        self.columns = columns
        self.shard = shard
        self.splits: Splits | None = None
        self.skipped: list[Skipped] = []
        self._teller = Teller()
        self._checker = FileChecker()
        self._stage = ""
        self._chosen: ChosenSplit | None = None
        self._saved = KnownRecordings()
        self._saved_fold: list[str | int] | None = None
        self._recognised: dict[str, Recording] = {}
        self._to_explain: list[Utterance] = []
        self._state: dict[str, Any] = {}  # of the splits, once it was asked for

    def report_to(self, folder: Path | None, quiet: bool = False) -> None:
        """Set where ``skipped.csv`` is written, instead of the working folder.

        Args:
            folder: Folder of the list; None writes none.
            quiet: Write, log and show nothing, as in all processes but the first.
        """
        self._teller.folder = folder
        self._teller.quiet = self._checker.quiet = quiet

    @cached_property
    def listing(self) -> Corpus:
        """Contents of the corpus, without decoding a file."""
        if self.root is None:
            kind = self.corpus if self.corpus in PLANTED_KINDS else "planted"
            if not (root := PLANTED_ROOT / kind).exists():
                make_planted_corpus(root, kind)
            return read_corpus(root, kind)
        root = self.root.manifest(self.columns, self._checker.quiet) if isinstance(self.root, HubDataset) else self.root
        if self.options.folds == "emobox":
            folders = fold_folders(root)
            root = folders[existing_fold(self.options.fold, len(folders)) - 1]
        elif self.corpus in ("auto", "manifest") and root.is_dir() and has_fold_folders(root):
            raise UserError(
                f"{root}: folds of EmoBox, which have the splits; choose one with `folds` emobox and a number as `fold`"
            )
        corpus = read_corpus(root, self.corpus, self.audio_root, self.given_classes, self.columns)
        if isinstance(self.root, HubDataset) and self.options.folds is not None:
            # Its splits are no column that could be removed.
            return replace(corpus, utterances=[replace(each, split=None) for each in corpus.utterances])
        return corpus

    @property
    def num_folds(self) -> int:
        """Number of folds that the options ask for; 1 without.

        Raises:
            UserError: The corpus cannot be divided like that.
        """
        if self.options.folds is None:
            return 1
        if self.options.folds == "emobox":
            return len(fold_folders(self.root if isinstance(self.root, Path) else PLANTED_ROOT))
        return count_folds([u for u in self._labelled_or_not() if u.label is not None], self.options)

    @property
    def speaker_overlap(self) -> SpeakerOverlap | None:
        """Whether voices of the test are heard in training; None before the splits are set up."""
        return None if self.splits is None else speaker_overlap(self.splits)

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the class indices; none for loose files unless given."""
        if self.given_classes is not None:
            return self.given_classes
        if self.files:
            return []
        if self.root is None or self.corpus in PLANTED_KINDS:
            return list(CLASSES)
        return NAMING_RULES[self.corpus].classes if self.corpus in NAMING_RULES else self.listing.classes

    @property
    def chosen(self) -> ChosenSplit | None:
        """The splits before files were checked, and where they come from; None before they are set up."""
        return self._chosen

    def set_up_splits(self, stage: str) -> Splits:
        """Choose the splits and check their files (once), and check that they can be used in a stage.

        Args:
            stage: ``fit``, ``validate`` or ``test``.

        Raises:
            UserError: The corpus cannot be split, a split cannot be used in this stage, or a split to be evaluated
                contains recordings that the loaded checkpoint was trained on.
        """
        if self.files:
            raise UserError("`files` are for explaining; training and testing take a corpus as `root`")
        self._stage = stage
        chosen = self._choose()
        if self.splits is None:
            self.splits = self._unopened(chosen.splits) if self.check == "lazily" else self._checked(chosen.splits)
            self._teller.split(f"split {chosen.origin}", self.splits._asdict())
            if self.splits.test:
                self._teller.overlap(speaker_overlap(self.splits), is_given=chosen.source == "manifest")
        validates = self.options.val_fraction > 0
        remarks = check_splits(chosen._replace(splits=self.splits), self.classes, stage, validates)
        refuse_trained(self.splits, self._recognised, _EVALUATED[stage])
        if stage == "test":
            remarks += describe_known(self.splits.test, self._recognised, "to test")
        self._teller.warn(remarks)
        return self.splits

    def _checked(self, splits: Splits) -> Splits:
        """Splits without files that cannot be used, and without the twins of what is evaluated."""
        usable = {utterance.id for utterance in self.usable([u for part in splits for u in part])}
        kept, twins = without_twins(Splits(*([u for u in part if u.id in usable] for part in splits)), self._checker)
        self.skipped += twins
        self._tell_skipped()
        if twins and self.on_bad_file == "raise":
            raise AudioFileError(twins[0].path, twins[0].reason)
        return kept

    def _unopened(self, splits: Splits) -> Splits:
        """Splits of which only the files without a duration were opened."""
        unknown = [utterance for part in splits for utterance in part if utterance.duration is None]
        if len(unknown) == sum(map(len, splits)):
            raise UserError(
                f"`check` is lazily, but no duration of a recording of {self.root} is known; give a manifest with the "
                'column duration (seconds), or take `check="first"`'
            )
        self._teller.say(
            "files are opened when they are trained on (`check` is lazily): it was not checked whether all of them can "
            "be used, nor whether the same recording is in two splits"
        )
        _, bad = self._checker.usable(unknown)
        if bad:
            self.leave_out(bad)
            self._tell_skipped()
        paths = {item.path for item in bad}
        return Splits(*([u for u in part if u.duration is not None or u.path not in paths] for part in splits))

    def utterances_to_explain(self, split: Literal["train", "val", "test", "all"], most: int | None) -> list[Utterance]:
        """Usable utterances of the loose files, of a split, or of the whole corpus, ``most`` at most.

        Of several parts (``shard``) the files of this one alone are checked; it may have none. Warns of utterances that
        the loaded checkpoint was trained or validated on.

        Raises:
            UserError: There is no such utterance.
        """
        if self.files:
            chosen, origin = loose_files(self.files), "loose files"
        elif split == "all":
            chosen, origin = self._labelled_or_not(), "all of the corpus"
        else:
            splits, _, how = self._choose()
            chosen, origin = (self.splits or splits)._asdict()[split], f"split {how}"
        if not chosen:
            raise UserError(
                f"{self.root}: nothing of the {split} split is there; choose another `predict_split`, or all of the "
                'corpus with `predict_split="all"`'
            )
        self._to_explain = draw_subset(chosen, most, self.options.seed)
        own = self._to_explain if self.shard is None else self.shard.of(self._to_explain)
        usable = self.usable(own) if own else []
        self._teller.split(f"to explain, {origin}", {"files" if self.files else split: usable})
        known = self._known() if self.splits else self._saved
        self._teller.warn(describe_known(usable, known.find(usable, self._checker), "to explain"))
        return usable

    @property
    def portion(self) -> Portion | None:
        """The part that is explained, once it is chosen; None where that is all."""
        if self.shard is None:
            return None
        ids = sorted(utterance.id for utterance in self._to_explain)
        return Portion(self.shard, len(ids), fingerprint(*ids))

    def all_ids(self) -> list[str]:
        """Ids of all loose files, or of the whole corpus, whatever split or part of it is asked for."""
        return [utterance.id for utterance in (loose_files(self.files) if self.files else self._labelled_or_not())]

    def all_to_explain(self) -> list[Utterance]:
        """Usable utterances of all parts, whose files are checked now."""
        return self.usable(self._to_explain)

    def training_utterances(self, most: int, label: str | None = None) -> list[Utterance]:
        """Usable utterances drawn from the training split, those of one class alone where ``label`` names it.

        Raises:
            UserError: The corpus is missing or has no training split, or nothing of this class in it.
        """
        if self.root is None and self.files and not self._saved.recordings:  # nothing was trained on a planted corpus
            raise UserError("no training recordings to compare with; give the corpus of the training as `root`")
        train = (self.splits or self._choose().splits).train
        if not train:
            raise UserError(f"{self.root}: no training recordings to compare with; give the corpus of the training")
        if label is not None:
            labels = dict.fromkeys(name for utterance in train if (name := utterance.label) is not None)
            train = [utterance for utterance in train if utterance.label == label]
            if not train:
                raise UserError(f"no training recording is labelled {label!r}; expected one of {', '.join(labels)}")
        return self.usable(draw_subset(train, most, self.options.seed))

    def state(self) -> dict[str, Any]:
        """Recordings of each split as plain types; empty before the splits are set up."""
        if self.splits and not self._state:
            self._state = {**self._known().state(), "fold": self._fold}
        return self._state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the split of a checkpoint; splits that are already set up are chosen anew.

        Raises:
            UserError: See :meth:`set_up_splits`.
        """
        saved = KnownRecordings.from_state(state)
        if self.splits and saved == self._known():
            return
        self._saved, self._saved_fold, self._chosen = saved, state.get("fold"), None
        if self.splits:
            self.splits, self._state = None, {}
            self.set_up_splits(self._stage)

    @property
    def _fold(self) -> list[str | int] | None:
        """The fold of the splits, that of the checkpoint where they are the checkpoint's."""
        return self._saved_fold if self._chosen and self._chosen.source == "checkpoint" else fold_key(self.options)

    def _known(self) -> KnownRecordings:
        """Recordings of the splits, and others that a loaded checkpoint was trained on."""
        known = KnownRecordings.of(self.splits or Splits([], [], []), self._checker, self.listing.name)
        return known.with_trained(self._saved, self._recognised.values())

    def _labelled_or_not(self) -> list[Utterance]:
        self.skipped = list(self.listing.skipped)
        classes = self.classes
        for utterance in self.listing.utterances:
            if utterance.label is not None and utterance.label not in classes:
                raise UserError(
                    f"{utterance.path}: label {utterance.label!r} is none of the classes {', '.join(classes)}; "
                    "correct the label, take a model for these labels, or explain files without labels with `files`"
                )
        return self.listing.utterances

    def _choose(self) -> ChosenSplit:
        """Split all listed utterances before their files are checked, so that a bad file moves no other."""
        if self._chosen is not None:
            return self._chosen
        utterances = self._labelled_or_not()
        labelled = [utterance for utterance in utterances if utterance.label is not None]
        self.skipped += [Skipped(u.path, "without a label, in no split") for u in utterances if u.label is None]
        if not labelled:
            raise UserError(
                f"{self.root}: no file has a label; expected a folder for each class, a known corpus or a manifest; "
                'explain files without labels with `files`, or all of the folder with `predict_split="all"`'
            )
        by_name_alone = self.check == "lazily"
        find = self._saved.find_by_name if by_name_alone else partial(self._saved.find, files=self._checker)
        self._recognised = find(labelled)
        if not self._recognised:
            self._teller.warn(self._saved.namesakes(labelled))
        self._chosen = choose_split(labelled, self.options, split_of_each(self._recognised), self._saved_fold)
        taken = {utterance.id for part in self._chosen.splits for utterance in part}
        for utterance in labelled:
            if utterance.id not in taken:
                twin = self._recognised.get(utterance.id)
                reason = f"in no split; the corpus is split {self._chosen.origin}"
                self.skipped.append(
                    Skipped(utterance.path, reason if twin is None else same_sound(twin.id, twin.split))
                )
        return self._chosen

    def usable(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Check files; those that cannot be used are listed in ``skipped.csv``.

        Raises:
            AudioFileError: No file can be used, or ``on_bad_file`` is ``raise`` and a file was left out.
        """
        usable, problems = self._checker.usable(utterances)
        self.skipped = list(dict.fromkeys([*self.skipped, *problems]))
        self._teller.silent([utterance.path for utterance in usable if self._facts(utterance).is_silent])
        tells_all = not usable and len(self.skipped) == 1  # the error below
        if not tells_all:
            self._tell_skipped()
        if self.skipped and (self.on_bad_file == "raise" or not usable):
            worst, others = (problems or self.skipped)[0], len(utterances) - 1
            hint = f" (and none of the other {others} files can be used{self._hint()})" if others and not usable else ""
            raise AudioFileError(worst.path, worst.reason + hint)
        return usable

    def leave_out(self, skipped: Sequence[Skipped]) -> None:
        """Note files that turned out to be bad when they were decoded (``check`` is ``lazily``).

        Raises:
            AudioFileError: There is one, and ``on_bad_file`` is ``raise``.
        """
        known = set(self.skipped)
        self.skipped += [item for item in skipped if item not in known]
        if self.on_bad_file == "raise":
            raise AudioFileError(skipped[0].path, skipped[0].reason)

    def tell_left_out(self, none_of: Sequence[Skipped] = ()) -> None:
        """List and tell the files that were left out; each process those that it has met.

        Args:
            none_of: All that were tried, where none can be used.

        Raises:
            AudioFileError: None can be used.
        """
        self._tell_skipped(by_all=True)
        if none_of:
            others = counted(len(none_of) - 1, "other file")
            raise AudioFileError(
                none_of[0].path, f"{none_of[0].reason} (and none of {others} that were tried can be used{self._hint()})"
            )

    def _tell_skipped(self, by_all: bool = False) -> None:
        self._teller.skipped(
            self.skipped,
            {
                NEEDS_MEDIA: "",
                NO_FILE: self._searched(),
                SAME_SOUND: " another that is evaluated, so that it would be on both sides",
            },
            by_all,
        )

    def seconds(self, utterance: Utterance) -> float:
        """Length of a usable utterance; where its file was not opened, as the manifest has it."""
        if self.check == "lazily" and utterance.duration is not None and self._checker.facts(utterance) is None:
            return utterance.duration
        return self._facts(utterance).seconds

    def digest(self, utterance: Utterance) -> str:
        """Digest of the samples of a usable utterance, whatever its file is called."""
        return self._facts(utterance).digest

    def _facts(self, utterance: Utterance) -> AudioFacts:
        facts = self._checker.facts(utterance)
        if facts is None:
            raise KeyError(f"{utterance.id} has not been checked, or cannot be used")
        return facts

    def _hint(self) -> str:
        return "; `audio_root` says where relative paths start" if self._is_manifest() else ""

    def _searched(self) -> str:
        """Where files were looked for that are not there."""
        if not self._is_manifest() or not isinstance(self.root, Path):
            return ""
        if self.audio_root is not None:
            return f" at their paths below {self.audio_root}, and no other of their name; correct `audio_root`"
        return f" at their paths from {self.root.parent if self.root.is_file() else self.root} on{self._hint()}"

    def _is_manifest(self) -> bool:
        return not self.files and isinstance(self.root, Path) and self.listing.name == "manifest"


def _refuse_for_dataset(corpus: CorpusName, audio_root: Path | None, options: SplitOptions | None) -> None:
    """Raise a UserError for what a dataset of the hub has no use for."""
    if corpus not in ("auto", "manifest"):
        raise UserError(
            f"`corpus` is {corpus}, but a dataset has its labels in a column; take manifest, or leave it out"
        )
    if audio_root is not None:
        raise UserError("`audio_root` is for the paths of a manifest; a dataset has its recordings itself")
    if options is not None and options.folds == "emobox":
        raise UserError("`folds` is emobox, which is for EmoBox's fold files; take a number of folds, or speaker")
