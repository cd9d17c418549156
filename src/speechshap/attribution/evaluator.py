"""Evaluation of a model in chunks of rows: what every method asks of it, with gradients or without."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechshap.attribution import validation
from speechshap.attribution.baselines import Baseline, draw_reference
from speechshap.attribution.chunks import ChunkSize, ForwardChunkSize, GradientChunkSize
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.errors import NonFiniteOutputError
from speechshap.attribution.frame_sums import sum_frames
from speechshap.attribution.freezing import frozen_steps
from speechshap.attribution.gradients import Forward, Gradients, Outputs, gradients_of, outputs_of
from speechshap.attribution.replicates import sum_dtype
from speechshap.attribution.segments import Segments, sum_segments
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets
from speechshap.errors import require_at_least
from speechshap.frames import FrameGrid
from speechshap.spaces import Space

Result = TypeVar("Result")

NO_LAYERS: Mapping[str, nn.Module] = MappingProxyType({})
NO_SPACES: Mapping[str, Space] = MappingProxyType({})


class Evaluator:
    """A batch of utterances, and the model that classifies them.

    A method makes *rows* of the utterances, waveforms such as points on a path or the utterance without a stretch,
    and has them evaluated, many at a time. Rows of several utterances share a chunk, the longest utterances first.
    The numbers do not depend on the chunks. Works inside ``torch.inference_mode``, which it
    leaves while the model runs.

    Args:
        forward: Classifier of ``(waveforms (batch, time), lengths (batch,))``, or of waveforms alone where all are
            equally long (a second argument always gets the lengths); returns logits ``(batch, classes)``. It must
            not mix the utterances of a batch, nor look at padding. Methods that take gradients need it to be
            differentiable.
        waveforms: ``(batch, time)`` float; what lies beyond their lengths is taken as 0.
        lengths: ``(batch,)`` samples of each utterance; None takes all of ``time``.
        ids: Names of the utterances, unique within the batch; None numbers them.
        layers: Modules that ``forward`` calls, by name, whose outputs are kept and differentiated.
        grid: Frames that the samples are gathered in.
        module: What ``forward`` calls, for methods that look inside it; None where it is unknown.
        spaces: Where else than between waveforms paths may run, by name.
        segments: Stretches of frames of each utterance, such as its words, whose sums get standard errors of their own;
            None for none.
        num_decisive: How many of the segments of each utterance, from the first, draws go on for where they go on until
            segments are known well enough; None for all.
        chunk_size: Rows that go through the model at once; None finds what the device does well. Halved when the
            device runs out of memory.
        progress: Called with the number of rows after each chunk.

    Attributes:
        inputs: The waveforms, ``(batch, time)``, 0 in the padding; they are not to be changed.
        lengths: Samples of each utterance, as numbers.
        ids: Names of the utterances.
        layers: As given.
        grid: As given.
        forward: As given, but as a function of waveforms and lengths in any case.
        module: As given.
        is_of_waveforms: Whether rows are waveforms.
        own_layer: Name of the layer that rows are points of; None where they are waveforms.
        spaces: As given.
        segments: As given; empty ones where none are.
        num_decisive: As given, or that of all segments.
        device: Of the waveforms.
        frame_lengths: Frames of each utterance, ``(batch,)`` int64.
        num_samples: Samples of the longest row of waveforms.
        num_frames: Most frames of an utterance.

    Raises:
        ValueError: An argument does not fit the others.
        NonFiniteWaveformError: A sample of an utterance is not finite; the error names the utterance.

    Example:
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2], torch.tensor([[1.0, 2.0, 3.0]]))
        >>> evaluator.logits
        tensor([[1., 2.]])
        >>> evaluator.evaluate([0, 0], lambda row: row * evaluator.inputs[0])
        tensor([[0., 0.],
                [1., 2.]])
    """

    is_of_waveforms = True
    own_layer: str | None = None

    def __init__(
        self,
        forward: Callable[..., Tensor],
        waveforms: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        ids: Sequence[str] | None = None,
        *,
        layers: Mapping[str, nn.Module] = NO_LAYERS,
        grid: FrameGrid = FrameGrid(),  # noqa: B008 - immutable
        module: nn.Module | None = None,
        spaces: Mapping[str, Space] = NO_SPACES,
        segments: Sequence[Segments] | None = None,
        num_decisive: Sequence[int] | None = None,
        chunk_size: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        validation.check_waveforms(waveforms)
        self.lengths = validation.as_lengths(lengths, waveforms)
        self.ids = validation.as_ids(ids, len(waveforms))
        validation.check_finite(waveforms, self.lengths, self.ids)
        validation.check_layers(layers)
        require_at_least(1, chunk_size=chunk_size)
        self.forward = validation.as_forward(forward, self.lengths)
        self._progress = progress
        self._chunk_size = chunk_size
        self.layers = layers
        self.grid = grid
        self.module = module
        self.spaces = spaces
        self.segments = validation.as_segments(segments, len(waveforms))
        self.num_decisive = [len(own) for own in self.segments] if num_decisive is None else list(num_decisive)
        with torch.inference_mode(False):
            frames = [max(1, grid.num_frames(length)) for length in self.lengths]
            self.num_samples = waveforms.shape[1]
            self.num_frames = max(frames)
            self.frame_lengths = torch.tensor(frames, device=waveforms.device)
        self._hold(waveforms)

    def _hold(self, inputs: Tensor) -> None:
        """Take the rows of the utterances ``(batch, time, ...)``."""
        self.device = inputs.device
        with torch.inference_mode(False):
            self._lengths = torch.tensor(self.lengths, device=self.device)
            self.inputs = inputs.detach()
            if min(self.lengths) < inputs.shape[1]:
                inside = torch.arange(inputs.shape[1], device=self.device) < self._lengths[:, None]
                self.inputs = torch.where(inside.view(*inside.shape, *[1] * (inputs.ndim - 2)), self.inputs, 0)
        longest_bytes = inputs[0, : max(self.lengths)].nbytes
        self._forward_size = ForwardChunkSize(self._chunk_size, self.device, longest_bytes)
        self._gradient_size = GradientChunkSize(self._chunk_size, self.device, longest_bytes)

    def with_inputs(self, waveforms: Tensor) -> "Evaluator":
        """The same model for other waveforms ``(batch, time)`` of the utterances: nothing that was computed is kept.

        Raises:
            NonFiniteWaveformError: A sample of an utterance is not finite; the error names the utterance.
        """
        return Evaluator(
            self.forward, waveforms, self.lengths, self.ids, layers=self.layers, grid=self.grid, module=self.module,
            spaces=self.spaces, segments=self.segments, num_decisive=self.num_decisive, chunk_size=self._chunk_size,
            progress=self._progress,
        )  # fmt: skip

    def __len__(self) -> int:
        """Utterances of the batch."""
        return len(self.ids)

    @cached_property
    def outputs(self) -> Outputs:
        """Logits ``(batch, classes)`` and layer outputs ``(batch, ...)`` for the utterances."""
        return self._gather(range(len(self)), self.waveform, self.layers, progress=None)

    @property
    def logits(self) -> Tensor:
        """Output of the model for the utterances, ``(batch, classes)``."""
        return self.outputs.logits

    def waveform(self, utterance: int) -> Tensor:
        """An utterance without its padding, ``(time,)``."""
        return self.inputs[utterance, : self.lengths[utterance]]

    def reference(self, baseline: Baseline, utterance: int, seed: int, number: int = 0) -> Tensor:
        """The reference of this number that the seed draws for an utterance, ``(time,)`` on the CPU.

        It depends on the utterance's id, and not on the batch.

        Raises:
            ValueError: It has another shape than the utterance.
            NonFiniteReferenceError: It is not finite.

        Example:
            >>> evaluator = Evaluator(lambda waveforms: waveforms, torch.ones(1, 3))
            >>> evaluator.reference(lambda waveform, generator: 2 * waveform, 0, seed=0)
            tensor([2., 2., 2.])
        """
        return self.draw_reference(baseline, utterance, draw_generator(seed, self.ids[utterance], number))

    def draw_reference(self, baseline: Baseline, utterance: int, generator: torch.Generator) -> Tensor:
        """Draw a reference for an utterance, ``(time,)`` on the CPU; errors as for :meth:`reference`."""
        return draw_reference(baseline, self.waveform(utterance).cpu(), self.ids[utterance], generator)

    def check_finite(self, outputs: Tensor, utterances: Sequence[int]) -> None:
        """Raise a NonFiniteOutputError that names the first utterance with an output that is not finite.

        Args:
            outputs: Of rows, ``(R, outputs)``.
            utterances: Batch index of the utterance that each row is made of.
        """
        finite = outputs.isfinite().all(1).tolist()
        if not all(finite):
            raise NonFiniteOutputError(self.ids[utterances[finite.index(False)]])

    def targets(self, targets: Targets) -> Targets:
        """The targets, on the device of the batch.

        Raises:
            ValueError: They do not fit the batch, or the model does not have these classes.
        """
        if len(targets.classes) != len(self):
            raise ValueError(f"targets are for {len(targets.classes)} utterances; the batch has {len(self)}")
        with torch.inference_mode(False):
            return targets.for_classes(self.logits.shape[1], self.device)

    def evaluate(self, utterances: Sequence[int], waveform: Callable[[int], Tensor]) -> Tensor:
        """Logits ``(R, classes)`` of rows, without gradients.

        No graph is built, so that ``forward`` need not be differentiable, and more rows go through it at once.

        Args:
            utterances: Batch index of the utterance that each row is made of.
            waveform: Makes the row of a number, ``(time,)`` as its utterance.
        """
        return self._gather(utterances, waveform, {}, self._progress).logits

    def evaluate_with_gradients(
        self, utterances: Sequence[int], evaluate: Callable[[list[int]], Result]
    ) -> Iterator[tuple[list[int], Result]]:
        """Evaluate rows in chunks whose gradients fit into memory; yields the numbers of the rows, and the result.

        Args:
            utterances: Batch index of the utterance that each row is made of.
            evaluate: Takes the numbers of a chunk's rows and calls :meth:`gradients`, and perhaps :meth:`outputs_at`,
                for these. It is tried again with fewer rows when memory runs out, and must change nothing.
        """
        return self._chunks(utterances, evaluate, self._gradient_size, self._progress)

    @torch.inference_mode(False)
    @torch.no_grad()
    def outputs_at(self, waveforms: Tensor, utterances: Sequence[int], *, with_layers: bool = False) -> Outputs:
        """Outputs for rows ``(R, time)`` made of these utterances, in one call of the model and without gradients."""
        forward = self._forward_of(utterances)
        return outputs_of(forward, waveforms, self.lengths_of(utterances), self.layers if with_layers else {})

    @torch.inference_mode(False)
    def gradients(
        self, points: Tensor, utterances: Sequence[int], targets: Targets, directions: Tensor | None = None
    ) -> Iterator[Gradients]:
        """Gradients for rows, from one forward pass of the model.

        Where ``forward`` is a module, or a method of one, its parameters are frozen meanwhile, as are those of
        ``module``, which saves a fifth of the time. Between the results they are as they were.

        Args:
            points: ``(R, time)``.
            utterances: Batch index of the utterance that each row is made of.
            targets: What is explained of the batch, as :meth:`targets` returns it.
            directions: ``(R, time)``; the layers' derivatives in these directions are computed, too.

        Yields:
            The gradients of one target after the other, each computed when it is asked for.
        """
        # No graph begins at a tensor that was made in inference mode.
        points, directions = _outside_inference(points), None if directions is None else _outside_inference(directions)
        lengths, rows = self.lengths_of(utterances), self.indices(utterances)
        steps = gradients_of(self._forward_of(utterances), points, lengths, rows, targets, self.layers, directions)
        yield from frozen_steps(steps, self.forward, self.module)

    def _forward_of(self, utterances: Sequence[int]) -> Forward:
        """What gives logits for rows made of these utterances, and the rows' lengths."""
        return self.forward

    def sum_frames(self, left: Tensor, right: Tensor, utterances: Sequence[int]) -> Tensor:
        """Sum products of samples over the frames that own them: twice ``(R, time)`` to ``(R, frames)``."""
        frame_lengths = self.frame_lengths[self.indices(utterances)]
        return sum_frames(left, right, frame_lengths, self.num_frames, self.grid, sum_dtype(self.device))

    @property
    def neuron_shapes(self) -> dict[str, Sequence[int]]:
        """Shapes of the outputs of all layers for an utterance."""
        return {name: layer.shape[1:] for name, layer in self.outputs.layers.items()}

    def band_shape(self, spectrum: SpectralGrid | None) -> tuple[int, int] | None:
        """Bands and columns of time-frequency attributions; None where there are none."""
        return None if spectrum is None else (spectrum.num_bands, spectrum.num_frames(self.inputs.shape[1]))

    def bands(
        self, differences: Tensor, gradients: Tensor, utterances: Sequence[int], spectrum: SpectralGrid | None
    ) -> Tensor | None:
        """Attributions of rows by band and column, ``(R, bands, columns)``; None where there are none.

        Args:
            differences: Utterances less references, ``(R, time)``.
            gradients: ``(R, time)``.
            utterances: Batch index of the utterance that each row is made of.
            spectrum: Transform that has the bands.
        """
        if spectrum is None:
            return None
        return spectrum.attribution(differences, gradients[:, None], self.lengths_of(utterances))[:, 0]

    @property
    def num_segments(self) -> int:
        """Most segments of an utterance."""
        return max(map(len, self.segments))

    def sum_segments(self, frames: Tensor, utterances: Sequence[int]) -> Tensor:
        """Sum frames ``(R, ..., frames)`` of rows over the segments of their utterances, ``(R, ..., segments)``."""
        sums = frames.new_zeros(*frames.shape[:-1], self.num_segments)
        for utterance in dict.fromkeys(utterances):
            segments = self.segments[utterance]
            rows = [row for row, own in enumerate(utterances) if own == utterance]
            sums[rows, ..., : len(segments)] = sum_segments(frames[rows], segments)
        return sums

    def lengths_of(self, utterances: Sequence[int]) -> Tensor:
        """Samples of rows, ``(R,)`` int64 on the device."""
        return self._lengths[self.indices(utterances)]

    def indices(self, utterances: Sequence[int]) -> Tensor:
        """Numbers of utterances as a tensor on the device, ``(R,)`` int64."""
        return torch.tensor(utterances, dtype=torch.int64, device=self.device)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _gather(
        self,
        utterances: Sequence[int],
        waveform: Callable[[int], Tensor],
        layers: Mapping[str, nn.Module],
        progress: Callable[[int], None] | None,
    ) -> Outputs:
        def evaluate(rows: list[int]) -> Outputs:
            waveforms = pad_sequence([waveform(row).to(self.inputs) for row in rows], batch_first=True)
            return outputs_of(self.forward, waveforms, self.lengths_of([utterances[row] for row in rows]), layers)

        logits, hidden = torch.empty(0), dict[str, Tensor]()
        for rows, part in self._chunks(utterances, evaluate, self._forward_size, progress):
            if not len(logits):  # the first rows are the longest
                logits = part.logits.new_zeros(len(utterances), part.logits.shape[1])
                hidden = {name: out.new_zeros(len(utterances), *out.shape[1:]) for name, out in part.layers.items()}
            logits[rows] = part.logits.detach()
            for name, out in part.layers.items():
                for row, own in zip(rows, out.detach(), strict=True):
                    hidden[name][row][within(own.shape)] = own
        return Outputs(logits, hidden)

    def _chunks(
        self,
        utterances: Sequence[int],
        evaluate: Callable[[list[int]], Result],
        size: ChunkSize,
        progress: Callable[[int], None] | None,
    ) -> Iterator[tuple[list[int], Result]]:
        """Chunks of rows, the longest first: it shows what memory a row takes, and chunks have little padding."""
        order = sorted(range(len(utterances)), key=lambda row: -self.lengths[utterances[row]])
        start = 0
        while start < len(order):
            rows = order[start : start + size.rows]
            result = size.run(len(rows), partial(evaluate, rows))
            if result is not None:
                yield rows, result
                start += len(rows)
                if progress is not None:
                    progress(len(rows))


def _outside_inference(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def within(shape: Sequence[int]) -> tuple[slice, ...]:
    """Where a tensor of this shape lies in a larger one."""
    return tuple(slice(size) for size in shape)
