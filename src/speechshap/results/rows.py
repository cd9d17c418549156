"""Explanations as rows of Parquet, one for each target: schema, and the way there and back."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa

from speechshap.attribution.targets import Target
from speechshap.data import Stretch
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.results.estimate import Estimate
from speechshap.results.evidence import Evidence
from speechshap.results.explanation import (
    BandAttribution,
    CueMeans,
    Explanation,
    LayerAttribution,
    Provenance,
    own_unit,
)
from speechshap.results.parts import Row
from speechshap.results.segments import SegmentAttribution

_OF_SETTINGS = ("seed", "baselines", "space", "output")
"""Settings that have a column of their own, to filter by."""

SCHEMA = pa.schema(
    [
        ("utterance", pa.string()),
        ("path", pa.string()),
        ("speaker", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float32()),
        ("class_names", pa.list_(pa.string())),
        ("class_probabilities", pa.list_(pa.float32())),
        ("target", pa.string()),
        ("against", pa.string()),
        ("target_logit", pa.float32()),
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("n_samples", pa.int64()),
        ("duration_seconds", pa.float64()),
        ("hop_seconds", pa.float64()),
        ("first_frame_seconds", pa.float64()),
        ("frame_attribution", pa.list_(pa.float32())),
        ("frame_standard_error", pa.list_(pa.float32())),
        ("completeness_gap", pa.float32()),
        ("completeness_gap_standard_error", pa.float32()),
        ("relative_error", pa.float32()),
        ("baselines", pa.string()),
        ("space", pa.string()),
        ("output", pa.string()),
        ("target_output", pa.float32()),
        ("n_replicates", pa.int64()),
        ("layer_names", pa.list_(pa.string())),
        ("layer_mass", pa.list_(pa.float32())),
        ("layer_frame_attribution", pa.list_(pa.list_(pa.float32()))),
        ("layer_frame_standard_error", pa.list_(pa.list_(pa.float32()))),
        ("frequencies_hz", pa.list_(pa.float32())),
        ("time_frequency_hop_seconds", pa.float64()),
        ("time_frequency_attribution", pa.list_(pa.list_(pa.float32()))),
        ("time_frequency_standard_error", pa.list_(pa.list_(pa.float32()))),
        ("embedding", pa.list_(pa.float32())),
        ("cue_names", pa.list_(pa.string())),
        ("cue_evidence", pa.list_(pa.float32())),
        ("cue_rest", pa.list_(pa.float32())),
        ("cue_rule", pa.string()),
        ("segment_tier", pa.list_(pa.string())),
        ("segment_label", pa.list_(pa.string())),
        ("segment_start_seconds", pa.list_(pa.float64())),
        ("segment_end_seconds", pa.list_(pa.float64())),
        ("segment_attribution", pa.list_(pa.float32())),
        ("segment_standard_error", pa.list_(pa.float32())),
        ("truth_start_seconds", pa.list_(pa.float64())),
        ("truth_end_seconds", pa.list_(pa.float64())),
        ("truth_low_hz", pa.list_(pa.float64())),
        ("truth_high_hz", pa.list_(pa.float64())),
        ("evidence_start_seconds", pa.list_(pa.float64())),
        ("evidence_end_seconds", pa.list_(pa.float64())),
        ("answer", pa.float32()),
        ("answer_evidence_alone", pa.float32()),
        ("answer_without_evidence", pa.float32()),
        ("answer_random_alone", pa.list_(pa.float32())),
        ("answer_without_random", pa.list_(pa.float32())),
        ("settings", pa.string()),
        ("model", pa.string()),
        ("precision", pa.string()),
        ("explained_at", pa.timestamp("us", "UTC")),
        ("settings_fingerprint", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
"""Columns of a row; null stands for what is unknown, does not exist or was not asked for.

