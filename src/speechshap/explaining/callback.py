"""GradientSHAP in Lightning's prediction loop."""

import json
import logging
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from speechshap.attribution import (
    Attribution,
    Baseline,
    GradientError,
    PathDensity,
    SpectralGrid,
    gaussian_noise,
    gradient_shap,
)
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.sampling import POINTS_PER_REPLICATE, SCHEMES, Scheme
from speechshap.attribution.targets import OUTPUTS, Output
from speechshap.data import Batch
from speechshap.errors import UserError, require_at_least
from speechshap.explaining.targets import Question, Targets, choose_layers
from speechshap.files import whole_file
from speechshap.frames import SAMPLE_RATE
from speechshap.models.modes import evaluation_mode
from speechshap.report.display import Display
from speechshap.report.selection import Selection
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.explanation import TOP_K_FRAMES
from speechshap.results.fingerprint import fingerprint
from speechshap.results.folder import ResultsFolder, Row
from speechshap.results.rows import layer_tensors, utterance_rows
from speechshap.training import AudioDataModule, EmotionModule

logger = logging.getLogger(__name__)


CALIBRATION_SAMPLES = 64
"""Of each utterance that the density is learnt from."""


class GradientSHAPCallback(pl.Callback):
    """Explain every prediction of ``trainer.predict`` and write what was found.

    Works with and without ``inference_mode`` and on any device; forward passes use the trainer's precision. Parquet
    rows go to ``explanations/`` of the output folder, neuron attributions to ``explanations/layers/``, figures, sound
    and curves to a TensorBoard event file beside it. What the folder already holds from the same sound, settings and
    weights is not computed again.

    Args:
        n_samples: Monte Carlo samples of each utterance; the error falls with the square root of it. ``auto`` draws
            until the relative error is within ``tolerance``.
        tolerance: Relative error to reach with ``auto``.
        max_samples: Where ``auto`` gives up.
        baselines: What an utterance is compared with: Gaussian ``noise`` of its own mean and level, ``silence``, or
            clips of the training split (``dataset``).
        snr_db: How far below the utterance's level the ``noise`` is, in decibels.
        targets: What is explained: the ``predicted`` class, the ``runner-up``, ``all`` classes, class names, or
            contrasts of two (``happy - neutral``, ``predicted - runner-up``), with commas between them.
        output: Explain the ``logit``, the ``log_odds`` or the ``probability``.
        layers: Transformer layers whose neurons are explained: ``none``, ``all``, or numbers with commas between
            them, the first layer being 1.
        layer_method: Multiply a layer's gradient by the difference of its outputs for utterance and reference
            (``endpoint``), or by its slope along the path (``path``, which sums to the input attribution).
        spectrum: Time-frequency transform to carry the attributions to as well.
        scheme: How the points on the paths are drawn.
        calibration: Utterances to learn first, before any is explained, where on the path the variance is; worth its
            cost where many are explained. What was learnt is kept in the results folder.
        chunk_size: Points that go through the model at once; left out, what suits the device.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them: less memory
            for each point of a chunk, for a third more time. Chunks are then of one point unless said otherwise.
        seed: Of the random draws.
        n_references: Training clips to draw from where ``baselines`` is ``dataset``.
        top_k_frames: Strongest frames to mark in a figure.
        draw: Utterances that TensorBoard shows: every ``log_every``-th from the ``first`` on, while the run goes on;
            or at its end those that are most confidently ``wrong``, the least sure of all (``unsure``), or the surest
            right one and the surest wrong one of ``each_class``.
        log_every: See ``draw``.
        max_drawn: How many are shown at most by each process of a run; 0 for none.
        output_dir: Folder of the results; the trainer's log folder unless given.

    Raises:
        UserError: When prediction starts, where a setting does not fit the model or the data.

    Example:
        >>> trainer = pl.Trainer(callbacks=[GradientSHAPCallback(n_samples=20, targets="all")], logger=False)
    """

    method = "gradient_shap"

    def __init__(
        self,
        n_samples: int | Literal["auto"] = 50,
        tolerance: float = 0.1,
        max_samples: int = 2000,
        baselines: Literal["noise", "silence", "dataset"] = "noise",
        snr_db: float = 0.0,
        targets: str = "predicted",
        output: Output = "logit",
        layers: str = "none",
        layer_method: LayerMethod = "endpoint",
        spectrum: SpectralGrid | None = None,
        scheme: Scheme = "adaptive",
        calibration: int = 0,
        chunk_size: int | None = None,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        n_references: int = 64,
        top_k_frames: int = TOP_K_FRAMES,
        draw: Selection = "first",
        log_every: int = 1,
        max_drawn: int = 100,
        output_dir: str | None = None,
    ) -> None:
        choices = (("scheme", scheme, SCHEMES), ("output", output, OUTPUTS), ("draw", draw, get_args(Selection)))
        for option, value, legal in choices:
            if value not in legal:
                raise UserError(f"--explain.{option} is {value!r}; expected {', '.join(legal)}")
        if not (n_samples == "auto" or isinstance(n_samples, int)):
            raise UserError(f"--explain.n_samples is {n_samples!r}; expected a number or auto")
        least = 2 * POINTS_PER_REPLICATE[scheme]
        require_at_least(least, explain__n_samples=None if n_samples == "auto" else n_samples)
        require_at_least(least, explain__max_samples=max_samples)
        require_at_least(1, explain__n_references=n_references, explain__chunk_size=chunk_size)
        require_at_least(1, explain__log_every=log_every)
        require_at_least(
            0, explain__top_k_frames=top_k_frames, explain__calibration=calibration, explain__max_drawn=max_drawn
        )
        if calibration and scheme != "adaptive":
            raise UserError(f"--explain.calibration is for the adaptive scheme; {scheme} sampling learns nothing")
        if not tolerance > 0:
            raise UserError(f"--explain.tolerance is {tolerance}; expected a relative error above 0")
        self.n_samples: int | Literal["auto"] = n_samples
        self.tolerance = tolerance
        self.max_samples = max_samples
        self.baselines = baselines
        self.snr_db = snr_db
        self.targets = targets
        self.output: Output = output
        self.layers = layers
        self.layer_method: LayerMethod = layer_method
        self.spectrum = spectrum
        self.scheme: Scheme = scheme
        self.calibration = calibration
        self.chunk_size = chunk_size
        self.gradient_checkpointing = gradient_checkpointing
        self.seed = seed
        self.n_references = n_references
        self.top_k_frames = top_k_frames
        self.draw: Selection = draw
        self.log_every = log_every
        self.max_drawn = max_drawn
        self.output_dir = output_dir
        if gradient_checkpointing and self._is_along_path:
            raise UserError(
                "--explain.gradient_checkpointing does not go with --explain.layer_method path; leave one out"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the numbers, beside sound and model."""
        sampling = {"tolerance": self.tolerance, "max_samples": self.max_samples} if self.n_samples == "auto" else {}
        return {
            "method": self.method,
            "seed": self.seed,
            "n_samples": self.n_samples,
            **sampling,
            "scheme": self.scheme,
            "calibration": self.calibration,
            "baselines": self.baselines,
            **({"snr_db": self.snr_db} if self.baselines == "noise" else {}),
            "targets": self.targets,
            "output": self.output,
            "layers": self.layers,
            **({"layer_method": self.layer_method} if self.layers != "none" else {}),
            "spectrum": self.spectrum,
        }

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the results folder, find out what is done already, and learn the density if asked to."""
        module = cast(EmotionModule, pl_module)
        # The trainer's own step is 0 when it only predicts.
        training_step = max(trainer.global_step, module.trained_steps)
        self.asked = Targets(self.targets, module.classes)
        self.layer_modules = choose_layers(self.layers, module.layers)
        self.references = self._load_references(trainer)
        precision = trainer.precision_plugin

        def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
            with precision.forward_context():
                return module(precision.convert_input(waveforms), lengths).float()

        def embed(waveforms: Tensor, lengths: Tensor) -> Tensor:
            with precision.forward_context(), torch.no_grad(), evaluation_mode(module):
                return module.classifier.embed(precision.convert_input(waveforms), lengths).float().cpu()

        self.forward, self.embed = forward, embed
        folder = Path(self.output_dir or trainer.log_dir or ".")
        self.results = ResultsFolder(folder / "explanations", trainer.global_rank)
        arithmetic = _arithmetic(trainer)
        shared = fingerprint(module.state_dict(), self.references, arithmetic, self.settings)
        self.density = self._calibrate(trainer, module, shared) if self.calibration else PathDensity.base()
        self.shared_fingerprint = fingerprint(shared, self.density)
        self.done = self.results.explained()
        log = ExplanationLog(folder, trainer.global_rank)
        self.shown_settings = {**self.settings, "precision": arithmetic}
        if trainer.is_global_zero:
            log.settings(self.shown_settings, training_step)
        self.display = Display(log, self.draw, self.log_every, self.max_drawn, self.top_k_frames, training_step)
        self.num_explained = self.num_found = self.num_unconverged = 0
        self.seconds_explaining = 0.0
        self.failed: list[str] = []
        self.num_samples_heard = self.num_samples_padded = 0
        # Curves go on where those of an earlier run ended; each rank has steps of its own.
        self.first_step = len({(utterance, name) for utterance, _, name in self.done}) + trainer.global_rank
        self.points_per_utterance = self.max_samples if self.n_samples == "auto" else self.n_samples
        self.bar = tqdm(
            total=_num_utterances(trainer) * self.points_per_utterance,
            unit_scale=1 / self.points_per_utterance,
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
        self.num_samples_heard += int(batch.lengths.sum())
        self.num_samples_padded += batch.waveforms.numel()
        questions = [self.asked.of(logits) for logits in outputs]
        fingerprints = [
            fingerprint(self.shared_fingerprint, waveform[:length])
            for waveform, length in zip(batch.waveforms, batch.lengths.tolist(), strict=True)
        ]
        missing = [
            row
            for row, utterance in enumerate(batch.ids)
            if any((utterance, question.name, fingerprints[row]) not in self.done for question in questions[row])
        ]
        self.num_found += len(batch.ids) - len(missing)
        if self.layer_modules:
            missing = self._without_long(missing, batch, module)
        shown = self.bar.n + len(batch.ids) * self.points_per_utterance
        started = time.perf_counter()
        attribution = None
        while missing and attribution is None:
            try:
                attribution = self._explain(module, _select(batch, missing), [questions[row] for row in missing])
            except GradientError as error:
                # The others of the batch do not suffer for it.
                self.failed.append(error.utterance_id)
                logger.warning("%s; it is not explained", error)
                missing = [row for row in missing if batch.ids[row] != error.utterance_id]
        # Whole utterances, whatever was found, failed, or needed fewer points than the most.
        self.bar.update(shown - self.bar.n)
        if attribution is None:
            return
        batch = _select(batch, missing)
        embeddings = self.embed(batch.waveforms, batch.lengths)
        seconds = (time.perf_counter() - started) / len(missing)
        self.seconds_explaining += seconds * len(missing)
        explained: list[Row] = []
        for index, (row, length) in enumerate(zip(missing, batch.lengths.tolist(), strict=True)):
            rows = utterance_rows(module, batch, attribution, index, questions[row], self.spectrum, embeddings[index])
            for result in rows:
                result |= {
                    **self._columns,
                    "explained_at": datetime.now(UTC),
                    "settings_fingerprint": self.shared_fingerprint,
                    "fingerprint": fingerprints[row],
                }
            waveform = batch.waveforms[index, :length].float().cpu().numpy()
            step = self.first_step + self.num_explained * trainer.world_size
            self.display.utterance(rows, waveform, seconds, step + 1)
            if self.layer_modules:
                tensors = layer_tensors(attribution, index, [question.name for question in questions[row]])
                metadata = {"utterance": batch.ids[index], "fingerprint": fingerprints[row]}
                self.results.write_layers(batch.ids[index], tensors, {**metadata, "settings": repr(self.settings)})
            self.num_explained += 1
            explained += [row for row in rows if (row["utterance"], row["target"], row["fingerprint"]) not in self.done]
        if attribution.converged is not None:
            self.num_unconverged += int((~attribution.converged).sum())
        self.display.log.flush()
        # Not before the curves are on disk: what stands here is not done again.
        self.results.write(explained)
        self.done.update((row["utterance"], row["target"], row["fingerprint"]) for row in explained)

    def _without_long(self, rows: list[int], batch: Batch, module: EmotionModule) -> list[int]:
        """Rows whose recordings are a single window: in several, a layer runs several times."""
        for row in rows:
            if batch.lengths[row] > module.window:
                self.failed.append(batch.ids[row])
                logger.warning(
                    "%s is longer than a window of %g s, and neurons are explained within one; it is not explained "
                    "(without --explain.layers it is)",
                    batch.ids[row], module.window / SAMPLE_RATE,
                )  # fmt: skip
        return [row for row in rows if batch.lengths[row] <= module.window]

    @property
    def _columns(self) -> dict[str, Any]:
        """What every row says of the settings."""
        names = ("method", "seed", "scheme", "baselines", "output")
        return {name: self.settings[name] for name in names}

    def _explain(self, module: EmotionModule, batch: Batch, questions: list[list[Question]]) -> Attribution:
        with evaluation_mode(module), self._checkpointing(module):
            return gradient_shap(
                self.forward,
                batch.waveforms.float(),
                self._baseline,
                torch.tensor([[question.target for question in own] for own in questions]),
                batch.lengths,
                batch.ids,
                self.n_samples,
                self._chunk_size,
                self.seed,
                self.layer_modules,
                layer_method=self.layer_method,
                against=torch.tensor([[question.against for question in own] for own in questions]),
                output=self.output,
                scheme=self.scheme,
                density=self.density,
                tolerance=self.tolerance,
                max_samples=self.max_samples,
                spectrum=self.spectrum,
                grid=module.backbone.grid,
                progress=self.bar.update,
            )

    @contextmanager
    def _checkpointing(self, module: EmotionModule) -> Iterator[None]:
        """Checkpointing of activations as asked for here, or in training."""
        backbone = module.backbone
        kept = backbone.gradient_checkpointing
        # Slopes along the path are not there any more when activations are computed again.
        backbone.gradient_checkpointing = (kept or self.gradient_checkpointing) and not self._is_along_path
        try:
            yield
        finally:
            backbone.gradient_checkpointing = kept

    @property
    def _is_along_path(self) -> bool:
        return self.layers != "none" and self.layer_method == "path"

    @property
    def _chunk_size(self) -> int | None:
        """Points of a chunk; what checkpointing needs cannot be seen beforehand, and who asks for it lacks memory."""
        return 1 if self.chunk_size is None and self.gradient_checkpointing else self.chunk_size

    @property
    def _baseline(self) -> str | Baseline | Tensor:
        if self.references is not None:
            return self.references
        return gaussian_noise(self.snr_db) if self.baselines == "noise" else self.baselines

    def _calibrate(self, trainer: pl.Trainer, module: EmotionModule, shared_fingerprint: str) -> PathDensity:
        """Density learnt from some of the utterances, the same on every rank and in a run that goes on."""
        # What reads the folder as one Parquet dataset passes over a name with an underscore.
        path = self.results.folder / f"_density-{shared_fingerprint}.json"
        if path.is_file():
            return PathDensity(tuple(json.loads(path.read_text())["heights"]))
        moments = []
        waveforms = _data_module(trainer, "--explain.calibration").predict_sample(self.calibration)
        for number, waveform in enumerate(tqdm(waveforms, desc="calibrating", disable=trainer.global_rank != 0)):
            try:
                with evaluation_mode(module), self._checkpointing(module):
                    result = gradient_shap(
                        self.forward, waveform[None].to(module.device), self._baseline, ids=[f"calibration {number}"],
                        n_samples=CALIBRATION_SAMPLES, chunk_size=self._chunk_size, seed=self.seed, output=self.output,
                        grid=module.backbone.grid,
                    )  # fmt: skip
            except GradientError as error:
                logger.warning("%s; nothing is learnt from it", error)
                continue
            moments.append(result.path_second_moments[0] / result.path_second_moments[0].mean())
        if not moments:
            return PathDensity.base()
        density = PathDensity.learnt(torch.stack(moments).mean(0))
        if trainer.global_rank == 0:
            with whole_file(path) as partial:
                partial.write_text(json.dumps({"heights": density.heights, "settings": repr(self.settings)}))
        return density

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what is known of all utterances, close the files and say where they are."""
        # What is chosen and summed up is of all ranks.
        trainer.strategy.barrier("explained")
        if trainer.is_global_zero and self.num_explained:
            seconds = self.seconds_explaining / self.num_explained
            self.display.finish(self.results, self.shown_settings, seconds, self.shared_fingerprint)
        self._close()
        self._say_where(" by this process" if trainer.world_size > 1 else "")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files, so that what was written so far can be seen."""
        if hasattr(self, "bar"):
            try:
                self._close()
            except Exception as error:
                # The first mistake is the one to tell.
                logger.warning("what was explained may not be in TensorBoard: %s", error)

    def _close(self) -> None:
        self.bar.close()
        self.display.close()

    @rank_zero_only
    def _say_where(self, by_whom: str) -> None:
        known = f", {self.num_found} were there already" if self.num_found else ""
        logger.info("%d utterances explained%s%s: %s", self.num_explained, by_whom, known, self.results.folder)
        if self.num_samples_padded:
            logger.info(
                "%.1f %% of the batches was padding", 100 - 100 * self.num_samples_heard / self.num_samples_padded
            )
        if self.failed:
            logger.warning("%d not explained: %s", len(self.failed), ", ".join(self.failed))
        if self.num_unconverged:
            logger.warning(
                "%d utterances did not reach a relative error of %g in %d samples; --explain.max_samples allows more",
                self.num_unconverged, self.tolerance, self.max_samples,
            )  # fmt: skip

    def _load_references(self, trainer: pl.Trainer) -> Tensor | None:
        if self.baselines != "dataset":
            return None
        return _data_module(trainer, "--explain.baselines dataset").reference_set(self.n_references)


def _arithmetic(trainer: pl.Trainer) -> str:
    """Precision of the trainer and, where it is a lower one, that of products of single-precision matrices."""
    products = torch.get_float32_matmul_precision()
    parts = [str(trainer.precision), *([] if products == "highest" else [f"float32 matrix products {products}"])]
    if trainer.strategy.root_device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        parts.append("convolutions in TF32")
    return ", ".join(parts)


def _data_module(trainer: pl.Trainer, option: str) -> AudioDataModule:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, AudioDataModule):
        raise UserError(f"{option} needs the data; give an AudioDataModule to predict")
    return data


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
