"""LightningDataModule for emotional-speech corpora."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.data.audio import AudioFacts, AudioFileError, load_audio
from speechshap.data.batching import LengthBatchSampler
from speechshap.data.checking import add_to_list, inspect_files
from speechshap.data.corpora import NAMING_RULES, Corpus, CorpusName, loose_files, read_corpus
from speechshap.data.dataset import Batch, Transform, UtteranceDataset
from speechshap.data.planted import EMOTIONS, make_planted_corpus
from speechshap.data.recognition import KnownRecordings, Recording, describe_known, refuse_trained
from speechshap.data.splits import (
    ChosenSplit,
    SplitBy,
    SplitOptions,
    Splits,
    check_splits,
    choose_split,
    describe,
    draw_subset,
    name_some,
)
from speechshap.data.utterance import Skipped, SplitName, Utterance
from speechshap.errors import UserError, require_at_least

logger = logging.getLogger(__name__)

PLANTED_ROOT = Path("data/planted")

CORPUS_OPTIONS = ("root", "corpus", "audio_root", "val_speakers", "test_speakers")
"""Options that speak of one corpus; a checkpoint keeps them, and another ``root`` leaves them behind."""

SPLIT_OPTIONS = ("split_by", "val_fraction", "test_fraction", "split_seed")
"""Options that hold for any corpus; a checkpoint keeps them too."""

_EVALUATED: dict[str, tuple[SplitName, ...]] = {"fit": ("val", "test"), "validate": ("val",), "test": ("test",)}
"""Splits that a stage evaluates the model on, sooner or later."""


class AudioDataModule(pl.LightningDataModule):
    """Batches of emotional speech from a corpus on disk, or from loose files.

    Every file is decoded once before the first batch, so that splits and class counts hold for what can be used, and
    a bad file is known before an hour of training and not after it.

    Args:
        root: Folder of the corpus, a manifest (``.csv``, ``.jsonl``), or a folder of EmoBox's fold files. Left out, the
            planted-evidence corpus, which is made in ``data/planted`` once. A split that a manifest has is kept.
        corpus: Whose rule tells emotion and speaker; ``auto`` recognises it.
        files: Sound files to explain, without labels, and folders of them; they take the place of ``root``.
        audio_root: Folder that relative paths of a manifest start from, the manifest's own unless given; what is not
            at its path there is found by its name.
        classes: Labels in the order of the class indices; the corpus' own unless given.
        split_by: Whether a speaker (so that no voice is in two splits) or an utterance goes to a split as a whole.
        val_fraction: Share for validation, of the speakers or of the utterances of each class.
        test_fraction: Share for test.
        split_seed: Decides which ones.
        val_speakers: Speakers for validation, instead of drawing them: a list, or names with commas between. A number
            is the speaker whose name ends in it.
        test_speakers: Speakers for test, instead of drawing them.
        predict_split: What is explained: a split, or all of the corpus.
        max_utterances: Take at most so many utterances of a split, drawn by ``split_seed``; the splits stay as they
            are.
        batch_size: Utterances a batch, at most. They are of like length, so that there is little padding.
        batch_seconds: Longest utterance of a batch times their number, at most.
        num_workers: Processes that decode beside the training process; 0 decodes within it.
        transform: Augmentation of the training waveforms, ``(time,)`` to ``(time,)``.
        on_bad_file: ``skip`` leaves out a file that cannot be used and lists it in ``skipped.csv``; ``raise`` ends
            the run.
        max_samples: Former name of ``max_utterances``.

    Raises:
        UserError: On set-up, where the corpus cannot be used as asked, or where a checkpoint would be tested on what it
            was trained on.

    Example:
        >>> AudioDataModule(corpus="ravdess", root="RAVDESS", batch_size=8).batch_size
        8
    """

    def __init__(
        self,
        root: str | None = None,
        corpus: CorpusName = "auto",
        files: list[str] | None = None,
        audio_root: str | None = None,
        classes: list[str] | None = None,
        split_by: SplitBy = "speaker",
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        val_speakers: list[str | int] | str | None = None,
        test_speakers: list[str | int] | str | None = None,
        predict_split: Literal["train", "val", "test", "all"] = "test",
        max_utterances: int | None = None,
        batch_size: int = 16,
        batch_seconds: float = 120.0,
        num_workers: int = 0,
        transform: Transform | None = None,
        on_bad_file: Literal["skip", "raise"] = "skip",
        max_samples: int | None = None,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser() if root else None
        self.corpus: CorpusName = corpus
        self.files = [Path(file).expanduser() for file in files or []]
        self.audio_root = Path(audio_root).expanduser() if audio_root else None
        self.given_classes = classes
        self.split_options = SplitOptions(
            split_by, val_fraction, test_fraction, split_seed, _listed(val_speakers), _listed(test_speakers)
        )
        self.predict_split = predict_split
        if max_samples is not None and max_utterances is not None:
            raise UserError("`max_samples` is the former name of `max_utterances`; give one of them")
        self.max_utterances = max_samples if max_utterances is None else max_utterances
        self.batch_size = batch_size
        self.batch_seconds = batch_seconds
        self.num_workers = num_workers
        self.transform = transform
        self.on_bad_file = on_bad_file
        self._check_options()
        self.skipped: list[Skipped] = []
        self.splits: Splits | None = None
        self.predict_utterances: list[Utterance] = []
        self._chosen: ChosenSplit | None = None
        self._saved = KnownRecordings()
        self._recognised: dict[str, Recording] = {}
        self._files: dict[Path, AudioFacts | Skipped] = {}
        self.save_hyperparameters(*CORPUS_OPTIONS, *SPLIT_OPTIONS, logger=False)

    def _check_options(self) -> None:
        options = self.split_options
        for name, fraction in (("val_fraction", options.val_fraction), ("test_fraction", options.test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"`{name}` is {fraction}; expected a share between 0 and 1")
        require_at_least(1, batch_size=self.batch_size, max_utterances=self.max_utterances)
        require_at_least(0, num_workers=self.num_workers)
        if not self.batch_seconds > 0:
            raise UserError(f"`batch_seconds` is {self.batch_seconds}; expected a time above 0")
        if self.root is None and not self.files and self.corpus not in ("auto", "planted"):
            raise UserError(f"`root` is missing; give the folder (or the manifest) of the {self.corpus} corpus")

    @cached_property
    def listing(self) -> Corpus:
        """What the corpus holds by its names; no sound is read for it."""
        if self.root is None:
            if not PLANTED_ROOT.exists():
                make_planted_corpus(PLANTED_ROOT)
            return read_corpus(PLANTED_ROOT, "planted")
        return read_corpus(self.root, self.corpus, self.audio_root)

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the class indices; none for loose files unless given."""
        if self.given_classes is not None:
            return self.given_classes
        if self.files:
            return []
        if self.root is None or self.corpus == "planted":
            return list(EMOTIONS)
        return NAMING_RULES[self.corpus].classes if self.corpus in NAMING_RULES else self.listing.classes

    def prepare_data(self) -> None:
        """Make the planted-evidence corpus where it is asked for and missing."""
        if not self.files:
            _ = self.listing

    def setup(self, stage: str) -> None:
        """Choose the utterances of a stage and check their files; a second stage keeps the splits of the first."""
        self._stage = stage
        if stage == "predict":
            self._set_up_prediction()
        elif self.files:
            raise UserError("`files` are for explaining; training and testing take a corpus as `root`")
        else:
            self._set_up_splits()

    def _set_up_splits(self) -> None:
        chosen = self._choose()
        if self.splits is None:
            usable = {utterance.id for utterance in self._usable([u for part in chosen.splits for u in part])}
            self.splits = Splits(*([u for u in part if u.id in usable] for part in chosen.splits))
            self._report("split %s", chosen.origin, splits=self.splits._asdict())
        for remark in check_splits(self.splits, self.classes, self._stage, chosen.is_drawn):
            self._warn(remark)
        refuse_trained(self.splits, self._recognised, _EVALUATED[self._stage])

    def _set_up_prediction(self) -> None:
        name: str = "files" if self.files else self.predict_split
        if self.files:
            chosen, origin = loose_files(self.files), "without a split"
        elif self.predict_split == "all":
            chosen, origin = self._labelled_or_not(), "whatever its split"
        else:
            splits, origin, _ = self._choose()
            chosen = (self.splits or splits)._asdict()[self.predict_split]
        if not chosen:
            raise UserError(
                f"{self.root}: nothing of the {self.predict_split} split is there; choose another `predict_split`, or "
                'all of the corpus with `predict_split="all"`'
            )
        self.predict_utterances = self._usable(draw_subset(chosen, self.max_utterances, self.split_options.seed))
        self._report("to explain, split %s", origin, splits={name: self.predict_utterances})
        known = self._known() if self.splits else self._saved
        for remark in describe_known(self.predict_utterances, self._recognise(known, self.predict_utterances)):
            self._warn(remark)

    def state_dict(self) -> dict[str, Any]:
        """What identifies the recordings of each split: a checkpoint knows what it was trained on."""
        return self._known().state() if self.splits else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the split of a checkpoint, so that nothing that it was trained on is tested.

        Raises:
            UserError: The splits are set up already, and one to be evaluated holds what the checkpoint was trained on.
        """
        saved = KnownRecordings.from_state(state_dict)
        if self.splits and saved == self._known():
            return
        self._saved, self._chosen = saved, None
        if self.splits:
            self.splits = None
            self._set_up_splits()

    def _known(self) -> KnownRecordings:
        """Recordings of the splits, and those that a loaded checkpoint was trained on besides."""
        digests = self._digests()
        known = KnownRecordings.of(self.splits or Splits([], [], []), digests, self.listing.name)
        return known.with_trained(self._saved, self._recognised.values())

    def _recognise(self, known: KnownRecordings, utterances: Sequence[Utterance]) -> dict[str, Recording]:
        """Recordings that utterances are, by id; files are decoded only where their names do not tell it."""
        found = known.find_by_name(utterances)
        others = [utterance for utterance in utterances if utterance.id not in found]
        if others and known.have_digests:
            self._inspect(others)
            found |= known.find_by_content(others, self._digests())
        return found

    def _digests(self) -> dict[Path, str]:
        return {path: facts.digest for path, facts in self._files.items() if isinstance(facts, AudioFacts)}

    def _labelled_or_not(self) -> list[Utterance]:
        self.skipped = list(self.listing.skipped)
        for utterance in self.listing.utterances:
            if utterance.label is not None and utterance.label not in self.classes:
                raise UserError(
                    f"{utterance.path}: label {utterance.label!r} is none of the classes {', '.join(self.classes)}; "
                    "correct the label, take a model for these labels, or explain files without labels with `files`"
                )
        return self.listing.utterances

    def _choose(self) -> ChosenSplit:
        """Split what the corpus lists, whether its files turn out usable or not: a bad file moves no other."""
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
        self._recognised = self._recognise(self._saved, labelled)
        if not self._recognised and (remark := self._saved.namesakes(labelled)):
            self._warn(remark)
        part_of = {id_: recording.split for id_, recording in self._recognised.items()}
        self._chosen = choose_split(labelled, self.split_options, part_of)
        taken = {utterance.id for part in self._chosen.splits for utterance in part}
        reason = f"in no split, which is {self._chosen.origin}"
        self.skipped += [Skipped(utterance.path, reason) for utterance in labelled if utterance.id not in taken]
        return self._chosen

    def _inspect(self, utterances: Sequence[Utterance]) -> None:
        """Decode files that have not been decoded yet."""
        new = [utterance.path for utterance in utterances if utterance.path not in self._files]
        self._files |= inspect_files(new, show_progress=self.trainer is None or self.trainer.global_rank == 0)

    def _usable(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Decode all files once, set aside those that cannot be used, and say so."""
        self._inspect(utterances)
        problems = [facts for u in utterances if isinstance(facts := self._files[u.path], Skipped)]
        usable = [utterance for utterance in utterances if isinstance(self._files[utterance.path], AudioFacts)]
        self.skipped += problems
        if self.skipped:
            # Asking for the folder is a collective call, so that every rank has to.
            self._report_skipped(Path(self.trainer.log_dir or "") if self.trainer else Path())
        if self.skipped and (self.on_bad_file == "raise" or not usable):
            worst = (problems or self.skipped)[0]
            raise AudioFileError(worst.path, worst.reason + self._hint(len(usable), len(utterances)))
        return usable

    def _hint(self, num_usable: int, num_files: int) -> str:
        if num_usable or num_files < 2:
            return ""
        in_manifest = not self.files and self.listing.name == "manifest"
        relative = "; `audio_root` says where relative paths start" if in_manifest else ""
        return f" (and none of the other {num_files - 1} files can be used{relative})"

    @rank_zero_only
    def _report(self, text: str, *values: object, splits: dict[str, list[Utterance]]) -> None:
        logger.info(text, *values)
        for name, part in splits.items():
            logger.info("  %s", describe(name, part))

    @rank_zero_only
    def _warn(self, remark: str) -> None:
        logger.warning("%s", remark)

    @rank_zero_only
    def _report_skipped(self, folder: Path) -> None:
        """Add to ``skipped.csv``: training and explaining share the folder of a run."""
        path = folder / "skipped.csv"
        add_to_list(path, self.skipped)
        some = name_some([item.path.name for item in self.skipped])
        logger.warning("%d file(s) left out (%s), listed with the reason in %s", len(self.skipped), some, path)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader(self._part("train"), "train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches."""
        return self._loader(self._part("val"), "evaluate")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches."""
        return self._loader(self._part("test"), "evaluate")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches to explain.

        Raises:
            UserError: There are fewer utterances than processes.
        """
        processes = self.trainer.world_size if self.trainer else 1
        if len(self.predict_utterances) < processes:
            raise UserError(
                f"`devices` asks for {processes} processes, but there are {len(self.predict_utterances)} utterances to "
                "explain; take as many at most"
            )
        return self._loader(self.predict_utterances, "explain")

    def reference_set(self, count: int) -> Tensor:
        """At most ``count`` training utterances ``(references, time)``, drawn by ``split_seed``, to compare with.

        They come from the corpus at ``root``, also where loose files are explained. A clip shorter than the longest
        one goes on from its start again, so that no reference ends in artificial silence.

        Raises:
            UserError: The corpus is not there, or has no training split.
        """
        train = (self.splits or self._choose().splits).train
        if not train:
            raise UserError(f"{self.root}: no training recordings to compare with; give the corpus of the training")
        chosen = self._usable(draw_subset(train, count, self.split_options.seed))
        waveforms = [torch.from_numpy(load_audio(utterance.path)) for utterance in chosen]
        longest = max(len(waveform) for waveform in waveforms)
        return torch.stack([waveform[torch.arange(longest) % len(waveform)] for waveform in waveforms])

    def predict_sample(self, count: int) -> list[Tensor]:
        """Waveforms ``(time,)`` of at most ``count`` utterances to explain, drawn by ``split_seed``."""
        chosen = draw_subset(self.predict_utterances, count, self.split_options.seed)
        return [torch.from_numpy(load_audio(utterance.path)) for utterance in chosen]

    def _part(self, name: Literal["train", "val", "test"]) -> list[Utterance]:
        if self.splits is None:
            raise RuntimeError("setup has to be called before the batches are asked for")
        return draw_subset(self.splits._asdict()[name], self.max_utterances, self.split_options.seed)

    def _loader(self, utterances: list[Utterance], use: Literal["train", "evaluate", "explain"]) -> DataLoader[Batch]:
        sampler = LengthBatchSampler(
            [facts.seconds for u in utterances if isinstance(facts := self._files[u.path], AudioFacts)],
            self.batch_size,
            self.batch_seconds,
            shuffle=use == "train",
            seed=int(os.getenv("PL_GLOBAL_SEED", "0")),  # of seed_everything, the same in all processes
            repeat=use != "explain",
        )
        transform = self.transform if use == "train" else None
        return DataLoader(
            UtteranceDataset(utterances, self.classes, transform),
            batch_size=None,  # the sampler makes the batches
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def _listed(speakers: list[str | int] | str | None) -> tuple[str | int, ...]:
    """Names of a list, or of a text with commas between them.

    Example:
        >>> _listed([3, "08"]), _listed("03, 08"), _listed(None)
        ((3, '08'), ('03', '08'), ())
    """
    names = speakers.strip("[]").split(",") if isinstance(speakers, str) else speakers or []
    return tuple(name.strip() if isinstance(name, str) else name for name in names)