``target`` is the explained class and ``against`` the one subtracted from it. ``target_output`` is what was explained,
of the kind ``output``; ``target_logit`` is the same as logit. ``n_samples`` is the number of draws that were taken.
Frames are centred ``hop_seconds`` apart from ``first_frame_seconds`` on. ``layer_frame_attribution`` is the sum over
the neurons of each layer and frame, ``layer_mass`` the sum of their absolute values for each layer. Time-frequency
attributions are lists of bands, each with a value for each column. ``embedding`` is the input of the classifier's head.
``cue_evidence`` and ``cue_rest`` are the means of the cues ``cue_names`` over the frames of the evidence, which
``cue_rule`` tells, and over the others.
The columns ``truth_…`` have one element for each stretch in which the evidence of the label is known to be. The columns
``evidence_…`` have one for each window that is heard as the evidence of the target, and the columns ``answer…`` what
the model says to the sound, to the evidence alone, to the sound without it, and, as often as it was asked, to as much
at random (:class:`speechshap.results.evidence.Evidence`).
The columns ``segment_…`` have one element for each segment, those of a tier one after the other.
``settings`` holds all settings of the method as JSON. ``model`` is a fingerprint of the weights.
``settings_fingerprint`` is common to the rows of a run (weights, precision, references, settings); rows with the same
``fingerprint`` (of the sound, too) hold the same result."""

GROUPED_BY = ("utterance", "settings_fingerprint", "fingerprint", "explained_at")
"""Columns that :func:`by_utterance` needs."""

_TRUTH = ("truth_start_seconds", "truth_end_seconds", "truth_low_hz", "truth_high_hz")
"""Columns of known evidence, in the order of the fields of a stretch."""

_ANSWERS = (
    "answer", "answer_evidence_alone", "answer_without_evidence", "answer_random_alone", "answer_without_random"
)  # fmt: skip
"""Columns of what the model says, in the order of the fields of the evidence behind the windows."""

SHOWN = tuple(name for name in SCHEMA.names if name != "embedding")
"""Columns that pictures are made from."""


def to_rows(explanation: Explanation) -> list[Row]:
    """Rows of an explanation, one for each target in its order, with a value for each column of :data:`SCHEMA`."""
    provenance, grid = explanation.provenance, explanation.grid
    shared: Row = {
        **dict.fromkeys(SCHEMA.names),
        **{name: provenance.settings.get(name) for name in _OF_SETTINGS},
        "utterance": explanation.utterance,
        "path": explanation.path,
        "speaker": explanation.speaker,
        "label": explanation.label,
        "prediction": explanation.prediction,
        "probability": explanation.probability,
        **_class_columns(explanation.probabilities),
        **_truth_columns(explanation.truth),
        "method": provenance.method,
        "n_samples": explanation.n_draws,
        "n_replicates": explanation.frames.n_replicates,
        "duration_seconds": explanation.duration,
        "hop_seconds": grid.hop_seconds,
        "first_frame_seconds": grid.first_center / SAMPLE_RATE,
        "embedding": None if explanation.embedding is None else explanation.embedding.tolist(),
        "settings": json.dumps(dict(provenance.settings)),
        "model": provenance.model,
        "precision": provenance.precision,
        "explained_at": provenance.explained_at,
        "settings_fingerprint": provenance.settings_fingerprint,
        "fingerprint": provenance.fingerprint,
    }
    rows = []
    for index, target in enumerate(explanation.targets):
        row: Row = {
            **shared,
            "target": target.label,
            "against": target.against,
            "target_logit": float(explanation.logits[index]),
            "target_output": float(explanation.outputs[index]),
            "relative_error": float(explanation.relative_error[index]),
            **_columns(explanation.frames, index, "frame_attribution", "frame_standard_error"),
            **_columns(explanation.completeness_gap, index, "completeness_gap", "completeness_gap_standard_error"),
        }
        if (layers := explanation.layers) is not None:
            row["layer_names"] = list(layers.names)
            row["layer_mass"] = layers.mass[index].tolist()
            row |= _columns(layers.frames, index, "layer_frame_attribution", "layer_frame_standard_error")
        if (bands := explanation.bands) is not None:
            row["frequencies_hz"] = bands.frequencies.tolist()
            row["time_frequency_hop_seconds"] = bands.hop_seconds
            row |= _columns(bands.estimate, index, "time_frequency_attribution", "time_frequency_standard_error")
        if (cues := explanation.cues) is not None:
            row["cue_names"], row["cue_rule"] = list(cues.names), cues.rules[index]
            row["cue_evidence"], row["cue_rest"] = cues.evidence[index].tolist(), cues.rest[index].tolist()
        if (segments := explanation.segments) is not None:
            row["segment_tier"], row["segment_label"] = list(segments.tiers), list(segments.labels)
            row["segment_start_seconds"] = segments.starts.tolist()
            row["segment_end_seconds"] = segments.ends.tolist()
            row |= _columns(segments.estimate, index, "segment_attribution", "segment_standard_error")
        if (evidence := explanation.evidence) is not None:
            row["evidence_start_seconds"], row["evidence_end_seconds"] = evidence.windows[index].T.tolist()
            row |= {
                column: float(own[index]) if own.ndim == 1 else own[index].tolist()
                for column, own in zip(_ANSWERS, _answers_of(evidence), strict=True)
            }
        rows.append({name: None if isinstance(value, float) and isnan(value) else value for name, value in row.items()})
    return rows


def from_rows(rows: Sequence[Row]) -> Explanation:
    """The explanation that these rows of one utterance and run hold, its targets in their order.

    Args:
        rows: Rows with the columns :data:`SHOWN` at least. The last one counts if several have the same target.
    """
    rows = list({target_of(row): row for row in rows}.values())
    first = rows[0]
    layers = bands = cues = segments = evidence = None
    if first["layer_names"] is not None:
        layers = LayerAttribution(
            tuple(first["layer_names"]),
            _estimate(rows, "layer_frame_attribution", "layer_frame_standard_error"),
            _stack(rows, "layer_mass"),
        )
    if first["frequencies_hz"] is not None:
        bands = BandAttribution(
            np.asarray(first["frequencies_hz"]),
            first["time_frequency_hop_seconds"],
            _estimate(rows, "time_frequency_attribution", "time_frequency_standard_error"),
        )
    # A target that another run has added may have none.
    if all(row["cue_names"] is not None for row in rows):
        cues = CueMeans(
            tuple(first["cue_names"]),
            _stack(rows, "cue_evidence"),
            _stack(rows, "cue_rest"),
            tuple(row["cue_rule"] for row in rows),
        )
    if first["segment_tier"] is not None:
        segments = SegmentAttribution(
            tuple(first["segment_tier"]),
            tuple(first["segment_label"]),
            np.asarray(first["segment_start_seconds"]),
            np.asarray(first["segment_end_seconds"]),
            _estimate(rows, "segment_attribution", "segment_standard_error"),
        )
    if all(row["evidence_start_seconds"] is not None for row in rows):
        windows = ([row["evidence_start_seconds"], row["evidence_end_seconds"]] for row in rows)
        evidence = Evidence(
            tuple(np.array(own, np.float64).reshape(2, -1).T for own in windows),
            *(_stack(rows, column) for column in _ANSWERS),
        )
    embedding = first.get("embedding")
    return Explanation(
        utterance=first["utterance"],
        path=first["path"],
        speaker=first["speaker"],
        label=first["label"],
        prediction=first["prediction"],
        probability=first["probability"],
        probabilities=None
        if first["class_names"] is None
        else dict(zip(first["class_names"], first["class_probabilities"], strict=True)),
        targets=tuple(target_of(row) for row in rows),
        outputs=_stack(rows, "target_output"),
        logits=_stack(rows, "target_logit"),
        grid=_grid_of(first),
        num_samples=round(SAMPLE_RATE * first["duration_seconds"]),
        frames=_estimate(rows, "frame_attribution", "frame_standard_error"),
        completeness_gap=_estimate(rows, "completeness_gap", "completeness_gap_standard_error"),
        n_draws=first["n_samples"],
        provenance=Provenance(
            method=first["method"],
            settings=json.loads(first["settings"]),
            model=first["model"],
            precision=first["precision"],
            settings_fingerprint=first["settings_fingerprint"],
            fingerprint=first["fingerprint"],
            explained_at=first["explained_at"],
        ),
        layers=layers,
        bands=bands,
        embedding=None if embedding is None else np.asarray(embedding, dtype=np.float32),
        cues=cues,
        segments=segments,
        truth=tuple(Stretch(*own) for own in zip(*(first[column] for column in _TRUTH), strict=True))
        if first[_TRUTH[0]] is not None
        else (),
        evidence=evidence,
    )


def _class_columns(probabilities: Mapping[str, float] | None) -> Row:
    if probabilities is None:
        return {}
    return {"class_names": list(probabilities), "class_probabilities": list(probabilities.values())}


def _truth_columns(truth: Sequence[Stretch]) -> Row:
    return dict(zip(_TRUTH, map(list, zip(*truth, strict=True)), strict=True)) if truth else {}


def _answers_of(evidence: Evidence) -> tuple[np.ndarray, ...]:
    """In the order of their columns."""
    return evidence.whole, evidence.alone, evidence.without, evidence.random_alone, evidence.random_without


def target_of(row: Mapping[str, Any]) -> Target:
    """What a row explains."""
    return Target(row["target"], row["against"])


def explaining_prediction(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that explain the prediction: those of the predicted class, or else those of its contrasts.

    An output and a difference of two are never summed up together: where rows are of both kinds, the kind that more
    rows have is taken, and the class itself where both have as many. An utterance has one contrast: of several, that
    which the class has most often. One that subtracts the predicted class speaks of another one, and is left out. Of a
    regression, all outputs are of interest, and none of their differences.

    Args:
        rows: Rows of the same settings. Contrasts need the column ``utterance``.

    Example:
        >>> happy = {"utterance": "a.wav", "target": "happy", "against": None, "prediction": "happy"}
        >>> [str(target_of(row)) for row in explaining_prediction([happy, happy | {"against": "sad"}])]
        ['happy']
        >>> [str(target_of(row)) for row in explaining_prediction([happy | {"against": "sad"}])]
        ['happy - sad']
    """
    plain = [row for row in rows if row["against"] is None and row["prediction"] in (None, row["target"])]
    contrasts = [row for row in rows if row["against"] is not None and row["prediction"] == row["target"]]
    count = Counter(target_of(row) for row in contrasts)
    chosen = {row["utterance"]: row for row in sorted(contrasts, key=lambda row: count[target_of(row)])}
    return max(plain, list(chosen.values()), key=len)


