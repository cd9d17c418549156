"""The pass of a frozen backbone over the recordings of a run, and what is known of it from earlier runs."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.hooks import DataHooks
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from pytorch_lightning.utilities.seed import isolate_rng
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from speechshap.data.augmentation import Augmentation
from speechshap.data.batching import LengthBatchSampler
from speechshap.data.catalogue import Catalogue
from speechshap.data.dataset import Batch, UtteranceDataset
from speechshap.data.utterance import Utterance
from speechshap.data.wording import counted, in_words
from speechshap.errors import UserError, full_disk
from speechshap.fingerprint import fingerprint
from speechshap.frames import SAMPLE_RATE
from speechshap.models.features import Features
from speechshap.models.modes import evaluation_mode
from speechshap.models.precision import has_rounded_convolutions, rounded_matmul
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.feature_cache import FeatureCache, bytes_below, default_folder
from speechshap.training.feature_dataset import StoredFeatures
from speechshap.training.loaders import BatchOptions
from speechshap.training.pooled_moments import moved_batch

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the entries. It rises whenever a backbone computes something else from the same weights, or entries change.

What differs by rounding alone, such as with another device or version of torch, is taken for the same.
"""

_STEPS = ("training_step", "validation_step", "test_step", "features_of", "logits", "forward")
_TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


@dataclass(frozen=True)
class EncodingOptions:
    """How recordings are encoded; the fields are options of :class:`speechshap.training.AudioDataModule`."""

    cache: str
    cache_gigabytes: float
    batches: BatchOptions

    @property
    def root(self) -> Path:
        """Folder of all caches."""
        return default_folder() if self.cache == "auto" else Path(self.cache).expanduser()


def stored_features(
    trainer: pl.Trainer, catalogue: Catalogue, utterances: Sequence[Utterance], options: EncodingOptions
) -> StoredFeatures | None:
    """What the frozen backbone gives for utterances: encoded now where no earlier run has done it.

    All processes of a run have to call it, and share the work.

    Args:
        trainer: In whose run the features are heard; its module is on its device.
        catalogue: Of the utterances.
        utterances: Whose features are needed.
        options: Where they are kept, and how they are encoded.

    Returns:
        None where they cannot be kept; why is logged, unless nobody asked for it.

    Raises:
        UserError: The folder that was asked for cannot be written, or what was written cannot be read back.
        OSError: The disk is full.
    """
    reason = obstacle(trainer)
    if reason is not None:
        if options.cache != "auto" or reason == _augmentation(trainer):  # which costs a pass in each epoch
            _tell(trainer, "features are not cached: %s", reason)
        return None
    encoder = _Encoder(trainer, catalogue, options)
    cache = FeatureCache(options.root, encoder.about)
    digests = {each.id: catalogue.digest(each) for each in utterances}
    by_digest = {digests[each.id]: each for each in reversed(utterances)}
    is_quiet = not trainer.is_global_zero
    there = cache.intact(list(by_digest), is_quiet)
    missing = [digest for digest in by_digest if digest not in there]
    too_large = _too_large(cache, sum(encoder.bytes_of(by_digest[digest]) for digest in missing), options)
    # The processes have looked at different moments, and divide the work as the first one sees it.
    missing, too_large = trainer.strategy.broadcast((missing, too_large))
    if missing and too_large is not None:
        _tell(trainer, "%s", too_large)
        return None
    if not trainer.strategy.reduce_boolean_decision(_opened(trainer, cache, options)):
        return None
    damaged = sum(cache.path(digest).exists() for digest in missing)
    if damaged and not is_quiet:
        logger.warning("%s of %s damaged, encoded again", counted(damaged, "entry", "entries"), cache.folder)
    encoder.encode(cache, [by_digest[digest] for digest in missing], is_shared=True)
    trainer.strategy.barrier()
    there |= cache.intact([digest for digest in by_digest if digest not in there], is_quiet)
    # On another machine the folder may be another one.
    rest = [digest for digest in by_digest if digest not in there]
    encoder.encode(cache, [by_digest[digest] for digest in rest], is_shared=False)
    there |= cache.intact(rest, is_quiet)
    if lacking := len(by_digest) - len(there):
        entries = counted(lacking, "entry", "entries")
        raise UserError(
            f'`cache`: {entries} in {cache.folder} cannot be read back; take another folder, or `cache="off"`'
        )
    features = StoredFeatures(cache, there, digests)
    _tell(
        trainer,
        "cached features of %s (%d encoded now) are taken from %s, %s; "
        '`cache="off"` runs the backbone in each epoch instead',
        counted(len(there), "recording"), len(missing), cache.folder, in_words(features.num_bytes),
    )  # fmt: skip
    return features


