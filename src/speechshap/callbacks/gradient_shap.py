"""GradientSHAP in Lightning's prediction loop."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from speechshap.attribution import Attribution, gradient_shap
from speechshap.data import AudioDataModule, Batch
from speechshap.data.audio import SAMPLE_RATE
from speechshap.errors import UserError
from speechshap.models import EmotionModule
from speechshap.report.results import ResultsFolder
from speechshap.report.tensorboard import ExplanationLog

logger = logging.getLogger(__name__)


class GradientSHAPCallback(pl.Callback):
    """Explain every prediction of ``trainer.predict`` and write what was found.

    Works with and without ``inference_mode`` and on any device; forward passes use the trainer's precision. Parquet
    rows go to ``explanations/`` of the output folder, figures, sound and curves to a TensorBoard event file beside
    it. What the folder already holds with the same settings and weights is not computed again.

    Args:
        n_samples: Monte Carlo samples of each utterance; the error falls with the square root of it.
        baselines: What an utterance is compared with: Gaussian ``noise`` of its own mean and level, ``silence``, or
            clips of the training split (``dataset``).
        targets: Whose logit is explained: the ``predicted`` class, ``all`` classes, or class names with commas
            between them.
        chunk_size: Points that go through the model at once; left out, 8. Less needs less memory.
        seed: Of the random draws.
        n_references: Training clips to draw from where ``baselines`` is ``dataset``.
        top_k_frames: Strongest frames to mark in a figure.
        output_dir: Folder of the results; the trainer's log folder unless given.

    Raises:
        UserError: When prediction starts, where a setting does not fit the model or the data.

    Example:
        >>> trainer = pl.Trainer(callbacks=[GradientSHAPCallback(n_samples=20, targets="all")], logger=False)
    """

    method = "gradient_shap"

    def __init__(
        self,
        n_samples: int = 50,
        baselines: Literal["noise", "silence", "dataset"] = "noise",
        targets: str = "predicted",
        chunk_size: int | None = None,
        seed: int = 0,
        n_references: int = 64,
        top_k_frames: int = 20,
        output_dir: str | None = None,
    ) -> None:
        for option, value, least in (("n_samples", n_samples, 2), ("n_references", n_references, 1)):
            if value < least:
                raise UserError(f"--explain.{option} is {value}; expected {least} at least")
        self.n_samples = n_samples
        self.baselines = baselines
        self.targets = targets
        self.chunk_size = chunk_size
        self.seed = seed
        self.n_references = n_references
        self.top_k_frames = top_k_frames
        self.output_dir = output_dir
        self.count = 0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the results folder and find out what is done already."""
        module = cast(EmotionModule, pl_module)
        # The trainer's own step is 0 when it only predicts.
        self.training_step = max(trainer.global_step, module.trained_steps)
        self.target_indices = self._parse_targets(module.classes)
        self.references = self._load_references(trainer) if self.baselines == "dataset" else None
        folder = Path(self.output_dir or trainer.log_dir or ".")
        self.settings = {
            "method": self.method,
            "seed": self.seed,
            "n_samples": self.n_samples,
            "baselines": self.baselines,
            "model": weights_digest(module),
        }
        self.results = ResultsFolder(folder / "explanations", trainer.global_rank)
        self.done = self.results.explained(self.settings)
        self.tensorboard = ExplanationLog(folder, trainer.global_rank)
        self.tensorboard.settings({**self.settings, "targets": self.targets}, self.training_step)
        self.count = 0
        self.bar = tqdm(
            total=_num_utterances(trainer),
            desc="explaining",
            unit="utterance",
            bar_format="{l_bar}{bar}| {n:.1f}/{total} utterances [{elapsed}<{remaining}{postfix}]",
            disable=trainer.global_rank != 0,
        )

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the utterances of a batch that are not explained yet, and write them down."""
        module, batch = cast(EmotionModule, pl_module), cast(Batch, batch)
        predictions = outputs.argmax(1).tolist()
        rows = [
            row for row, utterance in enumerate(batch.ids) if not self._is_done(utterance, predictions[row], module)
        ]
        self.bar.update(len(batch.ids) - len(rows))
        if not rows:
            return
        batch = _select(batch, rows)
        targets = self._targets_of([predictions[row] for row in rows])
        precision = trainer.precision_plugin

        def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
            with precision.forward_context():
                return module(precision.convert_input(waveforms), lengths).float()

        started = time.perf_counter()
        with frozen(module):
            attribution = gradient_shap(
                forward,
                batch.waveforms.float(),
                baselines=self.references if self.references is not None else self.baselines,
                targets=targets.to(batch.waveforms.device),
                lengths=batch.lengths,
                ids=batch.ids,
                n_samples=self.n_samples,
                chunk_size=self.chunk_size,
                seed=self.seed,
                grid=module.backbone.grid,
                progress=lambda samples: self.bar.update(samples / self.n_samples),
            )
        seconds = (time.perf_counter() - started) / len(rows)
        explained = [self._rows(module, batch, attribution, index) for index in range(len(rows))]
        for index, length in enumerate(batch.lengths.tolist()):
            waveform = batch.waveforms[index, :length].float().cpu().numpy()
            self._draw(explained[index], waveform, module.backbone.grid.edges(length).numpy(), seconds)
        self.tensorboard.flush()
        # Last, since what stands here is not done again: a run that is killed before draws once more.
        self.results.write([row for utterance in explained for row in utterance])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the files and say where they are."""
        self._close()
        self._say_where(self.count)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files, so that what was written so far can be seen."""
        if hasattr(self, "bar"):
            self._close()

    def _close(self) -> None:
        self.bar.close()
        self.tensorboard.close()

    @rank_zero_only
    def _say_where(self, count: int) -> None:
        logger.info("%d utterances explained: %s", count, self.results.folder)

    def _parse_targets(self, classes: list[str]) -> list[int] | None:
        """Class indices to explain; None stands for the predicted one."""
        if self.targets == "predicted":
            return None
        names = classes if self.targets == "all" else [name.strip() for name in self.targets.split(",")]
        if unknown := [name for name in names if name not in classes]:
            raise UserError(
                f"--explain.targets: no class {unknown[0]!r}; expected predicted, all, or some of {', '.join(classes)}"
            )
        return [classes.index(name) for name in dict.fromkeys(names)]

    def _targets_of(self, predictions: list[int]) -> Tensor:
        """Targets of each utterance, ``(batch, targets)``."""
        if self.target_indices is None:
            return torch.tensor(predictions)[:, None]
        return torch.tensor(self.target_indices).expand(len(predictions), -1)

    def _is_done(self, utterance: str, prediction: int, module: EmotionModule) -> bool:
        wanted = self._targets_of([prediction])[0].tolist()
        return all((utterance, module.classes[target]) in self.done for target in wanted)

    def _load_references(self, trainer: pl.Trainer) -> Tensor:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, AudioDataModule):
            raise UserError("--explain.baselines dataset needs the training data; give an AudioDataModule to predict")
        waveforms = data.reference_waveforms(self.n_references)
        longest = max(len(waveform) for waveform in waveforms)
        # A short clip goes on from its start again, so that no reference ends in artificial silence.
        return torch.stack([waveform[torch.arange(longest) % len(waveform)] for waveform in waveforms])

    def _rows(self, module: EmotionModule, batch: Batch, attribution: Attribution, index: int) -> list[dict[str, Any]]:
        """Result rows of one utterance, one for each target, the predicted class first."""
        logits, label = attribution.logits[index].cpu(), int(batch.labels[index])
        prediction = int(logits.argmax())
        num_frames = int(attribution.frame_lengths[index])
        rows = [
            {
                **self.settings,
                "utterance": batch.ids[index],
                "path": batch.paths[index],
                "label": module.classes[label] if label >= 0 else None,
                "prediction": module.classes[prediction],
                "probability": float(logits.softmax(0)[prediction]),
                "target": module.classes[target],
                "target_logit": float(logits[target]),
                "hop_seconds": module.backbone.grid.hop_seconds,
                "frame_attribution": attribution.frames[index, column, :num_frames].tolist(),
                "frame_standard_error": attribution.frames_standard_error[index, column, :num_frames].tolist(),
                "completeness_gap": float(attribution.completeness_gap[index, column]),
                "completeness_gap_standard_error": float(attribution.completeness_gap_standard_error[index, column]),
                "relative_error": float(attribution.relative_error[index, column]),
            }
            for column, target in enumerate(attribution.targets[index].tolist())
        ]
        return sorted(rows, key=lambda row: row["target"] != row["prediction"])

    def _draw(self, rows: list[dict[str, Any]], waveform: np.ndarray, frame_edges: np.ndarray, seconds: float) -> None:
        """Show one utterance in TensorBoard; its first row is the one that gets the marks and the error band."""
        from speechshap.report.figures import explanation_figure

        first = rows[0]
        truth = f", label {first['label']}" if first["label"] is not None else ""
        figure = explanation_figure(
            waveform,
            SAMPLE_RATE,
            np.array([row["frame_attribution"] for row in rows]),
            np.array([row["frame_standard_error"] for row in rows]),
            frame_edges,
            [row["target"] for row in rows],
            f"{first['utterance']}: predicted {first['prediction']} ({first['probability']:.0%}){truth}",
            first["relative_error"],
            self.top_k_frames,
        )
        self.tensorboard.utterance(first["utterance"], figure, waveform, SAMPLE_RATE, self.training_step)
        self.count += 1
        scalars = {name: first[name] for name in ("completeness_gap", "relative_error", "probability")}
        self.tensorboard.scalars({**scalars, "seconds": seconds}, self.count)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Take the parameters out of the graph, so that a backward pass computes and keeps nothing for them."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def weights_digest(module: nn.Module) -> str:
    """Short name of the weights: the same weights have the same, others another one."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _num_utterances(trainer: pl.Trainer) -> int:
    """Utterances that this rank will see, give or take one."""
    dataset = cast(DataLoader, trainer.predict_dataloaders).dataset
    return -(-len(cast(Sized, dataset)) // trainer.world_size)


def _select(batch: Batch, rows: list[int]) -> Batch:
    return Batch(
        waveforms=pad_sequence([batch.waveforms[row, : int(batch.lengths[row])] for row in rows], batch_first=True),
        lengths=batch.lengths[rows],
        labels=batch.labels[rows],
        ids=[batch.ids[row] for row in rows],
        paths=[batch.paths[row] for row in rows],
    )
