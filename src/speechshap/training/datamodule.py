"""LightningDataModule for emotional-speech corpora."""

import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap.data.audio import MIN_SAMPLES
from speechshap.data.augmentation import UNCHANGED, Augmentation
from speechshap.data.catalogue import Catalogue, Check
from speechshap.data.corpora import CorpusName
from speechshap.data.dataset import (
    Transform,
    UtteranceDataset,
    load_waveforms,
    one_after_another,
    repeated_to_longest,
)
from speechshap.data.hub import find_root
from speechshap.data.manifest_rows import Columns
from speechshap.data.overlap import SpeakerOverlap
from speechshap.data.shards import EmptyShardError, Portion, Shard
from speechshap.data.skipping import UncheckedDataset
from speechshap.data.splits import Folds, SplitBy, SplitOptions, Splits, draw_subset, listed_speakers
from speechshap.data.utterance import Skipped, SplitName, Utterance
from speechshap.data.wording import counted
from speechshap.errors import UserError, require_at_least
from speechshap.files import EXPLANATIONS
from speechshap.training.feature_dataset import StoredFeatures
from speechshap.training.feature_encoding import EncodingOptions, is_running, stored_features
from speechshap.training.loaders import BatchOptions, Use, utterance_loader
from speechshap.training.run_folder import run_folder

CORPUS_OPTIONS = (
    "root", "corpus", "audio_root", "label_column", "speaker_column", "val_speakers", "test_speakers", "folds", "fold",
)  # fmt: skip
"""Options of one corpus; a checkpoint keeps them, and they do not apply to another ``root``."""

SPLIT_OPTIONS = ("split_by", "val_fraction", "test_fraction", "split_seed")
"""Options of any corpus; a checkpoint keeps them, too."""


