"""Attributions as the rows and tensors that a run leaves behind."""

from collections.abc import Sequence

from torch import Tensor

from speechshap.attribution import Attribution, SpectralGrid
from speechshap.attribution.targets import NO_CLASS
from speechshap.data import Batch
from speechshap.explaining.targets import Question
from speechshap.frames import SAMPLE_RATE
from speechshap.results.folder import SCHEMA, Row
from speechshap.training import EmotionModule


def utterance_rows(
    module: EmotionModule,
    batch: Batch,
    attribution: Attribution,
    index: int,
    questions: Sequence[Question],
    spectrum: SpectralGrid | None,
    embedding: Tensor,
) -> list[Row]:
    """Result rows of one utterance of a batch, one for each target, the predicted class first."""
    grid = module.backbone.grid
    logits, label = attribution.logits[index].cpu(), int(batch.labels[index])
    prediction = int(logits.argmax())
    num_frames = int(attribution.frame_lengths[index])
    shared = {
        **dict.fromkeys(SCHEMA.names),
        "utterance": batch.ids[index],
        "path": batch.paths[index],
        "label": module.classes[label] if label >= 0 else None,
        "prediction": module.classes[prediction],
        "probability": float(logits.softmax(0)[prediction]),
        "n_samples": int(attribution.n_samples[index]),
        "n_replicates": int(attribution.n_replicates[index]),
        "duration_seconds": int(batch.lengths[index]) / SAMPLE_RATE,
        "hop_seconds": grid.hop_seconds,
        "first_frame_seconds": (grid.receptive_field - 1) / 2 / SAMPLE_RATE,
        "embedding": embedding.tolist(),
    }
    if attribution.layers:
        layer_mass, layer_frames = attribution.layer_mass()[index].tolist(), attribution.layer_frames()[index]
    rows = []
    # A class that was asked for by name and as the predicted one was explained twice, alike.
    for question, column in {question: column for column, question in enumerate(questions)}.items():
        subtracted = float(logits[question.against]) if question.against != NO_CLASS else 0.0
        row: Row = {
            **shared,
            "target": question.name,
            "target_logit": float(logits[question.target]) - subtracted,
            "target_output": float(attribution.outputs[index, column]),
            "frame_attribution": attribution.frames[index, column, :num_frames].tolist(),
            "frame_standard_error": attribution.frames_standard_error[index, column, :num_frames].tolist(),
            "completeness_gap": float(attribution.completeness_gap[index, column]),
            "completeness_gap_standard_error": float(attribution.completeness_gap_standard_error[index, column]),
            "relative_error": float(attribution.relative_error[index, column]),
        }
        if attribution.layers:
            row["layer_names"] = list(attribution.layers)
            row["layer_mass"] = layer_mass[column]
            row["layer_frame_attribution"] = layer_frames[column, :, :num_frames].tolist()
        bands, errors = attribution.time_frequency, attribution.time_frequency_standard_error
        if spectrum is not None and bands is not None and errors is not None:
            frames = spectrum.num_frames(int(batch.lengths[index]))
            row["frequencies_hz"] = spectrum.frequencies.tolist()
            row["time_frequency_hop_seconds"] = spectrum.hop / SAMPLE_RATE
            row["time_frequency_attribution"] = bands[index, column, :, :frames].tolist()
            row["time_frequency_standard_error"] = errors[index, column, :, :frames].tolist()
        rows.append(row)
    return sorted(rows, key=lambda row: row["target"] != row["prediction"])


def layer_tensors(attribution: Attribution, index: int, targets: Sequence[str]) -> dict[str, Tensor]:
    """Neuron attributions of one utterance, ``(frames, hidden size)`` each, named ``<target>/<layer>``."""
    frames = int(attribution.frame_lengths[index])
    tensors = {}
    for layer, values in attribution.layers.items():
        errors = attribution.layers_standard_error[layer]
        for column, target in enumerate(targets):
            tensors[f"{target}/{layer}"] = values[index, column, :frames].cpu()
            tensors[f"{target}/{layer}/standard_error"] = errors[index, column, :frames].cpu()
    return tensors
