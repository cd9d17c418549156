"""The pass over the training utterances that standardisation needs."""

import math
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import islice
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import distributed, nn
from tqdm.auto import tqdm

from speechshap.models import Features
from speechshap.models.modes import evaluation_mode
from speechshap.models.standardization import Moments, merge_moments, moments_of


def pooled_moments(trainer: pl.Trainer, classifier: nn.Module, features_of: Callable[[Any], Features]) -> Moments:
    """Moments of the features of all utterances of a training epoch, the same in all processes.

    They are those of the utterances where features are statistics of these, and those of all their frames, without
    padding, where they are frames.

    They are what the head will hear in the first epoch: batches as they are limited, augmented and moved to the device,
    and the states in the precision of the training; but in eval mode. The random numbers of the training stay as they
    are. If each batch holds one utterance alone, and the processes cannot share these evenly, up to an utterance for
    each process but one counts twice.

    Args:
        trainer: About to start the first training step.
        classifier: On its device.
        features_of: Gives the features of a batch.
    """
    with isolate_rng(), evaluation_mode(classifier), torch.no_grad():
        own = reduce(merge_moments, _moments_of_batches(trainer, features_of))
        # Persistent workers have one iterator, which Lightning got for the first epoch and which has now ended.
        iter(cast(Any, trainer.fit_loop._data_fetcher))
    if not (distributed.is_available() and distributed.is_initialized()):
        return own
    gathered = [own] * distributed.get_world_size()
    distributed.all_gather_object(gathered, own)
    return reduce(merge_moments, gathered)


def _moments_of_batches(trainer: pl.Trainer, features_of: Callable[[Any], Features]) -> Iterator[Moments]:
    limit = trainer.num_training_batches
    total = None if math.isinf(limit) else int(limit)
    is_shown = getattr(trainer.progress_bar_callback, "is_enabled", False)  # in the first process alone
    batches = islice(trainer.train_dataloader, total)  # type: ignore[arg-type]
    for batch in tqdm(
        batches, desc="standardising", unit="batch", total=total, delay=1, leave=False, disable=not is_shown
    ):
        moved = moved_batch(trainer, batch)
        with trainer.precision_plugin.forward_context():
            features = features_of(moved)
        yield _precise_moments(features)


def _precise_moments(features: Features) -> Moments:
    """Moments in double precision, on the CPU: not every device has it. State by state: of frames there are many."""
    of_states = [moments_of(state[None].cpu().double()) for state in features.without_padding]
    means, squares = ([getattr(moments, name) for moments in of_states] for name in ("mean", "squares"))
    return Moments(of_states[0].num_values, torch.cat(means), torch.cat(squares))


def moved_batch(trainer: pl.Trainer, batch: Any) -> Any:
    """A batch as a training step gets it."""
    converted = trainer.precision_plugin.convert_input(batch)
    prepared = trainer.lightning_module._on_before_batch_transfer(converted, dataloader_idx=0)
    return trainer.strategy.batch_to_device(prepared, dataloader_idx=0)