class AudioDataModule(pl.LightningDataModule):
    """Batches of emotional speech from a corpus on disk, or from loose files.

    Every file is decoded once before the first batch, so that splits and class counts include usable files only, and
    bad files are known before the training starts; of a corpus too large for that see ``check``.

    Args:
        root: Folder of the corpus, a manifest (``.csv``, ``.jsonl``, ``.parquet``), a folder with EmoBox's fold files,
            or a dataset: ``hf://owner/name``, ``hf://owner/name/configuration``, or ``hf://`` and the folder of one.
            The splits of a manifest or a dataset are used as they are. By default a planted-evidence corpus
            (``planted``, ``planted_band`` or ``planted_pair``), made once in ``data/`` and its name; on the command
            line that of the checkpoint, where one is given.
        corpus: Name of the corpus; ``auto`` recognises it, and without ``root`` is ``planted``.
        files: Sound files and folders of sound files to explain, without labels, instead of ``root``.
        audio_root: Folder that relative paths of a manifest start from, by default that of the manifest; files that are
            not at their path are searched for by name.
        label_column: Name of the column of a manifest or a dataset that has the labels, where it is not label.
        speaker_column: The same for the speakers, where it is not speaker.
        classes: Labels in the order of the class indices; the corpus' own unless given.
        split_by: ``speaker`` puts all utterances of a speaker into one split; ``utterance`` splits each class.
        val_fraction: Share of the speakers, or of the utterances of each class, for validation; 0 trains on all that is
            not tested, and on the validation split of a manifest, too.
        test_fraction: Share of the speakers, or of the utterances of each class, for test.
        split_seed: Seed of the draw of the splits, and of ``max_utterances`` of each.
        val_speakers: Speakers for validation, instead of drawing them: a list or a comma-separated string. A number
            refers to the speaker whose name ends in it.
        test_speakers: Speakers for test, instead of drawing them.
        folds: Divide the corpus into folds, one of which is tested: a number deals out the speakers (with
            ``split_by`` utterance the utterances), so that each fold has about as many utterances of each class;
            ``speaker`` or ``session`` tests one of these at a time; ``emobox`` takes the folders ``fold_1``,
            ``fold_2``, … of EmoBox in ``root``. Validation is drawn from the rest.
        fold: The fold that is tested, from 1 on.
        predict_split: Split to explain, or ``all`` of the corpus.
        shard: Part of the utterances to explain, such as 3/64: the third of 64 parts, which as many processes explain
            into one folder (job arrays); each is in one part, whatever the batches. The process that ends last writes
            what is shown of all of them, and ``speechshap report`` does so at any time.
        max_utterances: Use at most this many utterances of each split, drawn by ``split_seed``; the splits do not
            change.
        batch_size: Largest number of utterances in a batch. They have similar lengths, so that there is little padding.
        batch_seconds: Largest length of a padded batch (longest utterance times number of utterances).
        num_workers: Number of processes that decode files; 0 decodes in the training process.
        cache: Where features are kept that a frozen backbone gives, so that it hears each recording once: ``auto``
            (the folder speechshap/features of the user's cache), another folder, or ``off``. They are kept where the
            head alone is trained, on recordings as they are; a head is then trained to the same weights in far less
            time.
        cache_gigabytes: Largest size of that folder; a run that would exceed it goes without.
        augment: Random changes of the training recordings, and of no others. They belong to the recording and the
            epoch, whatever the number of processes and the order of the batches.
        transform: Further augmentation, before that: any function of waveforms, ``(time,)`` to ``(time,)``.
        on_bad_file: ``skip`` leaves out files that cannot be used and lists them in ``skipped.csv``; ``raise`` ends the
            run.
        check: ``first`` decodes every file before the first batch. ``lazily`` opens each file when it is trained on or
            tested, for which a manifest has to have a column ``duration`` (seconds); one that cannot be used, or is of
            another duration, is left out of its batch and listed. The same recording in two splits is then not found,
            and features are not cached. What is to be explained is checked first all the same.
        max_samples: Former name of ``max_utterances`` (deprecated).

    Raises:
        UserError: An option is out of range; or, in ``setup`` and ``load_state_dict``, the corpus cannot be used as
            asked, or a checkpoint would be tested on recordings that it was trained on.

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
        label_column: str | None = None,
        speaker_column: str | None = None,
        classes: list[str] | None = None,
        split_by: SplitBy = "speaker",
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        val_speakers: list[str | int] | str | None = None,
        test_speakers: list[str | int] | str | None = None,
        folds: Folds | None = None,
        fold: int | None = None,
        predict_split: Literal["train", "val", "test", "all"] = "test",
        shard: str | None = None,
        max_utterances: int | None = None,
        batch_size: int = 16,
        batch_seconds: float = 120.0,
        num_workers: int = 0,
        cache: str | bool = "auto",  # YAML reads off as false
        cache_gigabytes: float = 20.0,
        augment: Augmentation = UNCHANGED,
        transform: Transform | None = None,
        on_bad_file: Literal["skip", "raise"] = "skip",
        check: Check = "first",
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
        if cache is True or cache == "":
            raise UserError(f"`cache` is {cache!r}; expected auto, off or a folder")
        if not cache_gigabytes > 0:
            raise UserError(f"`cache_gigabytes` is {cache_gigabytes}; expected a size above 0")
        self.catalogue = Catalogue(
            find_root(root) if root else None,
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
                folds,
                fold,
            ),
            on_bad_file,
            check,
            Columns(label_column, speaker_column),
            None if shard is None else Shard.parse(shard),
        )
        self.predict_split = predict_split
        self.batch_size = batch_size
        self.batch_seconds = batch_seconds
        self.num_workers = num_workers
        self.cache = "off" if cache is False else str(cache)
        self.cache_gigabytes = cache_gigabytes
        self.augment = augment
        self.transform = transform
        self.split_seed = split_seed
        self.predict_utterances: list[Utterance] = []
        self._stored: list[StoredFeatures | None] = []  # none or one: of the stage, once they were asked for
        self.save_hyperparameters(*CORPUS_OPTIONS, *SPLIT_OPTIONS, logger=False)

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the class indices; none for loose files unless given."""
        return self.catalogue.classes

    @property
    def splits(self) -> Splits | None:
        """The usable utterances of each split, or None before ``setup``."""
        return self.catalogue.splits

    @property
    def num_folds(self) -> int:
        """Number of folds that ``folds`` makes of the corpus; 1 without."""
        return self.catalogue.num_folds

    @property
    def speaker_overlap(self) -> SpeakerOverlap | None:
        """Whether voices of the test are heard in training; None before ``setup``."""
        return self.catalogue.speaker_overlap

    @property
    def skipped(self) -> list[Skipped]:
        """Files that were left out, with the reason."""
        return self.catalogue.skipped

    @property
    def portion(self) -> Portion | None:
        """The part of the utterances that is explained; None for all of them."""
        return self.catalogue.portion

    def prepare_data(self) -> None:
        """Make a planted-evidence corpus if it is asked for and missing."""
        if not self.catalogue.files:
            _ = self.catalogue.listing

    def setup(self, stage: str) -> None:
        """Choose the utterances of a stage and check their files; later stages keep the splits of the first."""
        self._stored = []
        if stage == "fit":
            self.augment.check()
        if self.trainer is not None:
            # The folder is broadcast, so that every rank has to ask for it.
            folder = run_folder(self.trainer)
            if folder is not None and stage == "predict":
                folder /= EXPLANATIONS  # what training left out has a list of its own
            self.catalogue.report_to(folder, quiet=self.trainer.global_rank != 0)
        if stage == "predict":
            self.predict_utterances = self.catalogue.utterances_to_explain(self.predict_split, self.max_utterances)
        elif self.catalogue.shard is not None:
            raise UserError("`shard` is a part of the utterances to explain; leave it out to train or test")
        else:
            self.catalogue.set_up_splits(TrainerFn(stage).value)  # whose own name is that of an enumeration

    def refuse_longer_than(self, seconds: float) -> None:
        """Raise a UserError that names an utterance of a split which lasts longer."""
        for utterance in (each for part in self.splits or () for each in part):
            if (length := self.catalogue.seconds(utterance)) > seconds:
                raise UserError(
                    f"{utterance.id} lasts {length:.6g} s, and the model hears {seconds:g} s at most with this "
                    "`padding`; take masked, where longer ones are heard window by window"
                )

    def state_dict(self) -> dict[str, Any]:
        """Recordings of each split (names, speakers, digests), to be recognised wherever they are stored."""
        return self.catalogue.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the split of a checkpoint, so that it is not tested on what it was trained on.

        Raises:
            UserError: A split to be evaluated contains recordings that the checkpoint was trained on.
        """
        self.catalogue.load_state(state_dict)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training batches; of waveforms, or of features that are kept."""
        return self._loader(self._part("train"), "train")

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Validation batches; no loader where there is no validation split."""
        part = self._part("val")
        return self._loader(part, "evaluate") if part else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Test batches."""
        return self._loader(self._part("test"), "evaluate")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches to explain.

        Raises:
            EmptyShardError: There are fewer utterances than parts, and this part has none.
        """
        if not self.predict_utterances and self.portion is not None:
            there = counted(self.portion.num_utterances, "utterance")
            raise EmptyShardError(
                f"`shard` {self.portion.shard} has no utterance: there are {there}; nothing is to be done"
            )
        return self._loader(self.predict_utterances, "explain")

    def reference_set(self, count: int, label: str | None = None) -> Tensor:
        """At most ``count`` training utterances as references ``(references, time)``, drawn by ``split_seed``.

        They come from the corpus at ``root``, even if loose files are explained. Clips shorter than the longest one are
        repeated, so that no reference ends in artificial silence.

        Args:
            count: How many there are at most.
            label: Class that they are of; None for all classes.

        Raises:
            UserError: The corpus is missing or has no training split, or nothing of this class in it.
        """
        return repeated_to_longest(load_waveforms(self.catalogue.training_utterances(count, label)))

    def calibration_waveforms(self, count: int) -> list[Tensor]:
        """Waveforms ``(time,)`` of at most ``count`` utterances to explain, drawn by ``split_seed``."""
        # Those of all parts, which learn the same.
        utterances = self.predict_utterances if self.catalogue.shard is None else self.catalogue.all_to_explain()
        return load_waveforms(draw_subset(utterances, count, self.split_seed))

    @property
    def _batch_options(self) -> BatchOptions:
        return BatchOptions(self.batch_size, self.batch_seconds, self.num_workers)

    def _part(self, name: SplitName) -> list[Utterance]:
        if self.splits is None:
            raise RuntimeError("setup has to be called before the batches are asked for")
        return draw_subset(self.splits._asdict()[name], self.max_utterances, self.split_seed)

    def _loader(self, utterances: list[Utterance], use: Use) -> DataLoader[Any]:
        processes = self.trainer.world_size if self.trainer else 1
        if use != "train" and len(utterances) < processes:
            there = counted(len(utterances), "utterance")
            raise UserError(f"`devices` asks for {processes} processes to {use} {there}; take as many at most")
        kind = UncheckedDataset if self.catalogue.check == "lazily" and use != "explain" else UtteranceDataset
        return utterance_loader(
            kind(
                utterances,
                self.classes,
                self._training_transform if use == "train" else None,
                seed=int(os.getenv("PL_GLOBAL_SEED", "0")),  # of seed_everything, as for the order of the batches
            ),
            [self.catalogue.seconds(utterance) for utterance in utterances],
            self._batch_options,
            use,
            None if use == "explain" else self._stored_features(),
            self.catalogue,
        )

    @property
    def _training_transform(self) -> Transform | None:
        """All that training waveforms go through."""
        module = getattr(self.trainer, "lightning_module", None)
        augment: Transform | None = None
        if self.augment.asked:
            shortest, longest = getattr(module, "shortest", MIN_SAMPLES), getattr(module, "longest", None)
            augment = partial(self.augment, shortest=shortest, longest=longest)
        return one_after_another(self.transform, augment)

    def _stored_features(self) -> StoredFeatures | None:
        """Features of all that the stage hears; None where waveforms go through the model."""
        trainer = self.trainer
        if self.cache == "off" or trainer is None or not is_running(trainer):
            return None
        if not self._stored:
            parts: dict[TrainerFn | None, tuple[SplitName, ...]] = {
                TrainerFn.VALIDATING: ("val",),
                TrainerFn.TESTING: ("test",),
            }
            # The test comes after the training, and a recording is for test in one fold and trained on in another.
            names = parts.get(trainer.state.fn, ("train", "val", "test"))
            options = EncodingOptions(self.cache, self.cache_gigabytes, self._batch_options)
            utterances = [utterance for name in names for utterance in self._part(name)]
            self._stored = [stored_features(trainer, self.catalogue, utterances, options)]
        return self._stored[0]
