"""The Lightning face of the data room."""

import csv
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from os import cpu_count
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.data.audio import AudioFileError, check_audio, load_audio
from speechshap.data.corpora import NAMING_RULES, Corpus, CorpusName, loose_files, read_corpus
from speechshap.data.dataset import Batch, Transform, UtteranceDataset, collate
from speechshap.data.planted import EMOTIONS, make_planted_corpus
from speechshap.data.splits import SplitBy, Splits, check_splits, draw_subset, split_by_speaker, split_by_utterance
from speechshap.data.utterance import Skipped, Utterance
from speechshap.errors import UserError
from speechshap.files import whole_file

logger = logging.getLogger(__name__)

PLANTED_ROOT = Path("data/planted")


class AudioDataModule(pl.LightningDataModule):
    """Batches of emotional speech from a corpus on disk, or from loose files.

    Every file is decoded once before the first batch, so that splits and class counts hold for what can be used, and
    a bad file is known before an hour of training and not after it.

    Args:
        root: Folder of the corpus, or a manifest (``.csv``, ``.jsonl``). Left out, the planted-evidence corpus is
            made in ``data/planted``, once.
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
        max_samples: Take at most so many utterances of each split, drawn by ``split_seed``.
        batch_size: Utterances a batch.
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
        num_workers: int = 0,
        transform: Transform | None = None,
        on_bad_file: Literal["skip", "raise"] = "skip",
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser() if root else PLANTED_ROOT
        self.corpus: CorpusName = corpus if root or corpus != "auto" else "planted"
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
        self.num_workers = num_workers
        self.transform = transform
        self.on_bad_file = on_bad_file
        self.skipped: list[Skipped] = []
        self.splits: Splits | None = None
        self.predict_utterances: list[Utterance] = []
        for option, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"--data.{option} is {fraction}; expected a share between 0 and 1")
        self.save_hyperparameters(ignore=["transform", "files", "max_samples", "num_workers"], logger=False)

    @cached_property
    def listing(self) -> Corpus:
        """What the corpus holds by its names; no sound is read for it."""
        if self.corpus == "planted" and not self.root.exists():
            make_planted_corpus(self.root)
        return read_corpus(self.root, self.corpus, self.audio_root)

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the class indices; none for loose files unless given."""
        if self.given_classes is not None:
            return self.given_classes
        if self.files:
            return []
        if self.corpus == "planted":
            return list(EMOTIONS)
        return NAMING_RULES[self.corpus].classes if self.corpus in NAMING_RULES else self.listing.classes

    def prepare_data(self) -> None:
        """Make the planted-evidence corpus where it is asked for and missing."""
        if not self.files:
            _ = self.listing

    def setup(self, stage: str) -> None:
        """Check every file, then split what can be used; a second stage keeps the splits of the first."""
        if self.files:
            self.predict_utterances, self.skipped = self._usable(loose_files(self.files))
        elif self.splits is None:
            self._check_labels()
            usable, bad = self._usable(self.listing.utterances)
            self.skipped = [*self.listing.skipped, *bad]
            if stage == "predict" and self.predict_split == "all":
                self.predict_utterances = draw_subset(usable, self.max_samples, self.split_seed)
            else:
                splits = self._split(usable)
                if stage != "predict":
                    check_splits(splits, self.classes)
                self.splits = Splits(*(draw_subset(part, self.max_samples, self.split_seed) for part in splits))
                self._report_splits(self.splits)
        if stage == "predict" and self.splits is not None:
            self.predict_utterances = self.splits._asdict()[self.predict_split]
        if self.skipped:
            # Asking for the folder is a collective call, so that every rank has to.
            self._report_skipped(Path(self.trainer.log_dir or "") if self.trainer else Path())

    def _check_labels(self) -> None:
        for utterance in self.listing.utterances:
            if utterance.label is not None and utterance.label not in self.classes:
                raise UserError(
                    f"{utterance.path}: label {utterance.label!r} is none of the classes {', '.join(self.classes)}; "
                    "correct the label or --data.classes, or explain files without labels with --data.files"
                )

    def _usable(self, utterances: list[Utterance]) -> tuple[list[Utterance], list[Skipped]]:
        """Decode all files once and set aside those that cannot be used."""
        from tqdm.auto import tqdm

        def problem(utterance: Utterance) -> Skipped | None:
            try:
                check_audio(utterance.path)
            except AudioFileError as error:
                return Skipped(error.path, error.reason)
            return None

        with ThreadPoolExecutor(cpu_count()) as pool:
            found = tqdm(
                pool.map(problem, utterances), total=len(utterances), desc="checking files", unit="file", delay=1,
                disable=self.trainer is not None and self.trainer.global_rank != 0, leave=False,
            )  # fmt: skip
            problems = list(found)
        bad = [problem for problem in problems if problem is not None]
        if bad and (self.on_bad_file == "raise" or len(bad) == len(utterances)):
            raise AudioFileError(bad[0].path, bad[0].reason)
        usable = [utterance for utterance, problem in zip(utterances, problems, strict=True) if problem is None]
        return usable, bad

    def _split(self, usable: list[Utterance]) -> Splits:
        labelled = [utterance for utterance in usable if utterance.label is not None]
        if unlabelled := [utterance for utterance in usable if utterance.label is None]:
            self.skipped += [
                Skipped(utterance.path, "without a label, not used in a split") for utterance in unlabelled
            ]
        if not labelled:
            raise UserError(
                f"{self.root}: no file has a label; expected a folder for each class, a known corpus or a manifest; "
                "explain files without labels with --data.files, or all of the folder with --data.predict_split all"
            )
        if self.split_by == "speaker":
            splits = split_by_speaker(
                labelled,
                self.val_fraction,
                self.test_fraction,
                self.split_seed,
                self.val_speakers,
                self.test_speakers,
            )
        else:
            splits = split_by_utterance(labelled, self.val_fraction, self.test_fraction, self.split_seed)
        return splits

    @rank_zero_only
    def _report_splits(self, splits: Splits) -> None:
        logger.info("split by %s (--data.split_by), seed %d", self.split_by, self.split_seed)
        for name, part in splits._asdict().items():
            speakers = sorted({utterance.speaker for utterance in part if utterance.speaker is not None})
            logger.info("  %-5s %4d utterances of %d speakers: %s", name, len(part), len(speakers), " ".join(speakers))

    @rank_zero_only
    def _report_skipped(self, folder: Path) -> None:
        with whole_file(folder / "skipped.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["path", "reason"], *([str(item.path), item.reason] for item in self.skipped)])
        logger.warning("%d file(s) left out, listed with the reason in %s", len(self.skipped), folder / "skipped.csv")

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader(self._part("train"), training=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches."""
        return self._loader(self._part("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches."""
        return self._loader(self._part("test"))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches to explain."""
        return self._loader(self.predict_utterances)

    def reference_waveforms(self, count: int) -> list[Tensor]:
        """Waveforms ``(time,)`` of at most ``count`` training utterances, drawn by ``split_seed``.

        They come from the corpus at ``root``, also where loose files are explained.

        Raises:
            UserError: The corpus is not there.
        """
        train = (self.splits or self._split(self.listing.utterances)).train
        waveforms = []
        for utterance in draw_subset(train, count, self.split_seed):
            with suppress(AudioFileError):  # listed in skipped.csv where the corpus itself is explained
                waveforms.append(torch.from_numpy(load_audio(utterance.path)))
        return waveforms

    def _part(self, name: Literal["train", "val", "test"]) -> list[Utterance]:
        if self.splits is None:
            raise UserError("--data.files are for explaining; train and test take a corpus with --data.root")
        return self.splits._asdict()[name]

    def _loader(self, utterances: list[Utterance], training: bool = False) -> DataLoader[Batch]:
        return DataLoader(
            UtteranceDataset(utterances, self.classes, self.transform if training else None),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            shuffle=training,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
        )
