"""Path attributions: gradients at points between references and utterances, with the moments of their replicates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution, relative_error
from speechshap.attribution.errors import ZeroGradientError
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.layers import LayerMethod
from speechshap.attribution.path_chunk import ChunkEvaluator, PathChunk, UnfinishedPath
from speechshap.attribution.replicates import PathPoint, RunningEstimate, parts_of, sum_dtype
from speechshap.attribution.sampling import PILOT, PILOT_ALPHAS, Sampler
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets


class PathEstimator:
    """Attributes a batch, as many replicates at a time as it is asked for.

    A replicate is a few points on paths, whose weighted mean estimates the attributions. Random replicates are
    averaged, and their variance gives the standard error; of a single fixed one it is the quadrature that has an error.

    Args:
        evaluator: Has the batch, the model and its layers.
        targets: What is explained.
        sampler: Places the points.
        layer_method: How neurons are explained.
        spectrum: Time-frequency transform to carry the attributions to, if any.
        keep_values: Whether the attributions of single samples are kept, which take more memory than all else.
        keep_draws: Whether the frame attributions of every point are kept.

    Attributes:
        done: What each utterance has so far, as :meth:`advance` counts it.

    Raises:
        ValueError: The model does not have the targets.

    Example:
        >>> from speechshap.attribution.baselines import gaussian_noise
        >>> from speechshap.attribution.sampling import PathDensity, PathSampler
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2] ** 2, torch.randn(1, 800), ids=["a"])
        >>> sampler = PathSampler(evaluator, gaussian_noise(), "adaptive", 0, PathDensity.base())
        >>> estimator = PathEstimator(evaluator, Targets.from_classes(1, 0), sampler)
        >>> estimator.advance([3])
        >>> estimator.attribution().n_samples  # two points in each of three replicates
        tensor([6])
    """

    def __init__(
        self,
        evaluator: Evaluator,
        targets: Targets,
        sampler: Sampler,
        layer_method: LayerMethod = "endpoint",
        spectrum: SpectralGrid | None = None,
        *,
        keep_values: bool = False,
        keep_draws: bool = False,
    ) -> None:
        self._evaluator = evaluator
        self._targets = evaluator.targets(targets)
        self._sampler = sampler
        keep_values = keep_values and evaluator.is_of_waveforms
        self._chunks = ChunkEvaluator(evaluator, self._targets, sampler, layer_method, spectrum, keep_values)
        self._unfinished = UnfinishedPath()
        self.done = [0] * len(evaluator)
        self._num_points = [0] * len(evaluator)
        self._has_gradient = [False] * len(evaluator)
        self._kept: list[list[Tensor]] | None = [[] for _ in evaluator.ids] if keep_draws else None
        device, num_targets = evaluator.device, targets.classes.shape[1]
        self._gap = sampler.running_gap(len(evaluator), num_targets)

        def moments(*shape: int, dtype: torch.dtype) -> RunningEstimate:
            return sampler.running_estimate(len(evaluator), (num_targets, *shape), dtype, device)

        exact = sum_dtype(device)
        self._values = moments(evaluator.inputs.shape[1], dtype=exact) if keep_values else None
        self._frames = moments(evaluator.num_frames, dtype=exact)
        self._segments = moments(evaluator.num_segments, dtype=exact) if evaluator.num_segments else None
        band_shape = evaluator.band_shape(spectrum)
        self._bands = None if band_shape is None else moments(*band_shape, dtype=exact)
        # Single precision, since there are many neurons.
        self._neurons = {name: moments(*shape, dtype=torch.float32) for name, shape in evaluator.neuron_shapes.items()}
        # Errors of sums need sums: neurons of a frame vary together.
        self._layer_frames = {
            name: moments(shape[0], dtype=exact) for name, shape in evaluator.neuron_shapes.items() if len(shape) == 2
        }

    def probe(self) -> None:
        """Show the sampler the pilot of each utterance, which is no part of the estimate.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
        """
        points = [
            PathPoint(utterance, PILOT, number)
            for utterance in range(len(self.done))
            for number in range(len(PILOT_ALPHAS))
        ]
        evaluated = self._evaluator.evaluate_with_gradients(
            [point.utterance for point in points],
            lambda numbers: self._chunks.evaluate([points[number] for number in numbers], UnfinishedPath()),
        )
        for numbers, chunk in evaluated:
            self._observe([points[number] for number in numbers], chunk)

    def advance(self, goals: Sequence[int]) -> None:
        """Add points until each utterance has come to its goal: so many replicates, or points of a single one.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
            ZeroGradientError: Those of an utterance are all 0.
        """
        points = [
            point
            for utterance, goal in enumerate(goals)
            for point in self._sampler.points(utterance, self.done[utterance], goal)
        ]
        evaluated = self._evaluator.evaluate_with_gradients(
            [point.utterance for point in points],
            lambda numbers: self._chunks.evaluate([points[number] for number in numbers], self._unfinished),
        )
        for numbers, chunk in evaluated:
            self._absorb([points[number] for number in numbers], chunk)
        for utterance, goal in enumerate(goals):
            self.done[utterance] = max(goal, self.done[utterance])
            if not self._has_gradient[utterance]:
                raise ZeroGradientError(self._evaluator.ids[utterance])

    def relative_error(self, *, of_segments: bool = False) -> Tensor:
        """Norm of the standard errors relative to that of the attributions so far, ``(B, K)``.

        Args:
            of_segments: Whether it is that of the decisive segments of each utterance, where it has any; else that of
                the frames.

        Raises:
            ValueError: An utterance has fewer than two replicates.
        """
        error = self._frames.standard_error()
        if error is None:
            raise ValueError("fewer than two replicates have no standard error")
        result = relative_error(self._frames.mean, error)
        segments, segments_error = _estimate(self._segments, error.dtype)
        if of_segments and segments is not None and segments_error is not None:
            for utterance, count in enumerate(self._evaluator.num_decisive):
                if count:
                    own = slice(count)
                    result[utterance] = relative_error(segments[utterance, :, own], segments_error[utterance, :, own])
        return result

    def attribution(self) -> Attribution:
        """What the replicates so far come to."""
        dtype, device = self._evaluator.inputs.dtype, self._evaluator.device
        outputs = self._targets(self._evaluator.logits)
        gap, gap_error = self._gap.gap(outputs)
        errors = {name: moments.standard_error() for name, moments in self._neurons.items()}
        sums_errors = {name: _estimate(moments, dtype)[1] for name, moments in self._layer_frames.items()}
        values, values_error = _estimate(self._values, dtype)
        bands, bands_error = _estimate(self._bands, dtype)
        return Attribution(
            values=values,
            values_standard_error=values_error,
            frames=self._frames.mean.to(dtype),
            frames_standard_error=_to(self._frames.standard_error(), dtype),
            segments_standard_error=_estimate(self._segments, dtype)[1],
            frame_lengths=self._evaluator.frame_lengths,
            targets=self._targets,
            logits=self._evaluator.logits,
            outputs=outputs,
            completeness_gap=gap.to(device, dtype),
            completeness_gap_standard_error=None if gap_error is None else gap_error.to(device, dtype),
            n_samples=torch.tensor(self._num_points, device=device),
            n_replicates=torch.tensor(self._frames.num_replicates, device=device),
            layers={name: moments.mean for name, moments in self._neurons.items()},
            layers_standard_error={name: error for name, error in errors.items() if error is not None},
            layer_frames_standard_error={name: error for name, error in sums_errors.items() if error is not None},
            time_frequency=bands,
            time_frequency_standard_error=bands_error,
            sample_frames=None if self._kept is None else [torch.stack(draws) for draws in self._kept],
        )

    def _absorb(self, points: list[PathPoint], chunk: PathChunk) -> None:
        """Add an evaluated chunk to what is kept."""
        share = chunk.weights / self._sampler.points_per_replicate
        parts = parts_of(points, self._sampler.points_per_replicate)
        self._frames.add(chunk.frames, share, parts)
        if self._segments is not None:
            sums = self._evaluator.sum_segments(chunk.frames, [point.utterance for point in points])
            self._segments.add(sums, share, parts)
        if self._values is not None and chunk.values is not None:
            self._values.add(chunk.values, share, parts)
        if self._bands is not None and chunk.bands is not None:
            self._bands.add(chunk.bands, share, parts)
        for name, neurons in chunk.neurons.items():
            self._neurons[name].add(neurons, share, parts)
            if name in self._layer_frames:
                self._layer_frames[name].add(neurons.sum(-1, dtype=sum_dtype(neurons.device)), share, parts)
        self._gap.add_rows(points, chunk.frames.sum(2), share)
        self._gap.add_references(chunk.reference_keys, chunk.reference_outputs)
        self._observe(points, chunk)
        for number, point in enumerate(points):
            self._has_gradient[point.utterance] |= chunk.nonzero[number]
            if self._kept is not None:
                self._kept[point.utterance].append((chunk.frames[number] * chunk.weights[number]).float())
        self._unfinished = chunk.unfinished

    def _observe(self, points: list[PathPoint], chunk: PathChunk) -> None:
        squared_norms = chunk.frames.square().sum((1, 2)).cpu()
        for number, point in enumerate(points):
            self._num_points[point.utterance] += 1
            self._sampler.observe(point.utterance, chunk.alphas[number, None], squared_norms[number, None])


def _estimate(moments: RunningEstimate | None, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """Means and their standard errors, where there are any."""
    return (None, None) if moments is None else (moments.mean.to(dtype), _to(moments.standard_error(), dtype))


def _to(values: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if values is None else values.to(dtype)