def by_utterance(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows by utterance and settings, groups in the order of their first row.

    Where a sound file was changed between two runs, only the rows of the later one are kept.

    Args:
        rows: Rows with the columns :data:`GROUPED_BY`.
    """
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        group = groups.setdefault((row["utterance"], row["settings_fingerprint"]), {})
        group.setdefault(row["fingerprint"], []).append(row)
    return [max(versions.values(), key=_explained_at) for versions in groups.values()]


def _explained_at(rows: Sequence[Row]) -> datetime:
    return max(row["explained_at"] for row in rows)


def _grid_of(row: Row) -> FrameGrid:
    """A grid of as many frames as a row has, and with the same centres: one without padding if there is such a one."""
    # Whole numbers of samples, which double precision brings back.
    hop, num_samples = (round(SAMPLE_RATE * row[name]) for name in ("hop_seconds", "duration_seconds"))
    twice_center = round(2 * SAMPLE_RATE * row["first_frame_seconds"])
    frames = len(row["frame_attribution"])
    plain = FrameGrid(hop, twice_center + 1)
    if twice_center >= 0 and plain.num_frames(num_samples) == frames:
        return plain
    # Padding of both sides moves no frame if the receptive field grows with it; that of one side alters their number.
    surplus = num_samples - (frames - 1) * hop - plain.receptive_field
    before = max(0, surplus, -(twice_center // 2))
    return FrameGrid(hop, plain.receptive_field + 2 * before, before, before - surplus)


def _columns(estimate: Estimate, index: int, values: str, standard_error: str) -> Row:
    """Columns of an estimate for one target."""
    errors = estimate.standard_error
    return {
        values: estimate.values[index].tolist(),
        standard_error: None if errors is None else errors[index].tolist(),
    }


def _estimate(rows: Sequence[Row], values: str, standard_error: str) -> Estimate:
    is_known = any(row.get(standard_error) is not None for row in rows)
    # Where draws go on until an error is small enough, a target that another run has added may have other replicates.
    fewest = min((count for row in rows if (count := row["n_replicates"]) is not None), default=None)
    stacked, errors = _stack(rows, values), None
    if is_known:
        # Such a target may also be of an earlier version, which gave no errors of layers, say.
        errors = np.full_like(stacked, np.nan)
        for place, row in enumerate(rows):
            if (own := row.get(standard_error)) is not None:
                errors[place] = own
    return Estimate(stacked, errors, fewest, own_unit(rows[0]["method"]) is None)


def _stack(rows: Sequence[Row], column: str) -> np.ndarray:
    """A column of all rows, ``(targets, ...)``; NaN for null."""
    return np.array([row[column] for row in rows], dtype=np.float32)
