"""Path attributions: gradients at points between references and utterances, with the moments of their replicates.

Notation: B utterances, K targets, T samples, F frames, R rows (points on the paths) of a chunk.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution, relative_error
from speechshap.attribution.completeness import Completeness
from speechshap.attribution.errors import NonFiniteGradientError, ZeroGradientError
from speechshap.attribution.evaluator import Evaluator, within
from speechshap.attribution.gradients import Gradients, Outputs
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.replicates import PathPoint, ReplicateKey, ReplicateMoments, segments_of, sum_dtype
from speechshap.attribution.sampling import Replicate, Sampler
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets


class _Chunk(NamedTuple):
    """What the points of a chunk came to."""

    draws: dict[ReplicateKey, Replicate]
    alphas: Tensor
    weights: Tensor
    attributions: Tensor
    frames: Tensor
    bands: Tensor | None
    neurons: dict[str, Tensor]
    nonzero: list[bool]
    reference_keys: list[ReplicateKey]
    reference_outputs: Tensor
    reference_layers: dict[ReplicateKey, dict[str, Tensor]]


class PathEstimator:
    """Attributes a batch, as many replicates at a time as it is asked for.

    A replicate is one reference with points on its path, whose weighted mean estimates the attributions. Random
    replicates are averaged, and their variance gives the standard error; a single deterministic one has none.

    Args:
        evaluator: Has the batch, the model and its layers.
        targets: What is explained.
        sampler: Places the points.
        layer_method: How neurons are explained.
        spectrum: Time-frequency transform to carry the attributions to, if any.
        keep_draws: Whether the frame attributions of every point are kept.

    Attributes:
        replicates: How many each utterance has so far.

    Raises:
        ValueError: The model does not have the targets.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        targets: Targets,
        sampler: Sampler,
        layer_method: LayerMethod = "endpoint",
        spectrum: SpectralGrid | None = None,
        keep_draws: bool = False,
    ) -> None:
        self._evaluator = evaluator
        self._targets = evaluator.targets(targets)
        self._sampler = sampler
        self._is_along_path = layer_method == "path"
        self._spectrum = spectrum
        self.replicates = [0] * len(evaluator)
        self._has_gradient = [False] * len(evaluator)
        self._kept: list[list[Tensor]] | None = [[] for _ in evaluator.ids] if keep_draws else None
        self._completeness = Completeness(len(evaluator))
        # A replicate whose points are spread over two chunks is drawn and evaluated once.
        self._drawn: dict[ReplicateKey, Replicate] = {}
        self._reference_layers: dict[ReplicateKey, dict[str, Tensor]] = {}

        device, num_samples = evaluator.device, evaluator.inputs.shape[1]

        def moments(*shape: int, dtype: torch.dtype) -> ReplicateMoments:
            return ReplicateMoments(len(evaluator), (targets.classes.shape[1], *shape), dtype, device)

        exact = sum_dtype(device)
        self._values = moments(num_samples, dtype=exact)
        self._frames = moments(evaluator.num_frames, dtype=exact)
        self._bands = (
            None if spectrum is None else moments(spectrum.num_bands, spectrum.num_frames(num_samples), dtype=exact)
        )
        # Single precision, since there are many neurons.
        self._neurons = {
            name: moments(*layer.shape[1:], dtype=torch.float32) for name, layer in evaluator.outputs.layers.items()
        }

    def advance(self, goals: Sequence[int]) -> None:
        """Add replicates until each utterance has as many as its goal.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
            ZeroGradientError: Those of an utterance are all 0.
        """
        points = [
            PathPoint(utterance, replicate, number)
            for utterance, goal in enumerate(goals)
            for replicate in range(self.replicates[utterance], goal)
            for number in range(self._sampler.points_per_replicate)
        ]
        evaluated = self._evaluator.evaluate_with_gradients(
            [point.utterance for point in points],
            lambda numbers: self._evaluate([points[number] for number in numbers]),
        )
        for numbers, chunk in evaluated:
            self._absorb([points[number] for number in numbers], chunk)
        for utterance, goal in enumerate(goals):
            self.replicates[utterance] = max(goal, self.replicates[utterance])
            if not self._has_gradient[utterance]:
                raise ZeroGradientError(self._evaluator.ids[utterance])

    def relative_error(self) -> Tensor:
        """Norm of the frames' standard errors relative to that of the frames so far, ``(B, K)``."""
        error = self._frames.standard_error()
        if error is None:
            raise ValueError("fewer than two replicates have no standard error")
        return relative_error(self._frames.mean, error)

    def attribution(self) -> Attribution:
        """What the replicates so far come to."""
        dtype, device = self._evaluator.inputs.dtype, self._evaluator.device
        outputs = self._targets(self._evaluator.logits)
        gap, gap_error = self._completeness.gap(outputs)
        replicates = torch.tensor(self.replicates, device=device)
        errors = {name: moments.standard_error() for name, moments in self._neurons.items()}
        bands = self._bands
        return Attribution(
            values=self._values.mean.to(dtype),
            values_standard_error=_to(self._values.standard_error(), dtype),
            frames=self._frames.mean.to(dtype),
            frames_standard_error=_to(self._frames.standard_error(), dtype),
            frame_lengths=self._evaluator.frame_lengths,
            targets=self._targets,
            logits=self._evaluator.logits,
            outputs=outputs,
            completeness_gap=gap.to(device, dtype),
            completeness_gap_standard_error=None if gap_error is None else gap_error.to(device, dtype),
            n_samples=replicates * self._sampler.points_per_replicate,
            n_replicates=replicates,
            layers={name: moments.mean for name, moments in self._neurons.items()},
            layers_standard_error={name: error for name, error in errors.items() if error is not None},
            time_frequency=None if bands is None else bands.mean.to(dtype),
            time_frequency_standard_error=None if bands is None else _to(bands.standard_error(), dtype),
            sample_frames=None if self._kept is None else [torch.stack(draws) for draws in self._kept],
        )

    def _evaluate(self, points: list[PathPoint]) -> _Chunk:
        """Send a chunk through the model; nothing is kept yet, so that it can be tried again in smaller parts."""
        evaluator, sampler = self._evaluator, self._sampler
        draws = {
            key: self._drawn.get(key) or sampler.draw(*key) for key in dict.fromkeys(point.key for point in points)
        }
        index = {key: number for number, key in enumerate(draws)}
        which = torch.tensor([index[point.key] for point in points], device=evaluator.device)
        utterances = [point.utterance for point in points]
        alphas = torch.stack([draws[point.key].alphas[point.number] for point in points])
        weights = torch.stack([draws[point.key].weights[point.number] for point in points])
        width = max(evaluator.lengths[utterance] for utterance in utterances)
        references = self._pad_references(draws, width)
        inputs = evaluator.inputs[utterances, :width]
        differences = inputs - references[which]

        keys = [key for key in draws if key not in self._drawn and self._is_evaluated(key)]
        at_references = self._evaluate_references(keys, references[[index[key] for key in keys]])
        gradients = evaluator.gradients(
            _waveforms_at(alphas, inputs, references[which], differences),
            utterances,
            self._targets,
            differences if self._is_along_path else None,
        )
        attributions = differences[:, None] * gradients.inputs  # (R, K, T)
        reference_layers = {**self._reference_layers, **_split_layers(keys, at_references)}
        neurons = {
            name: gradient * self._layer_differences(name, points, gradients, reference_layers)[:, None]
            for name, gradient in gradients.layers.items()
        }
        nonzero = self._check(points, gradients.inputs, [attributions, *neurons.values()])
        bands = None
        if self._spectrum is not None:
            bands = self._spectrum.attribution(differences, gradients.inputs, evaluator.lengths_of(utterances))
        return _Chunk(
            draws=draws,
            alphas=alphas,
            weights=weights,
            attributions=attributions,
            frames=evaluator.gather_frames(attributions, utterances),
            bands=bands,
            neurons=neurons,
            nonzero=nonzero,
            reference_keys=keys,
            reference_outputs=self._targets(at_references.logits, evaluator.indices([key[0] for key in keys])),
            reference_layers=reference_layers,
        )

    def _absorb(self, points: list[PathPoint], chunk: _Chunk) -> None:
        """Add an evaluated chunk to what is kept."""
        share = (chunk.weights / self._sampler.points_per_replicate).to(self._evaluator.device, self._frames.mean.dtype)
        segments = segments_of(points, self._sampler.points_per_replicate)
        weighted = _weighted(chunk.attributions, share)
        self._values.add(weighted, segments)
        self._frames.add(_weighted(chunk.frames, share), segments)
        if self._bands is not None and chunk.bands is not None:
            self._bands.add(_weighted(chunk.bands, share), segments)
        for name, values in chunk.neurons.items():
            self._neurons[name].add(_weighted(values, share), segments)
        self._completeness.add_rows([point.key for point in points], weighted.sum(-1))
        self._completeness.add_references(chunk.reference_keys, chunk.reference_outputs)
        squared_norms = chunk.frames.square().sum((1, 2)).cpu()
        for number, point in enumerate(points):
            self._has_gradient[point.utterance] |= chunk.nonzero[number]
            self._sampler.observe(point.utterance, chunk.alphas[number, None], squared_norms[number, None])
            if self._kept is not None:
                self._kept[point.utterance].append((chunk.frames[number] * chunk.weights[number]).float())
        # A replicate that goes on in the next chunk is neither drawn nor evaluated again.
        last = points[-1]
        is_open = last.number < self._sampler.points_per_replicate - 1
        self._drawn = {last.key: chunk.draws[last.key]} if is_open else {}
        self._reference_layers = {last.key: chunk.reference_layers.get(last.key, {})} if is_open else {}

    def _pad_references(self, draws: Mapping[ReplicateKey, Replicate], width: int) -> Tensor:
        """References of the chunk on the device, ``(replicates, width)``, 0 in the padding."""
        references = torch.zeros(len(draws), width, dtype=self._evaluator.inputs.dtype)
        for own, draw in zip(references, draws.values(), strict=True):
            own[: len(draw.reference)] = draw.reference
        return references.to(self._evaluator.device)

    @property
    def _has_endpoints(self) -> bool:
        return bool(self._neurons) and not self._is_along_path

    def _is_evaluated(self, key: ReplicateKey) -> bool:
        """Whether the model is asked about the reference itself: always for layer endpoints."""
        return self._has_endpoints or Completeness.needs_reference(key[1], self._sampler.points_per_replicate)

    def _evaluate_references(self, keys: list[ReplicateKey], references: Tensor) -> Outputs:
        if not keys:
            return Outputs(references.new_zeros(0, self._evaluator.logits.shape[1]), {})
        return self._evaluator.outputs_at(references, [key[0] for key in keys], with_layers=self._has_endpoints)

    def _layer_differences(
        self,
        name: str,
        points: list[PathPoint],
        gradients: Gradients,
        reference_layers: Mapping[ReplicateKey, Mapping[str, Tensor]],
    ) -> Tensor:
        """What multiplies a layer's gradient: its slope along the path, or its endpoints' difference, ``(R, ...)``."""
        if self._is_along_path:
            return gradients.layer_slopes[name]
        shape = gradients.layers[name].shape[2:]
        differences = gradients.layers[name].new_zeros(len(points), *shape)
        for number, point in enumerate(points):
            reference = reference_layers[point.key][name]
            # The reference may have been evaluated in a chunk of another width; what is beyond either is padding.
            common = within([min(sizes) for sizes in zip(shape, reference.shape, strict=True)])
            own = self._evaluator.outputs.layers[name][point.utterance]
            differences[number][common] = own[common].float() - reference[common].float()
        return differences

    def _check(self, points: list[PathPoint], gradients: Tensor, attributions: list[Tensor]) -> list[bool]:
        """Refuse what is not finite; returns which points have a gradient other than 0."""
        finite = torch.stack([part.isfinite().flatten(1).all(1) for part in [gradients, *attributions]]).all(0)
        if not finite.all():
            raise NonFiniteGradientError(self._evaluator.ids[points[finite.tolist().index(False)].utterance])
        return gradients.flatten(1).any(1).tolist()


def _waveforms_at(alphas: Tensor, inputs: Tensor, references: Tensor, differences: Tensor) -> Tensor:
    """Points on the paths, from the nearer end, so that what is left of the other is exact: ``(R, T)``."""
    from_reference = alphas.to(inputs)[:, None]
    from_input = (1 - alphas).to(inputs)[:, None]  # taken in double precision
    return torch.where(
        from_reference < 0.5, references + from_reference * differences, inputs - from_input * differences
    )


def _split_layers(keys: list[ReplicateKey], outputs: Outputs) -> dict[ReplicateKey, dict[str, Tensor]]:
    return {key: {name: layer[row] for name, layer in outputs.layers.items()} for row, key in enumerate(keys)}


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Rows times their weights, in the precision of the weights."""
    return values * weights.view(-1, *[1] * (values.ndim - 1))


def _to(values: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if values is None else values.to(dtype)
