"""Explanations of single waveforms from Python, in a few lines."""

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from speechshap.attribution import Attribution, Baseline, SpectralGrid, gradient_shap
from speechshap.attribution.gradient_shap import as_baseline
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.sampling import PathDensity, PathSampler, Scheme
from speechshap.attribution.targets import NO_CLASS, Output
from speechshap.attribution.validation import check_choice
from speechshap.data.audio import load_audio
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.models import Backbone, EmotionClassifier, load_backbone, mlp_head
from speechshap.models.modes import evaluation_mode
from speechshap.results.explanation import TOP_K_FRAMES, UNITS, Explanation, target_name
from speechshap.training import EmotionModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

Waveform = Tensor | np.ndarray | str | Path
Mode = Literal["frame", "neuron"]
Aggregation = Literal["mean", "sum", "max"]


class GradientSHAP:
    """Explain what a speech classifier decides on, one waveform at a time.

    A model of the caller is left as it was found (its parameters, their gradients, and the mode of every part), but
    goes to ``device`` if one is named.

    Args:
        model_name: Checkpoint of ``train.py`` (``….ckpt``), or a WavLM, wav2vec2 or HuBERT by its name on the Hugging
            Face hub or its folder. Not looked at where ``model`` is given.
        device: Where to compute; None takes that of a given model, else the GPU if there is one.
        num_samples: Points on the paths.
        batch_size: Points that go through the model at once; None takes what suits the device.
        feature_layer: Hidden state of a bare speech transformer that the classifier hears (0 is the stem's output);
            None takes the last.
        classifier: Head from the mean over time ``(batch, hidden size)`` to logits. Without one a bare speech
            transformer gets an untrained head, and a warning.
        model: :class:`EmotionModule`, :class:`EmotionClassifier`, or a base model of transformers (which is copied).
        feature_extractor: Of a transformers model; says whether waveforms are normalised. None: they are not.
        num_classes: Of an untrained head.
        seed: Of all draws.

    Raises:
        ValueError: The arguments do not fit each other.
        UserError: The model cannot be loaded.

    Example:
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
        num_classes: int = 8,
        seed: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        if model is None and model_name.endswith(".ckpt"):
            model = EmotionModule.load_from_checkpoint(model_name, map_location="cpu", weights_only=True)
        if isinstance(model, EmotionModule | EmotionClassifier):
            if classifier is not None or feature_layer is not None or feature_extractor is not None:
                raise ValueError(
                    f"a {type(model).__name__} has a classifier, a layer and a normalisation of its own; "
                    "classifier, feature_layer and feature_extractor are for a bare speech transformer"
                )
            self.model: EmotionModule | EmotionClassifier = model
        else:
            backbone = load_backbone(model_name) if model is None else _backbone(model, feature_extractor)
            if classifier is None:
                logger.warning("the classifier is not trained: what is explained are chance decisions; give one")
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    classifier = mlp_head(backbone.hidden_size, num_classes)
            layer = backbone.num_layers if feature_layer is None else feature_layer
            self.model = EmotionClassifier(backbone, classifier, layer)
        if device is None:
            device = next(self.model.parameters()).device if model is not None else _default_device()
        self.device = torch.device(device)
        self.model.to(self.device)

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, where the model knows them."""
        return self.model.classes if isinstance(self.model, EmotionModule) else None

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
            aggregate_frames: How the reference samples are brought together: ``"mean"`` is the estimate; ``"sum"``,
                ``"max"``, or None for one row a sample.
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
            ``attributions``: ``(frames,)`` or ``(time,)``, with a first dimension for the samples where they are not
            aggregated; for neurons a tensor ``(frames, hidden size)`` by layer (``"layer_6"``).
            ``standard_error``: the same shapes, of the mean; None for other aggregations.
            ``prediction``: ``class``, ``probability``, ``probabilities``, and ``label`` where the classes have names.
            ``mode``, ``target_class``, ``relative_error``, ``completeness_gap``, and ``attribution``, the
            :class:`Attribution` with everything.

        Raises:
            ValueError: An argument is unknown or does not fit the others.
            AudioFileError: The file cannot be read.
        """
        check_choice("mode", mode, get_args(Mode))
        check_choice("resolution", resolution, ("frame", "sample"))
        check_choice("aggregate_frames", aggregate_frames, (*get_args(Aggregation), None))
        if mode == "neuron" and (aggregate_frames != "mean" or resolution != "frame"):
            raise ValueError("neurons are explained by frame, as the mean over the reference samples")
        signal = self._read(waveform, sample_rate)
        if mode == "neuron" and len(signal) > self.model.window:
            raise ValueError(
                f"the waveform has {len(signal) / SAMPLE_RATE:g} s; neurons are explained within a window of the "
                f"classifier, which has {self.model.window / SAMPLE_RATE:g} s (window_seconds)"
            )
        grid = FrameGrid(1, 1) if resolution == "sample" else self.model.backbone.grid
        with (
            tqdm(total=self.num_samples, desc="explaining", unit="sample", delay=1, disable=not progress) as bar,
            evaluation_mode(self.model),
        ):
            attribution = gradient_shap(
                self.model,
                signal[None].to(self.device),
                baselines,
                None if target_class is None else torch.tensor([[target_class]]),
                ids=["waveform"],
                n_samples=self.num_samples,
                chunk_size=self.batch_size,
                seed=self.seed,
                layers=self._layers(layers) if mode == "neuron" else {},
                layer_method=layer_method,
                against=None if against_class is None else torch.tensor([[against_class]]),
                output=output,
                scheme=scheme,
                spectrum=spectrum,
                keep_samples=aggregate_frames != "mean",
                grid=grid,
                progress=bar.update,
            )
        values, errors = _values(attribution, mode, aggregate_frames)
        return {
            "attributions": values,
            "standard_error": errors,
            "prediction": self._prediction(attribution.logits[0]),
            "mode": mode,
            "target_class": int(attribution.targets.classes[0, 0]),
            "relative_error": float(attribution.relative_error[0, 0]),
            "completeness_gap": float(attribution.completeness_gap[0, 0]),
            "attribution": attribution,
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

        It takes as many of them as its scheme has replicates: with the default one for two samples.
        """
        signal = self._read(waveform, sample_rate)
        sampler = PathSampler(
            signal[None], [len(signal)], ["waveform"], as_baseline(baselines), scheme, self.seed, PathDensity.base()
        )
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
            mode: As for :meth:`explain`, as are the arguments behind it.
            baselines: What the waveform is compared with.
            against_class: Explain the target's contrast to this class.
            output: ``"logit"``, ``"log_odds"`` or ``"probability"``.
            spectrum: Lay the attribution by time and frequency over the spectrogram.
            progress: Show a bar.
        """
        from speechshap.report.figures import explanation_figure

        waveform = load_audio(Path(audio_path))
        result = self.explain(
            waveform, target_class, mode, baselines=baselines, against_class=against_class, output=output,
            spectrum=spectrum, progress=progress,
        )  # fmt: skip
        explanation = self.explanation(Path(audio_path), result, spectrum)
        figure = explanation_figure(waveform, SAMPLE_RATE, explanation, top_k_frames)
        if save_path is not None:
            figure.savefig(save_path)
        return figure

    def explanation(self, path: Path, result: dict[str, Any], spectrum: SpectralGrid | None = None) -> Explanation:
        """What :meth:`explain` returned about a file, as :mod:`speechshap.report` shows it.

        Args:
            path: Of the file.
            result: For the resolution ``"frame"``.
            spectrum: Where the result has time-frequency attributions, of what transform.
        """
        attribution: Attribution = result["attribution"]
        grid = self.model.backbone.grid
        names = [str(name) for name in self.classes or range(attribution.logits.shape[1])]
        targets = attribution.targets
        pairs = zip(targets.classes[0].tolist(), targets.against[0].tolist(), strict=True)
        explained = [
            target_name(names[target], None if against == NO_CLASS else names[against]) for target, against in pairs
        ]
        layers: dict[str, Any] = {}
        if attribution.layers:
            layers = {
                "layer_names": tuple(attribution.layers),
                "layer_frames": attribution.layer_frames()[0].cpu().numpy(),
                "layer_mass": attribution.layer_mass()[0].cpu().numpy(),
            }
        bands: dict[str, Any] = {}
        if spectrum is not None and attribution.time_frequency is not None:
            bands = {
                "frequencies": spectrum.frequencies.numpy(),
                "time_frequency": attribution.time_frequency[0].cpu().numpy(),
                "time_frequency_hop": spectrum.hop / SAMPLE_RATE,
            }
        return Explanation(
            utterance=path.name,
            path=str(path),
            label=None,
            prediction=names[result["prediction"]["class"]],
            probability=result["prediction"]["probability"],
            targets=tuple(explained),
            unit=UNITS[targets.output],
            frame_edges=grid.edges(attribution.values.shape[-1]).numpy() / SAMPLE_RATE,
            frames=attribution.frames[0].cpu().numpy(),
            standard_error=attribution.frames_standard_error[0].cpu().numpy(),
            relative_error=attribution.relative_error[0].cpu().numpy(),
            completeness_gap=attribution.completeness_gap[0].cpu().numpy(),
            completeness_gap_standard_error=attribution.completeness_gap_standard_error[0].cpu().numpy(),
            **layers,
            **bands,
        )

    def _read(self, waveform: Waveform, sample_rate: int) -> Tensor:
        if isinstance(waveform, str | Path):
            return torch.from_numpy(load_audio(Path(waveform)))
        signal = torch.as_tensor(waveform).detach().cpu()
        if not signal.is_floating_point():
            raise ValueError(f"the waveform is of type {signal.dtype}; expected floats from -1 to 1")
        signal = signal.float()
        if signal.ndim == 2 and len(signal) == 1:
            signal = signal[0]
        if signal.ndim != 1:
            raise ValueError(f"the waveform has shape {tuple(signal.shape)}; expected (time,) or (1, time)")
        if sample_rate != SAMPLE_RATE:
            import librosa

            signal = torch.from_numpy(librosa.resample(signal.numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE))
        shortest = self.model.backbone.grid.receptive_field
        if len(signal) < shortest:
            raise ValueError(f"the waveform has {len(signal)} samples; the model needs {shortest} at least")
        return signal

    def _layers(self, numbers: list[int] | None) -> dict[str, nn.Module]:
        available = self.model.layers
        if numbers is None:
            return available
        if unknown := [number for number in numbers if f"layer_{number}" not in available]:
            raise ValueError(f"no layer {unknown[0]}; the model has 1 to {len(available)}")
        return {f"layer_{number}": available[f"layer_{number}"] for number in numbers}

    def _prediction(self, logits: Tensor) -> dict[str, Any]:
        probabilities = logits.softmax(0).cpu()
        predicted = int(probabilities.argmax())
        label = {"label": self.classes[predicted]} if self.classes else {}
        return {
            "class": predicted,
            "probability": float(probabilities[predicted]),
            "probabilities": probabilities.tolist(),
            **label,
        }


def _backbone(model: nn.Module, feature_extractor: Any) -> Backbone:
    if isinstance(model, Backbone):
        return model
    if not hasattr(model, "config"):
        raise ValueError(
            f"model is a {type(model).__name__}; expected an EmotionModule, an EmotionClassifier, or a base model of "
            "transformers. speechshap.attribution.gradient_shap explains any function"
        )
    # The backbone puts modules of its own into the model.
    return Backbone(copy.deepcopy(model), bool(getattr(feature_extractor, "do_normalize", False)))


def _values(
    attribution: Attribution, mode: Mode, aggregation: Aggregation | None
) -> tuple[Any, dict[str, Tensor] | Tensor | None]:
    if mode == "neuron":
        return (
            {name: values[0, 0].cpu() for name, values in attribution.layers.items()},
            {name: errors[0, 0].cpu() for name, errors in attribution.layers_standard_error.items()},
        )
    if aggregation == "mean" or attribution.sample_frames is None:
        return attribution.frames[0, 0].cpu(), attribution.frames_standard_error[0, 0].cpu()
    rows = attribution.sample_frames[0][:, 0].cpu()  # (samples, frames)
    if aggregation is None:
        return rows, None
    return (rows.sum(0) if aggregation == "sum" else rows.amax(0)), None


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
