"""What is returned for an explained waveform, made from its attribution."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from speechshap.attribution import Attribution, Target
from speechshap.attribution.segments import NamedSegments
from speechshap.attribution.targets import NO_CLASS
from speechshap.data import Batch
from speechshap.explaining.batch_explainer import BatchExplainer
from speechshap.explaining.predictions import predicted_class
from speechshap.report.explanation_result import ExplanationResult
from speechshap.results.explanation import Explanation, Provenance

Mode = Literal["frame", "neuron"]
Resolution = Literal["frame", "sample"]
Aggregation = Literal["mean", "sum", "max"]


def result_from_attribution(
    attribution: Attribution,
    explainer: BatchExplainer,
    batch: Batch,
    mode: Mode,
    resolution: Resolution,
    aggregation: Aggregation | None,
    baselines: str,
    segments: Sequence[NamedSegments] | None = None,
) -> ExplanationResult:
    """The values of :meth:`speechshap.GradientSHAP.explain`, on the CPU.

    Args:
        attribution: Of one utterance to one target, by GradientSHAP; with every draw, unless the aggregation is the
            mean.
        explainer: Knows the model and the settings.
        batch: The utterance.
        mode: Whether the values are those of frames or of neurons.
        resolution: Of single samples there is no record.
        aggregation: Of the draws.
        baselines: Name of the references, for the record.
        segments: Of the utterance, as the evaluator had them.
    """
    values, errors = _values(attribution, mode, aggregation)
    relative_error = attribution.relative_error
    assert relative_error is not None  # noqa: S101, GradientSHAP has errors
    return ExplanationResult(
        attributions=values,
        standard_error=errors,
        prediction=_prediction(explainer, attribution.logits[0]),
        mode=mode,
        aggregate_method=aggregation,
        target_class=int(attribution.targets.classes[0, 0]),
        relative_error=float(relative_error[0, 0]),
        completeness_gap=float(attribution.completeness_gap[0, 0]),
        attribution=attribution,
        explanation=None
        if resolution == "sample"
        else _record(explainer, attribution, batch, baselines, None if segments is None else segments[0]),
        waveform=batch.waveforms[0].cpu().numpy(),
    )


def _values(
    attribution: Attribution, mode: Mode, aggregation: Aggregation | None
) -> tuple[Any, dict[str, Tensor] | Tensor | None]:
    """Attributions and their standard errors."""
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


def _prediction(explainer: BatchExplainer, logits: Tensor) -> dict[str, Any]:
    classifier = explainer.model.classifier
    names = explainer.model.class_names(len(logits))
    label, probability = predicted_class(logits, names, classifier.is_regression)
    if label is None:
        return {"outputs": dict(zip(names, logits.tolist(), strict=True))}
    return {
        "class": names.index(label),
        "probability": probability,
        "probabilities": logits.softmax(0).tolist(),
        **({"label": label} if classifier.classes else {}),
    }


def _record(
    explainer: BatchExplainer,
    attribution: Attribution,
    batch: Batch,
    baselines: str,
    segments: NamedSegments | None,
) -> Explanation:
    """What was found, as :mod:`speechshap.report` shows it."""
    names = explainer.model.class_names(attribution.logits.shape[1])
    target, against = int(attribution.targets.classes[0, 0]), int(attribution.targets.against[0, 0])
    asked = [Target(names[target], None if against == NO_CLASS else names[against])]
    settings = explainer.settings.as_dict() | {"baselines": baselines}
    # Fingerprints tell the rows of runs apart; there is no run.
    provenance = Provenance("gradient_shap", settings, "", explainer.model.arithmetic.name, "", "", datetime.now(UTC))
    explanation = explainer.record(attribution, 0, batch, asked, provenance, segments=segments)
    return replace(explanation, utterance=Path(batch.paths[0]).name or batch.ids[0])
