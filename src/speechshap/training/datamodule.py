"""LightningDataModule for emotional-speech corpora."""

import os
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.data.batching import LengthBatchSampler
from speechshap.data.catalogue import Catalogue
from speechshap.data.corpora import CorpusName
from speechshap.data.dataset import Batch, Transform, UtteranceDataset, load_waveforms, repeated_to_longest
from speechshap.data.splits import SplitBy, SplitOptions, Splits, draw_subset, listed_speakers
from speechshap.data.utterance import Skipped, SplitName, Utterance
from speechshap.errors import UserError, require_at_least

CORPUS_OPTIONS = ("root", "corpus", "audio_root", "val_speakers", "test_speakers")
"""Options that speak of one corpus; a checkpoint keeps them, and another ``root`` leaves them behind."""

SPLIT_OPTIONS = ("split_by", "val_fraction", "test_fraction", "split_seed")
"""Options that hold for any corpus; a checkpoint keeps them too."""


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
        if max_samples is not None and max_utterances is not None:
            raise UserError("`max_samples` is the former name of `max_utterances`; give one of them")
        self.max_utterances = max_samples if max_utterances is None else max_utterances
        require_at_least(1, batch_size=batch_size, max_utterances=self.max_utterances)
        require_at_least(0, num_workers=num_workers)
        if not batch_seconds > 0:
            raise UserError(f"`batch_seconds` is {batch_seconds}; expected a time above 0")
        self.catalogue = Catalogue(
            Path(root).expanduser() if root else None,
            corpus,
            Path(audio_root).expanduser() if audio_root else None,
            [Path(file).expanduser() for file in files or []],
            classes,
            SplitOptions(
                split_by,
                val_fraction,
                test_fraction,
                split_seed,
                listed_speakers(val_speakers),
                listed_speakers(test_speakers),
            ),
            on_bad_file,
        )
        self.predict_split = predict_split
        self.batch_size = batch_size
        self.batch_seconds = batch_seconds
        self.num_workers = num_workers
        self.transform = transform
        self.split_seed = split_seed
        self.predict_utterances: list[Utterance] = []
        self.save_hyperparameters(*CORPUS_OPTIONS, *SPLIT_OPTIONS, logger=False)

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the class indices; none for loose files unless given."""
        return self.catalogue.classes

    @property
    def splits(self) -> Splits | None:
        """The usable utterances of each split, from the set-up on."""
        return self.catalogue.splits

    @property
    def skipped(self) -> list[Skipped]:
        """What was left out, with the reasons."""
        return self.catalogue.skipped

    def prepare_data(self) -> None:
        """Make the planted-evidence corpus where it is asked for and missing."""
        if not self.catalogue.files:
            _ = self.catalogue.listing

    def setup(self, stage: str) -> None:
        """Choose the utterances of a stage and check their files; a second stage keeps the splits of the first."""
        if self.trainer is not None:
            # Asking for the folder is a collective call, so that every rank has to.
            self.catalogue.list_folder = Path(self.trainer.log_dir or "")
            self.catalogue.quiet = self.trainer.global_rank != 0
        if stage == "predict":
            self.predict_utterances = self.catalogue.utterances_to_explain(self.predict_split, self.max_utterances)
        else:
            self.catalogue.set_up_splits(stage)

    def state_dict(self) -> dict[str, Any]:
        """What identifies the recordings of each split: a checkpoint knows what it was trained on."""
        return self.catalogue.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the split of a checkpoint, so that nothing that it was trained on is tested.

        Raises:
            UserError: A split that is set up to be evaluated holds what the checkpoint was trained on.
        """
        self.catalogue.load_state(state_dict)

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
        return repeated_to_longest(load_waveforms(self.catalogue.training_utterances(count)))

    def predict_sample(self, count: int) -> list[Tensor]:
        """Waveforms ``(time,)`` of at most ``count`` utterances to explain, drawn by ``split_seed``."""
        return load_waveforms(draw_subset(self.predict_utterances, count, self.split_seed))

    def _part(self, name: SplitName) -> list[Utterance]:
        if self.splits is None:
            raise RuntimeError("setup has to be called before the batches are asked for")
        return draw_subset(self.splits._asdict()[name], self.max_utterances, self.split_seed)

    def _loader(self, utterances: list[Utterance], use: Literal["train", "evaluate", "explain"]) -> DataLoader[Batch]:
        sampler = LengthBatchSampler(
            [self.catalogue.seconds(utterance) for utterance in utterances],
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
