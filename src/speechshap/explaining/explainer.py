"""Explanations of single waveforms from Python, in a few lines."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from speechshap.attribution import (
    Attribution,
    Baseline,
    GradientSHAPSettings,
    SpectralGrid,
    Target,
    Targets,
    as_baseline,
)
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.methods.gradient_shap import explain
from speechshap.attribution.sampling import PathDensity, PathSampler, Scheme
from speechshap.attribution.targets import NO_CLASS, Output
from speechshap.data import Batch
from speechshap.data.audio import load_audio
from speechshap.data.batches import alone
from speechshap.errors import require_choice
from speechshap.explaining.batch_explainer import BatchExplainer
from speechshap.explaining.loading import adopt_model, load_model
from speechshap.explaining.options import RunOptions
from speechshap.explaining.predictions import predicted_class
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.report.moments import TOP_K_FRAMES
from speechshap.results.explanation import Explanation, Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Waveform = Tensor | np.ndarray | str | Path
Mode = Literal["frame", "neuron"]
Aggregation = Literal["mean", "sum", "max"]


class GradientSHAP:
    """Explain what a speech classifier decides on, one waveform at a time.

    A model of the caller is left as it was found (its parameters, their gradients, and the mode of every part), but
    goes to ``device`` if one is named.

    Args:
        model_name: Checkpoint of ``train.py`` (``….ckpt``), or an audio classifier of transformers by its name on the
            Hugging Face hub or its folder; a bare WavLM, wav2vec2 or HuBERT needs a ``classifier``. Ignored where
            ``model`` is given.
        device: Where to compute; None takes that of a given model, else the GPU if there is one.
        num_samples: Draws: points on the paths.
        batch_size: Points that go through the model at once; None finds a number for the device.
        feature_layer: Hidden state of a bare speech transformer that the classifier takes (0 is the stem's output);
            None takes the last.
        classifier: Head from the mean over time ``(batch, hidden size)`` to logits, for a bare speech transformer: a
            head that nobody trained is never explained.
        model: :class:`~speechshap.EmotionModule`, a classifier of :mod:`speechshap.models`, or a model of transformers
            (which is copied): an audio classifier, or a bare speech transformer for the ``classifier``.
        feature_extractor: Of a transformers model; says whether waveforms are normalised. None: they are not.
        seed: Of all draws.

    Raises:
        ValueError: The arguments do not fit each other.
        UserError: The model cannot be loaded.

    Example:
        >>> from speechshap import EmotionModule
        >>> _ = torch.manual_seed(0)
        >>> model = EmotionModule(["calm", "angry"], backbone_config={
        ...     "model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        ...     "conv_dim": [8] * 7})
        >>> explainer = GradientSHAP(model=model, num_samples=8)
        >>> result = explainer.explain(torch.randn(8000), target_class=1)
        >>> result["attributions"].shape, result["mode"]
        (torch.Size([24]), 'frame')
        >>> explainer.explain(torch.randn(8000), mode="neuron")["attributions"]["layer_2"].shape
        torch.Size([24, 32])
    """

    def __init__(
        self,
        model_name: str = "microsoft/wavlm-base-plus",
        device: str | torch.device | None = None,
        num_samples: int = 50,
        batch_size: int | None = 8,
        feature_layer: int | None = None,
        classifier: nn.Module | None = None,
        *,
        model: nn.Module | None = None,
        feature_extractor: Any = None,
        seed: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        if model is None:
            self.model: Any = load_model(model_name, classifier, feature_layer)
        else:
            self.model = adopt_model(model, classifier, feature_layer, feature_extractor)
        if device is None:
            device = next(self.model.parameters()).device if model is not None else _default_device()
        self.device = torch.device(device)
        self.model.to(self.device)

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, where the model knows them."""
        return None if self.model.classes is None else list(self.model.classes)

    def explain(
        self,
        waveform: Waveform,
        target_class: int | None = None,
        mode: Mode = "frame",
        aggregate_frames: Aggregation | None = "mean",
        *,
        resolution: Literal["frame", "sample"] = "frame",
        baselines: str | Baseline | Tensor = "noise",
        against_class: int | None = None,
        output: Output = "logit",
        layers: list[int] | None = None,
        layer_method: LayerMethod = "endpoint",
        spectrum: SpectralGrid | None = None,
        scheme: Scheme = "adaptive",
        sample_rate: int = SAMPLE_RATE,
        progress: bool = True,
    ) -> dict[str, Any]:
        """Explain a waveform.

        Args:
            waveform: ``(time,)`` or ``(1, time)`` tensor or array, or the path of a sound file.
            target_class: Class to explain; None takes the predicted one.
            mode: ``"frame"`` for moments, ``"neuron"`` for the neurons of the transformer's layers.
            aggregate_frames: How the draws are aggregated: ``"mean"`` is the estimate; ``"sum"``, ``"max"``, or
                None, which keeps one row per draw.
            resolution: ``"frame"`` (20 ms) or ``"sample"``, for the mode ``"frame"``.
            baselines: What the waveform is compared with, as in :func:`speechshap.attribution.gradient_shap`.
            against_class: Explain the target's contrast to this class.
            output: ``"logit"``, ``"log_odds"`` or ``"probability"``.
            layers: Numbers of the layers for the mode ``"neuron"``, the first being 1; None takes all.
            layer_method: ``"endpoint"`` or ``"path"``.
            spectrum: Time-frequency transform to carry the attributions to as well
                (``result["attribution"].time_frequency``).
            scheme: How the points on the paths are drawn.
            sample_rate: Of a tensor or array (Hz); another than 16 kHz is resampled.
            progress: Show a bar where it takes longer than a second.

        Returns:
            ``attributions``: ``(frames,)`` or ``(time,)``, with a leading dimension of draws where they are not
            aggregated; for neurons a tensor ``(frames, hidden size)`` by layer (``"layer_6"``).
            ``standard_error``: the same shapes, of the mean; None for other aggregations.
            ``prediction``: ``class``, ``probability``, ``probabilities``, and ``label`` where the classes have names;
            of a regression its ``outputs``.
            ``mode``, ``target_class``, ``relative_error``, ``completeness_gap``, ``attribution``, the
            :class:`Attribution` with everything, and ``explanation``, the record that pictures are made from.

        Raises:
            ValueError: An argument is unknown or does not fit the others.
            AudioFileError: The file cannot be read.
        """
        require_choice("mode", mode, get_args(Mode))
        require_choice("resolution", resolution, ("frame", "sample"))
        require_choice("aggregate_frames", aggregate_frames, (*get_args(Aggregation), None))
        if mode == "neuron" and (aggregate_frames != "mean" or resolution != "frame"):
            raise ValueError("neurons are explained by frame, averaged over the draws")
        if target_class is None and self.model.is_regression and len(self.classes or ()) == 1:
            target_class = 0
        if target_class is None and self.model.is_regression:
            raise ValueError(
                f"the model predicts no class; choose one of its outputs with `target_class`: {self._numbered}"
            )
        batch = self._read(waveform, sample_rate)
        settings = GradientSHAPSettings(
            n_samples=self.num_samples,
            seed=self.seed,
            output=output,
            scheme=scheme,
            layers="none" if mode == "frame" else "all" if layers is None else ",".join(map(str, layers)),
            layer_method=layer_method,
            spectrum=spectrum,
        )
        with tqdm(total=self.num_samples, desc="explaining", unit="draw", delay=1, disable=not progress) as bar:
            explainer = BatchExplainer(
                self.model, "gradient_shap", settings, RunOptions(chunk_size=self.batch_size),
                baseline=as_baseline(baselines), progress=bar.update,
            )  # fmt: skip
            if (obstacle := explainer.model.obstacle(int(batch.lengths))) is not None:
                raise ValueError(f"the waveform cannot be explained: {obstacle}")
            with explainer.model.ready():
                evaluator = explainer.evaluator(
                    batch, explainer.model.layers, FrameGrid(1, 1) if resolution == "sample" else None
                )
                predicted = evaluator.logits.argmax(1) if target_class is None else target_class
                targets = Targets.from_classes(1, predicted, against_class, output)
                attribution = explain(
                    evaluator, targets, explainer.baseline, settings,
                    keep_values=resolution == "sample", keep_draws=aggregate_frames != "mean",
                )  # fmt: skip
        values, errors = _values(attribution, mode, aggregate_frames)
        relative_error = attribution.relative_error
        assert relative_error is not None  # noqa: S101, GradientSHAP has errors
        given = baselines if isinstance(baselines, str) else "given"
        return {
            "attributions": values,
            "standard_error": errors,
            "prediction": self._prediction(explainer, attribution.logits[0]),
            "mode": mode,
            "target_class": int(attribution.targets.classes[0, 0]),
            "relative_error": float(relative_error[0, 0]),
            "completeness_gap": float(attribution.completeness_gap[0, 0]),
            "attribution": attribution,
            "explanation": None if resolution == "sample" else _record(explainer, attribution, batch, given),
        }

    def generate_reference_samples(
        self,
        waveform: Waveform,
        num_samples: int | None = None,
        baselines: str | Baseline | Tensor = "noise",
        *,
        scheme: Scheme = "adaptive",
        sample_rate: int = SAMPLE_RATE,
    ) -> Tensor:
        """References that :meth:`explain` compares a waveform with, in their order, ``(num_samples, time)``.

        One reference is used per replicate, that is for every two draws of the default scheme.
        """
        batch = self._read(waveform, sample_rate)
        sampler = PathSampler(
            batch.waveforms.cpu(), batch.lengths.tolist(), batch.ids, as_baseline(baselines), scheme, self.seed,
            PathDensity.base(),
        )  # fmt: skip
        count = self.num_samples if num_samples is None else num_samples
        return torch.stack([sampler.draw(0, number).reference for number in range(count)])

    def visualize_explanations(
        self,
        audio_path: str | Path,
        target_class: int | None = None,
        save_path: str | Path | None = None,
        top_k_frames: int = TOP_K_FRAMES,
        *,
        mode: Mode = "frame",
        baselines: str | Baseline | Tensor = "noise",
        against_class: int | None = None,
        output: Output = "logit",
        spectrum: SpectralGrid | None = None,
        progress: bool = True,
    ) -> "Figure":
        """Explain a sound file and draw it: waveform with the strongest frames, spectrogram, frame attribution.

        With ``mode="neuron"`` the picture has the layers, too.

        Args:
            audio_path: The file.
            target_class: Class to explain; None takes the predicted one.
            save_path: Where to save the picture; the suffix says as what.
            top_k_frames: How many frames to mark.
            mode: As for :meth:`explain`, as are the following arguments.
            baselines: What the waveform is compared with.
            against_class: Explain the target's contrast to this class.
            output: ``"logit"``, ``"log_odds"`` or ``"probability"``.
            spectrum: Lay the attribution by time and frequency over the spectrogram.
            progress: Show a bar.
        """
        from speechshap.report.figures import explanation_figure

        path, waveform = Path(audio_path), load_audio(Path(audio_path))
        result = self.explain(
            waveform, target_class, mode, baselines=baselines, against_class=against_class, output=output,
            spectrum=spectrum, progress=progress,
        )  # fmt: skip
        explanation = replace(result["explanation"], utterance=path.name, path=str(path))
        figure = explanation_figure(waveform, SAMPLE_RATE, explanation, top_k_frames)
        if save_path is not None:
            figure.savefig(save_path)
        return figure

    @property
    def _numbered(self) -> str:
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.classes or []))

    def _read(self, waveform: Waveform, sample_rate: int) -> Batch:
        """A waveform as a batch of its own, on the device of the model."""
        if isinstance(waveform, str | Path):
            batch = alone(torch.from_numpy(load_audio(Path(waveform))).to(self.device), "waveform")
            return batch._replace(paths=[str(waveform)])
        signal = torch.as_tensor(waveform).detach()
        if not signal.is_floating_point():
            raise ValueError(f"the waveform is of type {signal.dtype}; expected floats from -1 to 1")
        signal = signal.float()
        if signal.ndim == 2 and len(signal) == 1:
            signal = signal[0]
        if signal.ndim != 1:
            raise ValueError(f"the waveform has shape {tuple(signal.shape)}; expected (time,) or (1, time)")
        if sample_rate != SAMPLE_RATE:
            import librosa

            resampled = librosa.resample(signal.cpu().numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE)
            signal = torch.from_numpy(resampled)
        return alone(signal.to(self.device), "waveform")

    def _prediction(self, explainer: BatchExplainer, logits: Tensor) -> dict[str, Any]:
        names = explainer.model.class_names(len(logits))
        label, probability = predicted_class(logits, names, self.model.is_regression)
        if label is None:
            return {"outputs": dict(zip(names, logits.tolist(), strict=True))}
        return {
            "class": names.index(label),
            "probability": probability,
            "probabilities": logits.softmax(0).tolist(),
            **({"label": label} if self.classes else {}),
        }


def _record(explainer: BatchExplainer, attribution: Attribution, batch: Batch, baselines: str) -> Explanation:
    """What was found, as :mod:`speechshap.report` shows it."""
    names = explainer.model.class_names(attribution.logits.shape[1])
    target, against = int(attribution.targets.classes[0, 0]), int(attribution.targets.against[0, 0])
    asked = [Target(names[target], None if against == NO_CLASS else names[against])]
    settings = explainer.settings.as_dict() | {"baselines": baselines}
    # Fingerprints tell the rows of runs apart; there is no run.
    provenance = Provenance("gradient_shap", settings, "", explainer.model.arithmetic.name, "", "", datetime.now(UTC))
    explanation = explainer.record(attribution, 0, batch, asked, provenance)
    return replace(explanation, utterance=Path(batch.paths[0]).name or batch.ids[0])


def _values(
    attribution: Attribution, mode: Mode, aggregation: Aggregation | None
) -> tuple[Any, dict[str, Tensor] | Tensor | None]:
    if mode == "neuron":
        return (
            {name: values[0, 0].cpu() for name, values in attribution.layers.items()},
            {name: errors[0, 0].cpu() for name, errors in attribution.layers_standard_error.items()},
        )
    if aggregation == "mean" or attribution.sample_frames is None:
        frame_errors = attribution.frames_standard_error
        return attribution.frames[0, 0].cpu(), None if frame_errors is None else frame_errors[0, 0].cpu()
    rows = attribution.sample_frames[0][:, 0].cpu()  # (draws, frames)
    if aggregation is None:
        return rows, None
    return (rows.sum(0) if aggregation == "sum" else rows.amax(0)), None


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
