"""The Lightning face of the data room."""

import csv
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.data.audio import AudioFileError, check_audio, load_audio
from speechshap.data.batching import LengthBatchSampler
from speechshap.data.corpora import NAMING_RULES, Corpus, CorpusName, loose_files, read_corpus
from speechshap.data.dataset import Batch, Transform, UtteranceDataset
from speechshap.data.planted import EMOTIONS, make_planted_corpus
from speechshap.data.splits import SplitBy, Splits, check_splits, draw_subset, split_by_speaker, split_by_utterance
from speechshap.data.utterance import Skipped, Utterance
from speechshap.errors import UserError, require_at_least
from speechshap.files import whole_file

logger = logging.getLogger(__name__)

PLANTED_ROOT = Path("data/planted")

CORPUS_OPTIONS = ("root", "corpus", "audio_root", "val_speakers", "test_speakers")
"""Options that speak of one corpus; a checkpoint keeps them, and another ``root`` leaves them behind."""

SPLIT_OPTIONS = ("split_by", "val_fraction", "test_fraction", "split_seed")
"""Options that hold for any corpus; a checkpoint keeps them too."""


class AudioDataModule(pl.LightningDataModule):
    """Batches of emotional speech from a corpus on disk, or from loose files.

    Every file is decoded once before the first batch, so that splits and class counts hold for what can be used, and
    a bad file is known before an hour of training and not after it.

    Args:
        root: Folder of the corpus, or a manifest (``.csv``, ``.jsonl``). Left out, the planted-evidence corpus,
            which is made in ``data/planted`` once.
        corpus: Whose rule tells emotion and speaker; ``auto`` recognises it.
        files: Sound files to explain, without labels; they take the place of ``root``.
        audio_root: Folder that relative paths of a manifest start from; the manifest's own unless given.
        classes: Labels in the order of the class indices; the corpus' own unless given.
        split_by: Whether a speaker (so that no voice is in two splits) or an utterance goes to a split as a whole.
        val_fraction: Share for validation, of the speakers or of the utterances of each class.
        test_fraction: Share for test.
        split_seed: Decides which ones.
        val_speakers: Speakers for validation, instead of drawing them.
        test_speakers: Speakers for test, instead of drawing them.
        predict_split: What is explained: a split, or all of the corpus.
        max_samples: Take at most so many utterances of a split, drawn by ``split_seed``; the splits stay as they are.
        batch_size: Utterances a batch, at most. They are of like length, so that there is little padding.
        batch_seconds: Longest utterance of a batch times their number, at most.
        num_workers: Processes that decode beside the training process; 0 decodes within it.
        transform: Augmentation of the training waveforms, ``(time,)`` to ``(time,)``.
        on_bad_file: ``skip`` leaves out a file that cannot be used and lists it in ``skipped.csv``; ``raise`` ends
            the run.

    Raises:
        UserError: On set-up, where the corpus cannot be used as asked; the message names the option.

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
        val_speakers: list[str] | None = None,
        test_speakers: list[str] | None = None,
        predict_split: Literal["train", "val", "test", "all"] = "test",
        max_samples: int | None = None,
        batch_size: int = 16,
        batch_seconds: float = 120.0,
        num_workers: int = 0,
        transform: Transform | None = None,
        on_bad_file: Literal["skip", "raise"] = "skip",
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser() if root else None
        self.corpus: CorpusName = corpus
        self.files = [Path(file).expanduser() for file in files or []]
        self.audio_root = Path(audio_root).expanduser() if audio_root else None
        self.given_classes = classes
        self.split_by = split_by
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.val_speakers = val_speakers or []
        self.test_speakers = test_speakers or []
        self.predict_split = predict_split
        self.max_samples = max_samples
        self.batch_size = batch_size
        self.batch_seconds = batch_seconds
        self.num_workers = num_workers
        self.transform = transform
        self.on_bad_file = on_bad_file
        self._check_options()
        self.skipped: list[Skipped] = []
        self.splits: Splits | None = None
        self.predict_utterances: list[Utterance] = []
        self._saved_split: dict[str, list[str]] = {}
        self._usable_ids: set[str] = set()
        self._seconds: dict[str, float] = {}
        self.save_hyperparameters(*CORPUS_OPTIONS, *SPLIT_OPTIONS, logger=False)

    def _check_options(self) -> None:
        for option, fraction in (("val_fraction", self.val_fraction), ("test_fraction", self.test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"--data.{option} is {fraction}; expected a share between 0 and 1")
        require_at_least(1, data__batch_size=self.batch_size, data__max_samples=self.max_samples)
        require_at_least(0, data__num_workers=self.num_workers)
        if not self.batch_seconds > 0:
            raise UserError(f"--data.batch_seconds is {self.batch_seconds}; expected a time above 0")
        if self.root is None and not self.files and self.corpus not in ("auto", "planted"):
            raise UserError(f"--data.root is missing; give the folder (or the manifest) of the {self.corpus} corpus")

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
        if stage != "predict":
            self._set_up_splits()
            return
        if self.files:
            chosen = loose_files(self.files)
        elif self.predict_split == "all":
            chosen = self._labelled_or_not()
        else:
            chosen = (self.splits or self._split())._asdict()[self.predict_split]
        if not chosen:
            raise UserError(
                f"{self.root}: nothing of the {self.predict_split} split is there; choose another with "
                "--data.predict_split, or all of the corpus with --data.predict_split all"
            )
        self.predict_utterances = self._usable(draw_subset(chosen, self.max_samples, self.split_seed))

    def _set_up_splits(self) -> None:
        if self.files:
            raise UserError("--data.files are for explaining; train and test take a corpus with --data.root")
        if self.splits is not None:
            return
        splits = self._split()
        usable = self._usable([utterance for part in splits for utterance in part])
        self._usable_ids = {utterance.id for utterance in usable}
        self.splits = self._only_usable(splits)
        check_splits(self.splits, self.classes)
        self._report_splits(self.splits)

    def state_dict(self) -> dict[str, list[str]]:
        """Ids of the utterances of each split: a checkpoint knows what it was trained on."""
        return {name: [u.id for u in part] for name, part in self.splits._asdict().items()} if self.splits else {}

    def load_state_dict(self, state_dict: dict[str, list[str]]) -> None:
        """Take the split of a checkpoint, so that nothing that it was trained on is tested."""
        self._saved_split = state_dict
        if self.splits is not None and self.state_dict() != state_dict:
            self.splits = self._only_usable(self._split())
            self._report_splits(self.splits)

    def _labelled_or_not(self) -> list[Utterance]:
        self.skipped = list(self.listing.skipped)
        for utterance in self.listing.utterances:
            if utterance.label is not None and utterance.label not in self.classes:
                raise UserError(
                    f"{utterance.path}: label {utterance.label!r} is none of the classes {', '.join(self.classes)}; "
                    "correct the label, take a model for these labels, or explain files without labels (--data.files)"
                )
        return self.listing.utterances

    def _split(self) -> Splits:
        """Split what the corpus lists, whether its files turn out usable or not: a bad file moves no other."""
        utterances = self._labelled_or_not()
        labelled = [utterance for utterance in utterances if utterance.label is not None]
        self.skipped += [Skipped(u.path, "without a label, in no split") for u in utterances if u.label is None]
        if not labelled:
            raise UserError(
                f"{self.root}: no file has a label; expected a folder for each class, a known corpus or a manifest; "
                "explain files without labels with --data.files, or all of the folder with --data.predict_split all"
            )
        if self._is_in_saved_split(labelled):
            return self._split_as_saved(labelled)
        if self.split_by == "speaker":
            speakers = (self.val_speakers, self.test_speakers)
            return split_by_speaker(labelled, self.val_fraction, self.test_fraction, self.split_seed, *speakers)
        return split_by_utterance(labelled, self.val_fraction, self.test_fraction, self.split_seed)

    def _is_in_saved_split(self, utterances: Iterable[Utterance]) -> bool:
        """Whether the checkpoint's split speaks of this corpus, and not of another."""
        saved = {id_ for ids in self._saved_split.values() for id_ in ids}
        return any(utterance.id in saved for utterance in utterances)

    def _split_as_saved(self, labelled: list[Utterance]) -> Splits:
        part_of = {id_: name for name, ids in self._saved_split.items() for id_ in ids}
        splits = Splits([], [], [])
        for utterance in labelled:
            if utterance.id in part_of:
                splits._asdict()[part_of[utterance.id]].append(utterance)
            else:
                self.skipped.append(Skipped(utterance.path, "not in the split that the checkpoint was trained with"))
        return splits

    def _only_usable(self, splits: Splits) -> Splits:
        return Splits(*([utterance for utterance in part if utterance.id in self._usable_ids] for part in splits))

    def _usable(self, utterances: list[Utterance]) -> list[Utterance]:
        """Decode all files once, set aside those that cannot be used, and say so."""
        from tqdm.auto import tqdm

        def problem(utterance: Utterance) -> Skipped | None:
            try:
                self._seconds[utterance.id] = check_audio(utterance.path)
            except AudioFileError as error:
                return Skipped(error.path, error.reason)
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = tqdm(
                pool.map(problem, utterances),
                total=len(utterances),
                desc="checking files",
                unit="file",
                delay=1,
                disable=self.trainer is not None and self.trainer.global_rank != 0,
                leave=False,
            )
            problems = list(found)
        usable = [utterance for utterance, problem in zip(utterances, problems, strict=True) if problem is None]
        self.skipped += [problem for problem in problems if problem is not None]
        if self.skipped:
            # Asking for the folder is a collective call, so that every rank has to.
            self._report_skipped(Path(self.trainer.log_dir or "") if self.trainer else Path())
        if self.skipped and (self.on_bad_file == "raise" or not usable):
            worst = next((problem for problem in problems if problem is not None), self.skipped[0])
            raise AudioFileError(worst.path, worst.reason + self._hint(len(usable), len(utterances)))
        return usable

    def _hint(self, num_usable: int, num_files: int) -> str:
        if num_usable or num_files < 2:
            return ""
        in_manifest = not self.files and self.listing.name == "manifest"
        relative = "; --data.audio_root says where relative paths start" if in_manifest else ""
        return f" (and none of the other {num_files - 1} files can be used{relative})"

    @rank_zero_only
    def _report_splits(self, splits: Splits) -> None:
        saved = self._is_in_saved_split(utterance for part in splits for utterance in part)
        how = "as the checkpoint was trained with" if saved else f"by {self.split_by} (--data.split_by)"
        logger.info("split %s, seed %d", how, self.split_seed)
        for name, part in splits._asdict().items():
            speakers = sorted({utterance.speaker for utterance in part if utterance.speaker is not None})
            logger.info("  %-5s %4d utterances of %d speakers: %s", name, len(part), len(speakers), " ".join(speakers))

    @rank_zero_only
    def _report_skipped(self, folder: Path) -> None:
        """Add to ``skipped.csv``: training and explaining share the folder of a run."""
        path = folder / "skipped.csv"
        known: dict[str, str] = {}
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                known = {row["path"]: row["reason"] for row in csv.DictReader(file)}
        known.update({str(item.path): item.reason for item in self.skipped})
        with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["path", "reason"], *known.items()])
        logger.warning("%d file(s) left out, listed with the reason in %s", len(self.skipped), path)

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
                f"--trainer.devices asks for {processes} processes, but there are {len(self.predict_utterances)} "
                "utterances to explain; take as many at most"
            )
        return self._loader(self.predict_utterances, "explain")

    def reference_set(self, count: int) -> Tensor:
        """At most ``count`` training utterances ``(references, time)``, drawn by ``split_seed``, to compare with.

        They come from the corpus at ``root``, also where loose files are explained. A clip shorter than the longest
        one goes on from its start again, so that no reference ends in artificial silence.

        Raises:
            UserError: The corpus is not there.
        """
        train = (self.splits or self._split()).train
        chosen = self._usable(draw_subset(train, count, self.split_seed))
        waveforms = [torch.from_numpy(load_audio(utterance.path)) for utterance in chosen]
        longest = max(len(waveform) for waveform in waveforms)
        return torch.stack([waveform[torch.arange(longest) % len(waveform)] for waveform in waveforms])

    def predict_sample(self, count: int) -> list[Tensor]:
        """Waveforms ``(time,)`` of at most ``count`` utterances to explain, drawn by ``split_seed``."""
        chosen = draw_subset(self.predict_utterances, count, self.split_seed)
        return [torch.from_numpy(load_audio(utterance.path)) for utterance in chosen]

    def _part(self, name: Literal["train", "val", "test"]) -> list[Utterance]:
        if self.splits is None:
            raise RuntimeError("setup has to be called before the batches are asked for")
        return draw_subset(self.splits._asdict()[name], self.max_samples, self.split_seed)

    def _loader(self, utterances: list[Utterance], use: Literal["train", "evaluate", "explain"]) -> DataLoader[Batch]:
        sampler = LengthBatchSampler(
            [self._seconds[utterance.id] for utterance in utterances],
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
