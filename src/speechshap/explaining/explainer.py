"""Explanations of single waveforms from Python, in a few lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from speechshap.attribution import (
    WAVEFORM,
    Baseline,
    Evaluator,
    GradientSHAPSettings,
    SpectralGrid,
    Targets,
    as_baseline,
)
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.methods.gradient_shap import explain
from speechshap.attribution.sampling import POINTS_PER_REPLICATE, PathDensity, PathSampler, Scheme
from speechshap.attribution.targets import Output
from speechshap.data import Batch
from speechshap.data.batches import alone
from speechshap.errors import UserError, require_at_least, require_choice
from speechshap.explaining.batch_explainer import BatchExplainer
from speechshap.explaining.class_number import class_number, numbered
from speechshap.explaining.loading import adopt_model, load_model
from speechshap.explaining.options import RunOptions
from speechshap.explaining.result import Aggregation, Mode, Resolution, result_from_attribution
from speechshap.explaining.waveforms import Waveform, read_waveform
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.report.explanation_result import ExplanationResult
from speechshap.report.moments import TOP_K_FRAMES
from speechshap.report.notebook import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradientSHAP:
    """Explain what a speech classifier decides on, one waveform at a time.

    A model of the caller is left as it was found (its parameters, their gradients, and the mode of every part), but
    goes to ``device`` if one is named.

    Args:
        model_name: Checkpoint of ``speechshap train`` (``….ckpt``), or an audio classifier of transformers or of
            ``speechshap export`` by its name on the Hugging Face hub or its folder; a bare speech transformer needs a
            ``classifier``. Ignored where ``model`` is given.
        device: Where to compute; None takes that of a given model, else the GPU if there is one.
        num_samples: Draws: points on the paths.
        batch_size: Points that go through the model at once; None finds a number for the device.
        feature_layer: Hidden state of a bare speech transformer that the classifier takes (0 is the stem's output);
            None takes the last.
        classifier: Head from the mean over time ``(batch, hidden size)`` to logits, for a bare speech transformer: a
            head that nobody trained is never explained.
        model: :class:`speechshap.EmotionModule`, a classifier of :mod:`speechshap.models`, or a model of transformers
            (which is copied): an audio classifier, or a bare speech transformer for the ``classifier``.
        feature_extractor: Of a transformers model; says whether waveforms are normalised. None: they are not.
        seed: Of all draws.

    Raises:
        UserError: The model cannot be loaded, or the arguments do not fit each other.

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
        require_at_least(1, num_samples=num_samples, batch_size=batch_size)
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        if model is None:
            self.model: Any = load_model(model_name, classifier, feature_layer)
        else:
            self.model = adopt_model(model, classifier, feature_layer, feature_extractor)
        if device is None:
            usual = "cuda" if torch.cuda.is_available() else "cpu"
            device = next(self.model.parameters()).device if model is not None else usual
        self.device = torch.device(device)
        self.model.to(self.device)

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, where the model knows them."""
        return None if self.model.classes is None else list(self.model.classes)

    def explain(
        self,
        waveform: Waveform,
        target_class: int | str | None = None,
        mode: Mode = "frame",
        aggregate_frames: Aggregation | None = "mean",
        *,
        resolution: Resolution = "frame",
        baselines: str | Baseline | Tensor = "noise",
        space: str = WAVEFORM,
        against_class: int | str | None = None,
        output: Output = "logit",
        layers: list[int] | None = None,
        layer_method: LayerMethod = "endpoint",
        spectrum: SpectralGrid | None = None,
        scheme: Scheme = "adaptive",
        segments: str = "all",
        segment_seconds: float | None = None,
        sample_rate: float = SAMPLE_RATE,
        progress: bool = True,
    ) -> ExplanationResult:
        """Explain a waveform.

        Args:
            waveform: ``(time,)`` floats from -1 to 1, or 16-bit or 32-bit integers, as a tensor, an array or a list;
                or the path of a sound file.
            target_class: Class to explain, by its name or number; None takes the predicted one.
            mode: ``"frame"`` for moments, ``"neuron"`` for the neurons of the transformer's layers.
            aggregate_frames: How the draws are aggregated: ``"mean"`` is the estimate; ``"sum"``, ``"max"``, or
                None, which keeps one row per draw.
            resolution: ``"frame"`` (20 ms) or ``"sample"``, for the mode ``"frame"``.
            baselines: What the waveform is compared with, as in :func:`speechshap.attribution.gradient_shap`.
            space: Where the paths run: ``"waveform"``, or between features: ``"stem"``, ``"projection"``, ``"log_mel"``
                of Whisper, or a module's by its name. Few draws then say more; there are no samples and frequencies.
            against_class: Explain the target's contrast to this class.
            output: ``"logit"``, ``"log_odds"`` or ``"probability"``.
            layers: Numbers of the layers for the mode ``"neuron"``, the first being 1; None takes all.
            layer_method: ``"endpoint"`` or ``"path"``.
            spectrum: Time-frequency transform to carry the attributions to as well
                (``result["attribution"].time_frequency``).
            scheme: How the points on the paths are drawn.
            segments: Stretches to sum frames over, with errors of their own (``result["explanation"].read_tiers``):
                tiers of the alignment beside a sound file, ``"all"`` or by their names, and ``"voiced"``; for the
                resolution ``"frame"``.
            segment_seconds: Length of stretches side by side that are segments, too.
            sample_rate: Of a waveform that is not a file (Hz); another than 16 kHz is resampled.
            progress: Show a bar where it takes longer than a second.

        Returns:
            A dict that notebooks show with its picture and its sounds:

            * ``attributions``: ``(frames,)`` or ``(time,)``, with a leading dimension of draws where they are not
              aggregated; for neurons a tensor ``(frames, hidden size)`` by layer (``"layer_6"``).
            * ``standard_error``: the same shapes, of the mean; None for other aggregations.
            * ``prediction``: ``class``, ``probability``, ``probabilities``, and ``label`` where the classes have names;
              of a regression its ``outputs``.
            * ``mode``, and ``aggregate_method``, which is ``aggregate_frames``.
            * ``target_class``: the number of the explained class.
            * ``relative_error`` and ``completeness_gap``.
            * ``attribution``: the :class:`speechshap.attribution.Attribution` with everything.
            * ``explanation``: the record that pictures are made from; None for the resolution ``"sample"``.
            * ``waveform``: what was explained, ``(time,)`` float32 at 16 kHz.

        Raises:
            UserError: An argument is unknown or does not fit the others, or the waveform cannot be used.
            AudioFileError: The file cannot be read.
            GradientError: Gradients are all 0, or one is not finite.
        """
        require_choice("mode", mode, get_args(Mode))
        require_choice("resolution", resolution, get_args(Resolution))
        require_choice("aggregate_frames", aggregate_frames, (*get_args(Aggregation), None))
        if mode == "neuron" and (aggregate_frames != "mean" or resolution != "frame"):
            raise UserError(
                'neurons are explained by frame, averaged over the draws: `mode="neuron"` takes '
                '`aggregate_frames="mean"` and `resolution="frame"`'
            )
        require_choice("scheme", scheme, POINTS_PER_REPLICATE)
        require_at_least(2 * POINTS_PER_REPLICATE[scheme], num_samples=self.num_samples)
        if target_class is None and self.model.is_regression and len(self.classes or ()) == 1:
            target_class = 0
        if target_class is None and self.model.is_regression:
            raise UserError(
                "the model predicts no class; choose one of its outputs with `target_class`: "
                f"{numbered(self.classes or [])}"
            )
        batch = self._read(waveform, sample_rate)
        settings = GradientSHAPSettings(
            n_samples=self.num_samples, seed=self.seed, output=output, scheme=scheme, layer_method=layer_method,
            layers="none" if mode == "frame" else "all" if layers is None else ",".join(map(str, layers)),
            spectrum=spectrum, space=space, segments=segments, segment_seconds=segment_seconds,
        )  # fmt: skip
        with tqdm(total=self.num_samples, desc="explaining", unit="draw", delay=1, disable=not progress) as bar:
            explainer = BatchExplainer(
                self.model, "gradient_shap", settings, RunOptions(chunk_size=self.batch_size),
                baseline=as_baseline(baselines), progress=bar.update,
            )  # fmt: skip
            if (obstacle := explainer.model.obstacle(int(batch.lengths))) is not None:
                raise UserError(f"`waveform` cannot be explained: {obstacle}")
            named = explainer.segments(batch) if resolution == "frame" else None
            with explainer.model.ready():
                evaluator = explainer.evaluator(
                    batch, explainer.model.layers, FrameGrid(1, 1) if resolution == "sample" else None, named
                )
                names = explainer.model.class_names(evaluator.logits.shape[1])
                target = class_number("target_class", target_class, names) if target_class is not None else None
                against = class_number("against_class", against_class, names) if against_class is not None else None
                predicted = evaluator.logits.argmax(1)
                targets = Targets.from_classes(1, predicted if target is None else target, against, output)
                attribution = explain(
                    evaluator, targets, explainer.baseline, settings,
                    keep_values=resolution == "sample", keep_draws=aggregate_frames != "mean",
                )  # fmt: skip
        given = baselines if isinstance(baselines, str) else "given"
        return result_from_attribution(attribution, explainer, batch, mode, resolution, aggregate_frames, given, named)

    def generate_reference_samples(
        self,
        waveform: Waveform,
        num_samples: int | None = None,
        baselines: str | Baseline | Tensor = "noise",
        *,
        scheme: Scheme = "adaptive",
        sample_rate: float = SAMPLE_RATE,
    ) -> Tensor:
        """References that :meth:`explain` compares a waveform with, in their order, ``(num_samples, time)``.

        Each draw has one of its own, but for the pairs of the antithetic scheme.

        Args:
            waveform: As for :meth:`explain`.
            num_samples: How many; None takes as many as there are draws.
            baselines: What the references are drawn from.
            scheme: How the points on the paths are drawn, which decides what is drawn for each reference.
            sample_rate: Of a waveform that is not a file (Hz).

        Raises:
            UserError: An argument is unknown, or the waveform cannot be used.
            AudioFileError: The file cannot be read.
        """
        require_at_least(1, num_samples=num_samples)
        batch = self._read(waveform, sample_rate)
        evaluator = Evaluator(self.model, batch.waveforms, batch.lengths, batch.ids)
        sampler = PathSampler(evaluator, as_baseline(baselines), scheme, self.seed, PathDensity.uniform())
        count = self.num_samples if num_samples is None else num_samples
        keys = dict.fromkeys(map(sampler.reference_key, sampler.points(0, 0, count)))
        return torch.stack([sampler.reference(key) for key in list(keys)[:count]])

    def visualize_explanations(
        self,
        audio_path: str | Path,
        target_class: int | str | None = None,
        save_path: str | Path | None = None,
        top_k_frames: int = TOP_K_FRAMES,
        *,
        mode: Mode = "frame",
        baselines: str | Baseline | Tensor = "noise",
        against_class: int | str | None = None,
        output: Output = "logit",
        spectrum: SpectralGrid | None = None,
        progress: bool = True,
    ) -> "Figure":
        """Explain a sound file and draw it: waveform with the strongest frames, spectrogram, frame attribution.

        With ``mode="neuron"`` the picture has the layers, too. A notebook shows it.

        Args:
            audio_path: The file.
            target_class: Class to explain, by its name or number; None takes the predicted one.
            save_path: Where to save the picture; the suffix says as what (``.png``, ``.pdf``, ``.svg``).
            top_k_frames: How many frames to mark.
            mode: As for :meth:`explain`, as are the following arguments.
            baselines: What the waveform is compared with.
            against_class: Explain the target's contrast to this class.
            output: ``"logit"``, ``"log_odds"`` or ``"probability"``.
            spectrum: Lay the attribution by time and frequency over the spectrogram.
            progress: Show a bar.

        Raises:
            UserError: An argument is unknown or does not fit the others, or the sound cannot be used.
            AudioFileError: The file cannot be read.
            GradientError: Gradients are all 0, or one is not finite.
            OSError: The picture cannot be written.
        """
        from speechshap.report.figures import explanation_figure
        from speechshap.report.saving import picture_format, save_figure

        require_at_least(0, top_k_frames=top_k_frames)
        if save_path is not None:
            picture_format(Path(save_path))  # before anything is computed
        result = self.explain(
            audio_path, target_class, mode, baselines=baselines, against_class=against_class, output=output,
            spectrum=spectrum, progress=progress,
        )  # fmt: skip
        figure = explanation_figure(result["waveform"], SAMPLE_RATE, result["explanation"], top_k_frames)
        if save_path is not None:
            save_figure(figure, Path(save_path))
        show(figure)
        return figure

    def _read(self, waveform: Waveform, sample_rate: float) -> Batch:
        """A waveform as a batch of its own, on the device of the model."""
        samples = torch.from_numpy(read_waveform(waveform, sample_rate)).to(self.device)
        batch = alone(samples, "waveform")
        return batch._replace(paths=[str(waveform)]) if isinstance(waveform, str | Path) else batch