def obstacle(trainer: pl.Trainer) -> str | None:
    """Why the features of a run cannot be computed before it; None where they can."""
    module, data = trainer.lightning_module, getattr(trainer, "datamodule", None)
    if getattr(getattr(data, "catalogue", None), "check", "first") == "lazily":
        return "recordings are found by what they contain, and `check` is lazily"
    if not isinstance(module, EmotionModule):
        return f"a {type(module).__name__} hears waveforms"
    if not module.trains_head_only:
        return "the backbone is trained, too"
    if (reason := _augmentation(trainer)) is not None:
        return reason
    if module.backbone.depends_on_batch:
        return "with this `padding`, what the head hears of a recording changes with those of its batch"
    if any(getattr(type(module), step) is not getattr(EmotionModule, step) for step in _STEPS):
        return f"{type(module).__name__} has steps of its own, which may want waveforms"
    if any(getattr(type(one), name) is not getattr(DataHooks, name) for one in (module, data) for name in _TRANSFERS):
        return "batches are changed on their way to the model"
    if trainer.strategy.restore_checkpoint_after_setup:
        return "the strategy divides the model among the processes"
    if _is_limited(trainer):
        return "not all batches of an epoch are looked at"
    return None


def _augmentation(trainer: pl.Trainer) -> str | None:
    """What has the backbone hear something else in each epoch; None: nothing."""
    if trainer.state.fn != TrainerFn.FITTING:
        return None
    data = getattr(trainer, "datamodule", None)
    if getattr(data, "transform", None) is not None:
        return "`transform` changes the recordings in each epoch"
    if isinstance(augment := getattr(data, "augment", None), Augmentation) and augment.asked:
        return "`augment` changes the recordings in each epoch"
    if getattr(trainer.lightning_module, "mixup", 0):
        return "`mixup` mixes other recordings in each epoch"
    return None


def is_running(trainer: pl.Trainer | None) -> bool:
    """Whether batches are for a trainer at work; else they are for somebody who looks at them."""
    return trainer is not None and trainer.state.status == TrainerStatus.RUNNING


def _is_limited(trainer: pl.Trainer) -> bool:
    limits = {TrainerFn.FITTING: trainer.limit_train_batches, TrainerFn.VALIDATING: trainer.limit_val_batches}
    limit = limits.get(cast(TrainerFn, trainer.state.fn), trainer.limit_test_batches)
    return isinstance(limit, int) or limit != 1.0


