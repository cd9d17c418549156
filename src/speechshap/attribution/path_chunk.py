"""Points on paths sent through the model, many at a time.

Notation: K targets, T samples, F frames, R rows (points on the paths) of a chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution.errors import NonFiniteGradientError
from speechshap.attribution.evaluator import Evaluator, within
from speechshap.attribution.gradients import Gradients, Outputs
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.replicates import PathPoint, ReferenceKey
from speechshap.attribution.sampling import Sampler
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets


@dataclass(frozen=True, slots=True)
class UnfinishedPath:
    """A path that goes on in the next chunk, where its reference is neither drawn nor evaluated again.

    Attributes:
        references: Its reference alone, by its key; empty where the chunk ended with a path.
        reference_layers: Outputs of the layers there, likewise.
    """

    references: dict[ReferenceKey, Tensor] = field(default_factory=dict)
    reference_layers: dict[ReferenceKey, dict[str, Tensor]] = field(default_factory=dict)


class PathChunk(NamedTuple):
    """What the points of a chunk came to.

    Attributes:
        alphas: ``(R,)`` float64.
        weights: ``(R,)`` float64, or ``(R, rules)``.
        frames: ``(R, K, F)``.
        values: ``(R, K, T)``, where they are kept.
        bands: ``(R, K, bands, frames)``, where there is a spectrum.
        neurons: ``(R, K, ...)`` for each layer.
        nonzero: Whether a point has a gradient other than 0.
        reference_keys: References that the model was asked about.
        reference_outputs: Explained outputs at these, ``(references, K)``.
        unfinished: What the next chunk goes on with.
    """

    alphas: Tensor
    weights: Tensor
    frames: Tensor
    values: Tensor | None
    bands: Tensor | None
    neurons: dict[str, Tensor]
    nonzero: list[bool]
    reference_keys: list[ReferenceKey]
    reference_outputs: Tensor
    unfinished: UnfinishedPath


class _Part(NamedTuple):
    """What the points of a chunk came to for one target; the same as in :class:`PathChunk`, without its K."""

    frames: Tensor
    values: Tensor | None
    bands: Tensor | None
    neurons: dict[str, Tensor]
    nonzero: Tensor


class ChunkEvaluator:
    """Evaluates chunks of points.

    Of a long recording a few copies of its samples are alive at any time, whatever the number of targets.

    Args:
        evaluator: Has the batch, the model and its layers.
        targets: What is explained, as :meth:`Evaluator.targets` returns it.
        sampler: Places the points.
        layer_method: How neurons are explained.
        spectrum: Time-frequency transform to carry the attributions to, if any.
        keep_values: Whether the attributions of single samples are kept.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        targets: Targets,
        sampler: Sampler,
        layer_method: LayerMethod,
        spectrum: SpectralGrid | None,
        keep_values: bool,
    ) -> None:
        self._evaluator = evaluator
        self._targets = targets
        self._sampler = sampler
        self._is_along_path = layer_method == "path"
        self._spectrum = spectrum
        self._keep_values = keep_values

    @torch.inference_mode(False)
    @torch.no_grad()
    def evaluate(self, points: list[PathPoint], known: UnfinishedPath) -> PathChunk:
        """Send points through the model; it changes nothing, so that it can be tried again in smaller parts.

        Args:
            points: In the order of their replicates.
            known: What the chunk before left unfinished.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
        """
        replicates = {key: self._sampler.draw(*key) for key in dict.fromkeys(point.key for point in points)}
        alphas = torch.stack([replicates[point.key].alphas[point.number] for point in points])
        weights = torch.stack([replicates[point.key].weights[point.number] for point in points])
        keys = [self._sampler.reference_key(point) for point in points]
        drawn = {
            key: known.references[key] if key in known.references else self._sampler.reference(key)
            for key in dict.fromkeys(keys)
        }
        unfinished = {keys[-1]: drawn[keys[-1]]} if self._goes_on(points[-1]) else {}
        references = self._pad_references(drawn, max(self._evaluator.lengths[point.utterance] for point in points))
        index = {key: number for number, key in enumerate(drawn)}
        asked = [key for key in drawn if key not in known.references and self._is_evaluated(key)]
        at_references = self._evaluate_references(asked, references[[index[key] for key in asked]])
        reference_layers = {**known.reference_layers, **_split_layers(asked, at_references)}
        references = references[[index[key] for key in keys]]  # (R, T)
        del drawn  # each copy of hours of sound counts
        parts = self._parts(points, alphas, references, [reference_layers.get(key, {}) for key in keys])
        return PathChunk(
            alphas=alphas,
            weights=weights,
            frames=torch.stack([part.frames for part in parts], 1),
            values=_stack([part.values for part in parts]),
            bands=_stack([part.bands for part in parts]),
            neurons={name: torch.stack([part.neurons[name] for part in parts], 1) for name in parts[0].neurons},
            nonzero=torch.stack([part.nonzero for part in parts]).any(0).tolist(),
            reference_keys=asked,
            reference_outputs=self._targets(at_references.logits, self._evaluator.indices([key[0] for key in asked])),
            unfinished=UnfinishedPath(unfinished, {key: reference_layers.get(key, {}) for key in unfinished}),
        )

    def _goes_on(self, point: PathPoint) -> bool:
        """Whether another point of its replicate lies on the same path."""
        if point.number == self._sampler.points_per_replicate - 1:
            return False
        following = point._replace(number=point.number + 1)
        return self._sampler.reference_key(following) == self._sampler.reference_key(point)

    def _parts(
        self,
        points: list[PathPoint],
        alphas: Tensor,
        references: Tensor,
        reference_layers: Sequence[Mapping[str, Tensor]],
    ) -> list[_Part]:
        """What rows with these references ``(R, T)``, which are changed, came to for each target."""
        evaluator, utterances = self._evaluator, [point.utterance for point in points]
        waveforms, differences = _waveforms_at(alphas, evaluator.inputs, utterances, references)
        directions = differences if self._is_along_path else None
        factors: dict[str, Tensor] = {}
        parts = []
        for gradients in evaluator.gradients(waveforms, utterances, self._targets, directions):
            factors = factors or self._layer_factors(utterances, gradients, reference_layers)
            parts.append(self._part(points, differences, gradients, factors))
            del gradients  # before those of the next target are computed
        return parts

    def _part(
        self, points: list[PathPoint], differences: Tensor, gradients: Gradients, factors: Mapping[str, Tensor]
    ) -> _Part:
        evaluator, utterances = self._evaluator, [point.utterance for point in points]
        frames = evaluator.sum_frames(differences, gradients.inputs, utterances)
        neurons = {name: gradient * factors[name] for name, gradient in gradients.layers.items()}
        if evaluator.own_layer is not None:
            neurons[evaluator.own_layer] = differences * gradients.inputs
        # A frame is finite where all of its samples are.
        finite = torch.stack([part.isfinite().flatten(1).all(1) for part in (frames, *neurons.values())]).all(0)
        if not finite.all():
            raise NonFiniteGradientError(evaluator.ids[utterances[finite.tolist().index(False)]])
        bands = evaluator.bands(differences, gradients.inputs, utterances, self._spectrum)
        values = differences * gradients.inputs if self._keep_values else None
        return _Part(frames, values, bands, neurons, gradients.inputs.flatten(1).any(1))

    def _pad_references(self, drawn: Mapping[ReferenceKey, Tensor], width: int) -> Tensor:
        """References of the chunk on the device, ``(references, width, ...)``, 0 in the padding."""
        inputs, anyone = self._evaluator.inputs, next(iter(drawn.values()))
        shape = (len(drawn), width, *inputs.shape[2:])
        references = torch.zeros(shape, dtype=inputs.dtype, device=anyone.device)
        for own, reference in zip(references, drawn.values(), strict=True):
            own[: len(reference)] = reference
        return references.to(self._evaluator.device)

    @property
    def _has_endpoints(self) -> bool:
        return bool(self._evaluator.layers) and not self._is_along_path

    def _is_evaluated(self, key: ReferenceKey) -> bool:
        """Whether the model is asked about the reference itself: always for layer endpoints."""
        return self._has_endpoints or self._sampler.needs_output(key)

    def _evaluate_references(self, keys: list[ReferenceKey], references: Tensor) -> Outputs:
        if not keys:
            return Outputs(references.new_zeros(0, self._evaluator.logits.shape[1]), {})
        return self._evaluator.outputs_at(references, [key[0] for key in keys], with_layers=self._has_endpoints)

    def _layer_factors(
        self,
        utterances: list[int],
        gradients: Gradients,
        reference_layers: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """What multiplies each layer's gradient, ``(R, ...)``: its slope on the path, or its endpoints' difference."""
        if self._is_along_path:
            return gradients.layer_slopes
        factors = {name: torch.zeros_like(gradient) for name, gradient in gradients.layers.items()}
        for name, differences in factors.items():
            for own_differences, utterance, layers in zip(differences, utterances, reference_layers, strict=True):
                reference = layers[name]
                # The reference may have been evaluated in a chunk of another width; what is beyond either is padding.
                common = within([min(sizes) for sizes in zip(own_differences.shape, reference.shape, strict=True)])
                own = self._evaluator.outputs.layers[name][utterance]
                own_differences[common] = own[common].float() - reference[common].float()
        return factors


def _waveforms_at(
    alphas: Tensor, inputs: Tensor, utterances: Sequence[int], references: Tensor
) -> tuple[Tensor, Tensor]:
    """Points on the paths, and inputs minus references, ``(R, T)`` each; the references are changed.

    A point is computed from the nearer end, so that what is left of the other is exact.
    """
    near_reference = alphas < 0.5
    steps = torch.where(near_reference, alphas, alphas - 1).to(inputs)  # the rest is taken in double precision
    points = torch.empty_like(references)
    for row, (point, reference) in enumerate(zip(points, references, strict=True)):
        own = inputs[utterances[row], : len(reference)]
        difference = own - reference
        torch.mul(difference, steps[row], out=point).add_(reference if near_reference[row] else own)
        reference.copy_(difference)
    return points, references


def _split_layers(keys: list[ReferenceKey], outputs: Outputs) -> dict[ReferenceKey, dict[str, Tensor]]:
    return {key: {name: layer[row] for name, layer in outputs.layers.items()} for row, key in enumerate(keys)}


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors of the targets ``(R, ...)`` as ``(R, K, ...)``, where there are any."""
    known = [part for part in parts if part is not None]
    return torch.stack(known, 1) if known else None
