"""GradientSHAP in Lightning's prediction loop."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from speechshap.attribution import Attribution, gradient_shap
from speechshap.data import AudioDataModule, Batch
from speechshap.data.audio import SAMPLE_RATE
from speechshap.errors import UserError, require_at_least
from speechshap.models import EmotionModule
from speechshap.report.results import ResultsFolder
from speechshap.report.tensorboard import ExplanationLog

logger = logging.getLogger(__name__)


class GradientSHAPCallback(pl.Callback):
    """Explain every prediction of ``trainer.predict`` and write what was found.

    Works with and without ``inference_mode`` and on any device; forward passes use the trainer's precision. Parquet
    rows go to ``explanations/`` of the output folder, figures, sound and curves to a TensorBoard event file beside
    it. What the folder already holds from the same sound, settings and weights is not computed again.

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
        require_at_least(2, explain__n_samples=n_samples)
        require_at_least(1, explain__n_references=n_references, explain__chunk_size=chunk_size)
        require_at_least(0, explain__top_k_frames=top_k_frames)
        self.n_samples = n_samples
        self.baselines = baselines
        self.targets = targets
        self.chunk_size = chunk_size
        self.seed = seed
        self.n_references = n_references
        self.top_k_frames = top_k_frames
        self.output_dir = output_dir

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
        }
        shared = [module.state_dict(), self.references, trainer.precision, self.settings]
        self.shared_fingerprint = fingerprint(*shared)
        self.results = ResultsFolder(folder / "explanations", trainer.global_rank)
        self.done = self.results.explained()
        self.tensorboard = ExplanationLog(folder, trainer.global_rank)
        shown = {**self.settings, "targets": self.targets, "precision": trainer.precision}
        self.tensorboard.settings(shown, self.training_step)
        self.num_explained = self.num_found = 0
        # Curves go on where those of an earlier run ended; each rank has steps of its own.
        self.first_step = len({utterance for utterance, _, _ in self.done}) + trainer.global_rank
        self.bar = tqdm(
            total=_num_utterances(trainer) * self.n_samples,
            unit_scale=1 / self.n_samples,
            desc="explaining",
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} utterances [{elapsed}<{remaining}]",
            disable=trainer.global_rank != 0,
        )

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End the run where the process was asked to stop; Lightning itself looks at that while training only."""
        if trainer.received_sigterm:
            raise SIGTERMException

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
        targets = self._targets_of(outputs.argmax(1))
        fingerprints = [
            fingerprint(self.shared_fingerprint, waveform[:length])
            for waveform, length in zip(batch.waveforms, batch.lengths.tolist(), strict=True)
        ]
        missing = [
            row
            for row, utterance in enumerate(batch.ids)
            if any(
                (utterance, module.classes[target], fingerprints[row]) not in self.done
                for target in targets[row].tolist()
            )
        ]
        self.num_found += len(batch.ids) - len(missing)
        self.bar.update((len(batch.ids) - len(missing)) * self.n_samples)
        if not missing:
            return
        batch, targets = _select(batch, missing), targets[missing]
        fingerprints = [fingerprints[row] for row in missing]
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
                targets=targets,
                lengths=batch.lengths,
                ids=batch.ids,
                n_samples=self.n_samples,
                chunk_size=self.chunk_size,
                seed=self.seed,
                grid=module.backbone.grid,
                progress=self.bar.update,
            )
        seconds = (time.perf_counter() - started) / len(missing)
        explained: list[dict[str, Any]] = []
        for index, length in enumerate(batch.lengths.tolist()):
            rows = self._rows(module, batch, attribution, index, fingerprints[index])
            waveform = batch.waveforms[index, :length].float().cpu().numpy()
            step = self.first_step + self.num_explained * trainer.world_size
            self._draw(rows, waveform, module.backbone.grid.edges(length).numpy(), seconds, step + 1)
            self.num_explained += 1
            explained += [row for row in rows if (row["utterance"], row["target"], row["fingerprint"]) not in self.done]
        self.tensorboard.flush()
        # Last, since what stands here is not done again: a run that is killed before draws once more.
        self.results.write(explained)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the files and say where they are."""
        self._close()
        self._say_where(" by this process" if trainer.world_size > 1 else "")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files, so that what was written so far can be seen."""
        if hasattr(self, "bar"):
            self._close()

    def _close(self) -> None:
        self.bar.close()
        self.tensorboard.close()

    @rank_zero_only
    def _say_where(self, by_whom: str) -> None:
        known = f", {self.num_found} were there already" if self.num_found else ""
        logger.info("%d utterances explained%s%s: %s", self.num_explained, by_whom, known, self.results.folder)

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

    def _targets_of(self, predictions: Tensor) -> Tensor:
        """Targets of each utterance, ``(batch, targets)``, from the predictions ``(batch,)``."""
        if self.target_indices is None:
            return predictions[:, None]
        return torch.tensor(self.target_indices, device=predictions.device).expand(len(predictions), -1)

    def _load_references(self, trainer: pl.Trainer) -> Tensor:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, AudioDataModule):
            raise UserError("--explain.baselines dataset needs the training data; give an AudioDataModule to predict")
        return data.reference_set(self.n_references)

    def _rows(
        self, module: EmotionModule, batch: Batch, attribution: Attribution, index: int, fingerprint: str
    ) -> list[dict[str, Any]]:
        """Result rows of one utterance, one for each target, the predicted class first."""
        logits, label = attribution.logits[index].cpu(), int(batch.labels[index])
        prediction = int(logits.argmax())
        num_frames = int(attribution.frame_lengths[index])
        rows = [
            {
                **self.settings,
                "fingerprint": fingerprint,
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

    def _draw(
        self, rows: list[dict[str, Any]], waveform: np.ndarray, frame_edges: np.ndarray, seconds: float, step: int
    ) -> None:
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
            (first["completeness_gap"], first["completeness_gap_standard_error"]),
            self.top_k_frames,
        )
        self.tensorboard.utterance(first["utterance"], figure, waveform, SAMPLE_RATE, self.training_step)
        scalars = {name: first[name] for name in ("completeness_gap", "relative_error", "probability")}
        self.tensorboard.scalars({**scalars, "seconds": seconds}, step)


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


def fingerprint(*parts: Any) -> str:
    """Short name of tensors, mappings of tensors and plain values: the same for the same, another for others."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            values = part.detach().cpu().contiguous()
            digest.update(f"{values.dtype}{tuple(values.shape)}".encode())
            digest.update(values.view(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, Mapping):
            for name, value in sorted(part.items()):
                digest.update(f"{name}={fingerprint(value)};".encode())
        else:
            digest.update(f"{part!r};".encode())
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
