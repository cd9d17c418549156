"""Converts an Attribution into one Explanation per utterance."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.segments import NamedSegments, sum_segments
from speechshap.attribution.targets import NO_CLASS, Target
from speechshap.data import Stretch
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import BandAttribution, Explanation, LayerAttribution, Provenance, own_unit
from speechshap.results.segments import SegmentAttribution
from speechshap.spaces import Bands


def from_attribution(
    attribution: Attribution,
    index: int,
    *,
    utterance: str,
    path: str,
    speaker: str | None,
    label: str | None,
    prediction: str | None,
    probability: float | None,
    targets: Sequence[Target],
    grid: FrameGrid,
    num_samples: int,
    provenance: Provenance,
    probabilities: Mapping[str, float] | None = None,
    bands: Bands | None = None,
    embedding: Tensor | None = None,
    segments: NamedSegments | None = None,
    truth: tuple[Stretch, ...] = (),
) -> Explanation:
    """The explanation of one utterance of a batch.

    Targets are sorted: the predicted class, then the other classes by falling output, then contrasts; the outputs of a
    regression stay in the model's order. A target that occurs twice (a class asked for by name that is also the
    predicted one) is kept once.

    Args:
        attribution: Attribution of the batch.
        index: Index of the utterance in the batch.
        utterance: Id of the utterance.
        path: Its sound file.
        speaker: Who speaks; None where unknown.
        label: Its true class; None where unknown.
        prediction: Class that the model predicts; None for a regression.
        probability: Probability of that class; None for a regression.
        targets: Explained targets of this utterance, one for each column of the attribution.
        grid: Where the frames lie on the waveform.
        num_samples: Length of the waveform in samples.
        provenance: What the attribution was computed from.
        probabilities: Of all classes, by name; None for a regression, and where unknown.
        bands: Bands and columns of the time-frequency attribution; None without one.
        embedding: Input of the classifier's head, ``(features,)``; None where unknown.
        segments: Segments of the utterance, the same that the evaluator had; None for none.
        truth: Where the evidence of the label is known to be; empty where it is not known.
    """
    outputs, n_replicates = attribution.outputs[index].tolist(), int(attribution.n_replicates[index])
    is_signed = own_unit(provenance.method) is None
    columns = sorted(
        {target: column for column, target in enumerate(targets)}.values(),
        key=lambda column: (
            targets[column] != (prediction, None),
            targets[column].against is not None,
            column if prediction is None else -outputs[column],
        ),
    )  # fmt: skip

    def estimate(values: Tensor, standard_error: Tensor | None, length: int | None = None) -> Estimate:
        def own(tensor: Tensor) -> np.ndarray:
            return _numpy(tensor[index, columns][..., :length])

        errors = None if standard_error is None else own(standard_error)
        return Estimate(own(values), errors, n_replicates, is_signed)

    logits, classes, against = (
        tensor[index].cpu() for tensor in (attribution.logits, attribution.targets.classes, attribution.targets.against)
    )
    subtracted = torch.where(against == NO_CLASS, 0, logits[against.clamp_min(0)])
    by_band = None
    if bands is not None and attribution.time_frequency is not None:
        by_band = BandAttribution(
            bands.frequencies.double().numpy(),
            bands.columns.hop_seconds,
            estimate(
                attribution.time_frequency,
                attribution.time_frequency_standard_error,
                bands.columns.num_frames(num_samples),
            ),
        )
    return Explanation(
        utterance=utterance,
        path=path,
        speaker=speaker,
        label=label,
        prediction=prediction,
        probability=probability,
        probabilities=probabilities,
        targets=tuple(targets[column] for column in columns),
        outputs=_numpy(attribution.outputs[index, columns]),
        logits=_numpy((logits[classes] - subtracted)[columns]),
        grid=grid,
        num_samples=num_samples,
        frames=estimate(attribution.frames, attribution.frames_standard_error, int(attribution.frame_lengths[index])),
        completeness_gap=estimate(attribution.completeness_gap, attribution.completeness_gap_standard_error),
        n_draws=int(attribution.n_samples[index]),
        provenance=provenance,
        layers=_layers(attribution, index, columns) if attribution.layers else None,
        bands=by_band,
        embedding=None if embedding is None else _numpy(embedding),
        segments=None
        if segments is None
        else _segments(attribution, index, columns, segments, grid.edges(num_samples), is_signed),
        truth=truth,
    )


def layer_tensors(attribution: Attribution, index: int, targets: Sequence[Target]) -> dict[str, Tensor]:
    """Neuron attributions of one utterance by ``<target>/<layer>``, and their standard errors if there are any.

    Args:
        attribution: Attribution of the batch.
        index: Index of the utterance in the batch.
        targets: Explained targets of this utterance, one for each column of the attribution.

    Returns:
        Tensors on the CPU, ``(frames, hidden size)`` where a layer's outputs are those of frames; standard errors are
        named ``<target>/<layer>/standard_error``. A target is named as ``str`` has it, which differs for all.
    """
    tensors = {}
    for kind, layers in (("", attribution.layers), ("/standard_error", attribution.layers_standard_error)):
        for layer, values in layers.items():
            for column, target in enumerate(targets):
                tensors[f"{target}/{layer}{kind}"] = _within(attribution, index, values)[column].cpu()
    return tensors


def _layers(attribution: Attribution, index: int, columns: Sequence[int]) -> LayerAttribution:
    own = {name: _within(attribution, index, values)[columns] for name, values in attribution.layers.items()}
    num_frames = int(attribution.frame_lengths[index])
    unknown = torch.full((len(columns), num_frames), torch.nan)
    has_frames = {name: values.ndim == 3 and values.shape[1] == num_frames for name, values in own.items()}
    frames = [values.sum(2).float().cpu() if has_frames[name] else unknown for name, values in own.items()]
    standard_error = None
    if sums := attribution.layer_frames_standard_error:
        errors = [sums[name][index, columns, :num_frames].cpu() if has_frames[name] else unknown for name in own]
        standard_error = _numpy(torch.stack(errors, 1))
    mass = [values.abs().flatten(1).sum(1) for values in own.values()]
    return LayerAttribution(
        tuple(attribution.layers),
        Estimate(_numpy(torch.stack(frames, 1)), standard_error, int(attribution.n_replicates[index])),
        _numpy(torch.stack(mass, 1)),
    )


def _segments(
    attribution: Attribution,
    index: int,
    columns: Sequence[int],
    segments: NamedSegments,
    edges: Tensor,
    is_signed: bool,
) -> SegmentAttribution | None:
    errors = attribution.segments_standard_error
    # What a picture chooses from by the errors is of no use without them.
    count = segments.num_asked if errors is None else len(segments.bounds)
    if not count:
        return None
    bounds, seconds = segments.bounds[:count], edges.numpy() / SAMPLE_RATE
    sums = sum_segments(attribution.frames[index, columns].double(), bounds)
    return SegmentAttribution(
        segments.tiers[:count],
        segments.labels[:count],
        seconds[[first for first, _ in bounds]],
        seconds[[end for _, end in bounds]],
        Estimate(
            _numpy(sums),
            None if errors is None else _numpy(errors[index, columns, :count]),
            int(attribution.n_replicates[index]),
            is_signed,
        ),
    )


def _within(attribution: Attribution, index: int, values: Tensor) -> Tensor:
    """Neurons of one utterance, ``(targets, frames, hidden size)`` without padding where the layer has frames."""
    has_frames = values.ndim == 4 and values.shape[2] == attribution.frames.shape[2]
    return values[index, :, : int(attribution.frame_lengths[index])] if has_frames else values[index]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