class _Encoder:
    """Runs the backbone of a trainer's module over recordings."""

    def __init__(self, trainer: pl.Trainer, catalogue: Catalogue, options: EncodingOptions) -> None:
        self.trainer = trainer
        self.module = cast(EmotionModule, trainer.lightning_module)
        self.catalogue = catalogue
        self.options = options
        self.are_frames = self.module.classifier.hears_frames
        silence = torch.zeros(1, self.module.shortest)
        batch = Batch(silence, torch.tensor([silence.shape[1]]), torch.tensor([0]), [""], [""], [""])
        self._smallest = self._features(batch).values[:, 0]  # (states, frames, size)

    @property
    def about(self) -> dict[str, Any]:
        """All that features depend on beside the recording; what comes first is for people."""
        classifier, backbone = self.module.classifier, self.module.backbone
        states, _, size = self._smallest.shape
        is_gpu = self.trainer.strategy.root_device.type == "cuda"
        return {
            "model_type": backbone.export_config()["model_type"],
            "features": "frames" if self.are_frames else classifier.pooling.kind,
            "hidden_layer": "all" if classifier.hidden_layer is None else classifier.hidden_layer,
            "states": states,
            "size": size,
            "precision": str(self.trainer.precision),
            "matmul_precision": rounded_matmul() or "highest",
            "convolutions_in_tf32": is_gpu and has_rounded_convolutions(),
            "padding": backbone.padding,
            "window_samples": classifier.window,
            "normalize_last_state": backbone.normalize_last_state,
            "grid": asdict(classifier.grid),
            "weights": fingerprint(backbone.state_dict()),
            "backbone": backbone.export_config(),
            "format": FORMAT,
        }

    def bytes_of(self, utterance: Utterance) -> int:
        """What the entry of an utterance is going to take, about."""
        num_samples = round(self.catalogue.seconds(utterance) * SAMPLE_RATE)
        states, _, size = self._smallest.shape
        if not self.are_frames:
            return states * size * self._smallest.itemsize
        frames = max(1, self.module.grid.num_frames(num_samples))
        return states * size * (2 * frames + 4)  # half precision, and a mean in single precision

    def encode(self, cache: FeatureCache, utterances: Sequence[Utterance], is_shared: bool) -> None:
        """Write the entries of utterances.

        Args:
            cache: For the entries.
            utterances: Whose entries are missing.
            is_shared: Whether this process encodes its share; else it encodes them all.
        """
        sampler = LengthBatchSampler(
            [self.catalogue.seconds(utterance) for utterance in utterances],
            self.options.batches.batch_size,
            self.options.batches.batch_seconds,
        )
        batches = list(sampler) if is_shared else sampler.batches()
        if not batches:
            return
        num_workers = self.options.batches.num_workers
        is_shown = getattr(self.trainer.progress_bar_callback, "is_enabled", False)
        bar = partial(tqdm, desc="encoding", unit="file", delay=1, leave=False, disable=not is_shown)
        with isolate_rng(), cache.writing(self.trainer.global_rank), bar(total=sum(map(len, batches))) as progress:
            loader = DataLoader(
                UtteranceDataset(utterances, []), batch_size=None, sampler=batches, num_workers=num_workers
            )
            for indices, batch in zip(batches, loader, strict=True):
                values, frame_lengths = self._features(batch)
                for row, length in enumerate(frame_lengths.tolist()):
                    digest = self.catalogue.digest(utterances[indices[row]])
                    cache.write(digest, values[:, row, :length], self.are_frames)
                progress.update(len(indices))

    def _features(self, batch: Batch) -> Features:
        """Features of a batch on the CPU, as a step of the training would hear them."""
        moved = moved_batch(self.trainer, batch)
        with evaluation_mode(self.module), torch.no_grad(), self.trainer.precision_plugin.forward_context():
            features = self.module.features_of(moved)
        return Features(features.values.cpu(), features.frame_lengths.cpu())


def _opened(trainer: pl.Trainer, cache: FeatureCache, options: EncodingOptions) -> bool:
    """Whether the folder can be used."""
    try:
        cache.open()
    except OSError as error:
        if full_disk(error) is not None:
            raise
        told = f"{error.filename or cache.folder} cannot be written: {error.strerror}"
        if options.cache != "auto":
            raise UserError(f'`cache`: {told}; take another folder, or `cache="off"`') from error
        _tell(trainer, "features are not cached: %s; `cache` takes another folder", told)
        return False
    return True


def _too_large(cache: FeatureCache, num_bytes: int, options: EncodingOptions) -> str | None:
    """What to say where the cache would become larger than it may be."""
    there = bytes_below(cache.root)
    if there + num_bytes <= options.cache_gigabytes * 1e9:
        return None
    return (
        f"features are not cached: {in_words(num_bytes)} are needed beside {in_words(there)} in {cache.root}, more "
        f"than `cache_gigabytes` allows ({options.cache_gigabytes:g}); allow more, remove that folder, or take "
        '`pooling="mean"`, whose features are small'
    )


def _tell(trainer: pl.Trainer, message: str, *arguments: object) -> None:
    if trainer.is_global_zero:
        logger.info(message, *arguments)
