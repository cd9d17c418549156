"""A benchmark in Lightning's prediction loop, which brings the model, the batches and the precision together."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from speechshap.data import Batch
from speechshap.explaining.benchmark import Benchmark, Clip
from speechshap.explaining.callback import arithmetic_of, classifier_of
from speechshap.explaining.termination import Termination

MakeBenchmark = Callable[..., Benchmark]


class BenchmarkCallback(pl.Callback):
    """Judge explanations of every batch of ``trainer.predict``.

    Args:
        make: Makes the benchmark for the model (``model``) in the trainer's precision (``arithmetic``).
        clips: Every utterance by its id.
        folder: Of the scores, which is told when SIGTERM ends the run.
    """

    def __init__(self, make: MakeBenchmark, clips: Mapping[str, Clip], folder: Path) -> None:
        self.make = make
        self.clips = clips
        self.termination = Termination(folder)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the benchmark, now that the model is on its device."""
        self.termination.start()
        self.benchmark = self.make(model=classifier_of(pl_module), arithmetic=arithmetic_of(trainer))

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Judge the utterances of a batch."""
        self.benchmark.judge(batch, [self.clips[name] for name in batch.ids])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give SIGTERM back."""
        self.termination.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give SIGTERM back."""
        self.termination.stop()
