"""The Monte Carlo loop: draws replicates, sends their points through the model in chunks, and keeps the moments.

Notation: B utterances, K targets, T samples, F frames, R rows (points on the paths) of a chunk.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechshap.attribution.chunks import ChunkSize
from speechshap.attribution.completeness import Completeness
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.moments import ReplicateMoments, Segment
from speechshap.attribution.path_gradients import (
    Forward,
    Outputs,
    PathGradients,
    outputs_of,
    path_gradients,
    require_gradient,
)
from speechshap.attribution.sampling import PathSampler, Replicate
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets
from speechshap.frames import FrameGrid

ReplicateKey = tuple[int, int]
"""Batch index of the utterance, and number of the replicate."""


class GradientError(RuntimeError):
    """The gradients of an utterance cannot explain it; those of the others may.

    Attributes:
        utterance_id: Which one.
    """

    def __init__(self, utterance_id: str, problem: str) -> None:
        super().__init__(problem)
        self.utterance_id = utterance_id


class NonFiniteGradientError(GradientError, FloatingPointError):
    """A gradient is infinite or not a number."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(utterance_id, f"the gradient of utterance {utterance_id} is not finite")


class ZeroGradientError(GradientError):
    """All gradients are 0."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(
            utterance_id,
            f"every gradient of utterance {utterance_id} is 0: the explained output does not depend on the waveform, "
            "or is saturated",
        )


class Row(NamedTuple):
    """A point on a path: the batch index of its utterance, its replicate, and its place in that."""

    utterance: int
    replicate: int
    point: int

    @property
    def key(self) -> ReplicateKey:
        """The replicate that it belongs to."""
        return self.utterance, self.replicate


class _Chunk(NamedTuple):
    """What the rows of a chunk came to."""

    rows: list[Row]
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


class Estimator:
    """Explains a batch, as many replicates at a time as it is asked for.

    Args:
        forward: Classifier.
        inputs: ``(B, T)``, 0 in the padding.
        lengths: Samples of each utterance.
        ids: Names of the utterances.
        sampler: Draws the replicates.
        chunks: How many rows go through the model at once.
        grid: Frames that the samples are gathered in.
        layers: Modules whose neurons are explained, by name.
        layer_method: How.
        spectrum: Time-frequency transform to carry the attributions to, if any.
        keep_samples: Whether the frame attributions of every row are kept.
        progress: Called with the number of rows after each chunk.
    """

    def __init__(
        self,
        forward: Forward,
        inputs: Tensor,
        lengths: list[int],
        ids: Sequence[str],
        sampler: PathSampler,
        chunks: ChunkSize,
        grid: FrameGrid,
        layers: Mapping[str, nn.Module],
        layer_method: LayerMethod,
        spectrum: SpectralGrid | None,
        keep_samples: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.forward = forward
        self.inputs = inputs
        self.device = inputs.device
        self.lengths = lengths
        self.lengths_tensor = torch.tensor(lengths, device=self.device)
        self.ids = ids
        self.sampler = sampler
        self.chunks = chunks
        self.layers = layers
        self.layer_method = layer_method
        self.endpoint_layers = layers if layer_method == "endpoint" else {}
        self.spectrum = spectrum
        self.progress = progress
        self.owners = _owners(lengths, inputs.shape[1], grid).to(self.device)  # (B, T)
        self.frame_lengths = torch.tensor([max(1, grid.num_frames(length)) for length in lengths], device=self.device)
        self.replicates = [0] * len(lengths)
        self.has_gradient = [False] * len(lengths)
        self.sample_frames: list[list[Tensor]] | None = [[] for _ in lengths] if keep_samples else None
        # A replicate whose points are spread over two chunks is drawn and evaluated once.
        self._drawn: dict[ReplicateKey, Replicate] = {}
        self._reference_layers: dict[ReplicateKey, dict[str, Tensor]] = {}
        with torch.no_grad():
            self.outputs = self._evaluate_inputs()

    def _evaluate_inputs(self) -> Outputs:
        """Outputs for the utterances; the longest goes first and alone, to see what memory a row takes."""
        order = sorted(range(len(self.lengths)), key=lambda utterance: -self.lengths[utterance])

        def evaluate(utterances: list[int]) -> Outputs:
            width = self.lengths[utterances[0]]
            waveforms = self.inputs[utterances, :width].clone()
            return outputs_of(self.forward, waveforms, self.lengths_tensor[utterances], self.endpoint_layers)

        def evaluate_longest() -> Outputs:
            waveform = self.inputs[order[:1], : self.lengths[order[0]]].clone().requires_grad_()
            return outputs_of(self.forward, waveform, self.lengths_tensor[order[:1]], self.layers)

        with torch.enable_grad():
            longest = self.chunks.measure(evaluate_longest, self.inputs.element_size() * self.lengths[order[0]])
            require_gradient(longest.logits)
        self.layer_shapes = {name: layer.shape[1:] for name, layer in longest.layers.items()}
        logits = longest.logits.new_zeros(len(order), longest.logits.shape[1])
        endpoints = {name: longest.layers[name].detach() for name in self.endpoint_layers}
        hidden = {name: layer.new_zeros(len(order), *layer.shape[1:]) for name, layer in endpoints.items()}
        parts = [(order[:1], Outputs(longest.logits.detach(), endpoints))]
        del longest  # and the graph behind it
        start = 1
        while start < len(order):
            chosen = order[start : start + self.chunks.rows]
            part = self.chunks.run(len(chosen), partial(evaluate, chosen))
            if part is not None:
                parts.append((chosen, part))
                start += len(chosen)
        for utterances, part in parts:
            logits[utterances] = part.logits.detach()
            for name, layer in part.layers.items():
                for row, utterance in enumerate(utterances):
                    hidden[name][utterance][_within(layer.shape[1:])] = layer[row].detach()
        return Outputs(logits, hidden)

    def start(self, targets: Targets) -> None:
        """Say what to explain, and make room for it."""
        self.targets = targets
        batch, num_targets = targets.classes.shape
        self.completeness = Completeness(batch)
        num_frames = int(self.frame_lengths.max())

        def moments(*shape: int, dtype: torch.dtype | None = None) -> ReplicateMoments:
            return ReplicateMoments(batch, (num_targets, *shape), dtype or _sum_dtype(self.device), self.device)

        self.values = moments(self.inputs.shape[1])
        self.frames = moments(num_frames)
        self.time_frequency: ReplicateMoments | None = None
        if self.spectrum is not None:
            self.time_frequency = moments(self.spectrum.num_bands, self.spectrum.num_frames(self.inputs.shape[1]))
        # Single precision, since there are many neurons.
        self.neurons = {name: moments(*shape, dtype=torch.float32) for name, shape in self.layer_shapes.items()}

    def advance(self, goals: Sequence[int]) -> None:
        """Draw replicates until each utterance has as many as its goal, chunks spanning the utterances.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
            ZeroGradientError: Those of an utterance are all 0.
        """
        points = self.sampler.points_per_replicate
        rows = [
            Row(utterance, replicate, point)
            for utterance, goal in enumerate(goals)
            for replicate in range(self.replicates[utterance], goal)
            for point in range(points)
        ]
        start = 0
        while start < len(rows):
            chunk = rows[start : start + self.chunks.rows]
            width = max(self.lengths[row.utterance] for row in chunk)
            evaluated = self.chunks.run(len(chunk), partial(self._evaluate, chunk, width))
            if evaluated is not None:
                self._absorb(evaluated)
                start += len(chunk)
                if self.progress is not None:
                    self.progress(len(chunk))
        for utterance, goal in enumerate(goals):
            self.replicates[utterance] = max(goal, self.replicates[utterance])
            if not self.has_gradient[utterance]:
                raise ZeroGradientError(self.ids[utterance])

    def _evaluate(self, rows: list[Row], width: int) -> "_Chunk":
        """Send a chunk through the model; nothing is kept yet, so that it can be tried again in smaller parts."""
        draws = {key: self._drawn.get(key) or self.sampler.draw(*key) for key in dict.fromkeys(row.key for row in rows)}
        index = {key: number for number, key in enumerate(draws)}
        which = torch.tensor([index[row.key] for row in rows], device=self.device)
        utterances = torch.tensor([row.utterance for row in rows], device=self.device)
        alphas = torch.stack([draws[row.key].alphas[row.point] for row in rows])
        weights = torch.stack([draws[row.key].weights[row.point] for row in rows])
        references = self._pad_references(draws, width)
        inputs = self.inputs[utterances, :width]
        differences = inputs - references[which]
        lengths = self.lengths_tensor[utterances]

        keys = [key for key in draws if key not in self._drawn and self._is_evaluated(key)]
        at_references = self._evaluate_references(keys, references[[index[key] for key in keys]])
        gradients = path_gradients(
            self.forward,
            _points(inputs, references[which], differences, alphas),
            differences,
            lengths,
            self.targets,
            utterances,
            self.layers,
            self.layer_method,
        )
        attributions = differences[:, None] * gradients.inputs  # (R, K, T)
        reference_layers = {**self._reference_layers, **_split_layers(keys, at_references)}
        neurons = {
            name: gradient * self._layer_differences(name, rows, gradients, reference_layers)[:, None]
            for name, gradient in gradients.layers.items()
        }
        nonzero = self._check(rows, gradients.inputs, [attributions, *neurons.values()])
        return _Chunk(
            rows=rows,
            draws=draws,
            alphas=alphas,
            weights=weights,
            attributions=attributions,
            frames=_gather_frames(attributions, self.owners[utterances, :width], self.frames.mean.shape[-1]),
            bands=None if self.spectrum is None else self.spectrum.attribution(differences, gradients.inputs, lengths),
            neurons=neurons,
            nonzero=nonzero,
            reference_keys=keys,
            reference_outputs=self.targets(at_references.logits, self._utterances(keys)),
            reference_layers=reference_layers,
        )

    def _absorb(self, chunk: "_Chunk") -> None:
        """Add an evaluated chunk to what is kept."""
        share = (chunk.weights / self.sampler.points_per_replicate).to(self.device, _sum_dtype(self.device))
        segments = self._segments(chunk.rows)
        weighted = _weighted(chunk.attributions, share)
        self.values.add(weighted, segments)
        self.frames.add(_weighted(chunk.frames, share), segments)
        if self.time_frequency is not None and chunk.bands is not None:
            self.time_frequency.add(_weighted(chunk.bands, share), segments)
        for name, values in chunk.neurons.items():
            self.neurons[name].add(_weighted(values, share), segments)
        self.completeness.add_rows([row.key for row in chunk.rows], weighted.sum(-1))
        self.completeness.add_references(chunk.reference_keys, chunk.reference_outputs)
        squared_norms = chunk.frames.square().sum((1, 2)).cpu()
        for number, row in enumerate(chunk.rows):
            self.has_gradient[row.utterance] |= chunk.nonzero[number]
            self.sampler.observe(row.utterance, chunk.alphas[number, None], squared_norms[number, None])
            if self.sample_frames is not None:
                self.sample_frames[row.utterance].append((chunk.frames[number] * chunk.weights[number]).float())
        # A replicate that goes on in the next chunk is neither drawn nor evaluated again.
        last = chunk.rows[-1]
        is_open = last.point < self.sampler.points_per_replicate - 1
        self._drawn = {last.key: chunk.draws[last.key]} if is_open else {}
        self._reference_layers = {last.key: chunk.reference_layers.get(last.key, {})} if is_open else {}

    def _utterances(self, keys: Sequence[ReplicateKey]) -> Tensor:
        return torch.tensor([utterance for utterance, _ in keys], dtype=torch.int64, device=self.device)

    def _pad_references(self, draws: Mapping[ReplicateKey, Replicate], width: int) -> Tensor:
        """References of the chunk on the device, ``(replicates, width)``, 0 in the padding."""
        references = torch.zeros(len(draws), width, dtype=self.inputs.dtype)
        for number, ((utterance, _), draw) in enumerate(draws.items()):
            length = self.lengths[utterance]
            if draw.reference.shape != (length,):
                raise ValueError(
                    f"the reference of utterance {self.ids[utterance]} has shape {tuple(draw.reference.shape)}; "
                    f"expected ({length},)"
                )
            if not bool(draw.reference.isfinite().all()):
                raise ValueError(f"a reference of utterance {self.ids[utterance]} is not finite")
            references[number, :length] = draw.reference
        return references.to(self.device)

    def _is_evaluated(self, key: ReplicateKey) -> bool:
        """Whether the model is asked about the reference itself: always for layer endpoints."""
        return bool(self.endpoint_layers) or Completeness.needs_reference(key[1], self.sampler.points_per_replicate)

    def _evaluate_references(self, keys: list[ReplicateKey], references: Tensor) -> Outputs:
        if not keys:
            return Outputs(references.new_zeros(0, self.outputs.logits.shape[1]), {})
        with torch.no_grad():
            return outputs_of(
                self.forward, references, self.lengths_tensor[self._utterances(keys)], self.endpoint_layers
            )

    def _layer_differences(
        self,
        name: str,
        rows: list[Row],
        gradients: PathGradients,
        reference_layers: Mapping[ReplicateKey, Mapping[str, Tensor]],
    ) -> Tensor:
        """What multiplies a layer's gradient: its slope along the path, or its endpoints' difference, ``(R, ...)``."""
        if self.layer_method == "path":
            return gradients.layer_slopes[name]
        shape = gradients.layers[name].shape[2:]
        differences = gradients.layers[name].new_zeros(len(rows), *shape)
        for number, row in enumerate(rows):
            reference = reference_layers[row.key][name]
            # The reference may have been evaluated in a chunk of another width; what is beyond either is padding.
            common = _within([min(sizes) for sizes in zip(shape, reference.shape, strict=True)])
            own = self.outputs.layers[name][row.utterance]
            differences[number][common] = own[common].float() - reference[common].float()
        return differences

    def _check(self, rows: list[Row], gradients: Tensor, attributions: list[Tensor]) -> list[bool]:
        """Refuse what is not finite, and tell which rows have a gradient that is not 0."""
        finite = torch.stack([part.isfinite().flatten(1).all(1) for part in [gradients, *attributions]]).all(0)
        if not finite.all():
            raise NonFiniteGradientError(self.ids[rows[finite.tolist().index(False)].utterance])
        return gradients.flatten(1).any(1).tolist()

    def _segments(self, rows: list[Row]) -> list[Segment]:
        keys = [row.key for row in rows]
        last_point = {row.key: row.point for row in rows}
        complete = self.sampler.points_per_replicate - 1
        return [Segment(key[0], keys.count(key), last_point[key] == complete) for key in dict.fromkeys(keys)]


def _points(inputs: Tensor, references: Tensor, differences: Tensor, alphas: Tensor) -> Tensor:
    """Points on the paths, from the nearer end, so that what is left of the other is exact: ``(R, T)``."""
    from_reference = alphas.to(inputs)[:, None]
    from_input = (1 - alphas).to(inputs)[:, None]  # taken in double precision
    return torch.where(
        from_reference < 0.5, references + from_reference * differences, inputs - from_input * differences
    )


def _split_layers(keys: list[ReplicateKey], outputs: Outputs) -> dict[ReplicateKey, dict[str, Tensor]]:
    return {key: {name: layer[row] for name, layer in outputs.layers.items()} for row, key in enumerate(keys)}


def _within(shape: Sequence[int]) -> tuple[slice, ...]:
    """Where a layer's output of this shape lies in a larger one."""
    return tuple(slice(size) for size in shape)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Rows times their weights, in the precision of the weights."""
    return values * weights.view(-1, *[1] * (values.ndim - 1))


def _owners(lengths: list[int], width: int, grid: FrameGrid) -> Tensor:
    """Frame that owns each sample, ``(B, T)``; 0 in the padding, where attributions are 0."""
    owners = torch.zeros(len(lengths), width, dtype=torch.int64)
    for utterance, length in enumerate(lengths):
        owners[utterance, :length] = grid.owner(length)
    return owners


def _gather_frames(attributions: Tensor, owners: Tensor, num_frames: int) -> Tensor:
    """Sum samples into the frames that own them: ``(R, K, T), (R, T) -> (R, K, F)``."""
    index = owners[:, None].expand(attributions.shape)
    frames = attributions.new_zeros(*attributions.shape[:2], num_frames, dtype=_sum_dtype(attributions.device))
    return frames.scatter_add_(2, index, attributions.to(frames.dtype))


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no double precision
