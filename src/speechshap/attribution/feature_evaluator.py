"""Paths between features of a model instead of waveforms: the model from an inner point on."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from speechshap.attribution.baselines import Baseline, MeanReference
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.gradients import Forward, Outputs
from speechshap.attribution.layers import caught_outputs, outputs_until, replaced_output
from speechshap.attribution.replicates import sum_dtype
from speechshap.attribution.settings import WAVEFORM
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.errors import UserError, require_choice
from speechshap.frames import SAMPLE_RATE
from speechshap.spaces import Space

_PIECE = SAMPLE_RATE  # samples of a clip that go through a model whose window it exceeds: no window is shorter

_MEAN_DRAWS = 8  # references that a mean is taken of, where it is of a distribution: each has features by the hundred


def in_space(evaluator: Evaluator, name: str) -> Evaluator:
    """An evaluator whose rows are points of a space, or the same one where that is the waveforms.

    Raises:
        UserError: The model has no such space, or its samples are asked for.

    Example:
        >>> from torch import nn
        >>> from speechshap.frames import FrameGrid
        >>> model = nn.Sequential(nn.Unflatten(1, (-1, 4)), nn.Linear(4, 2), nn.Flatten(), nn.Linear(6, 3))
        >>> spaces = {"linear": Space(module=model[1])}
        >>> evaluator = Evaluator(model, torch.ones(1, 12), grid=FrameGrid(4, 4), spaces=spaces)
        >>> in_space(evaluator, "linear").inputs.shape
        torch.Size([1, 3, 2])
    """
    if name == WAVEFORM:
        return evaluator
    require_choice("space", name, [WAVEFORM, *evaluator.spaces])
    return FeatureEvaluator(evaluator, name, evaluator.spaces[name])


class FeatureEvaluator(Evaluator):
    """The utterances of an evaluator as points of a space, and the model from there on.

    What lies before the space runs once for each utterance and once for each reference, without gradients. What goes
    round the space keeps the values that it has for the utterance.

    Args:
        base: Evaluator of the waveforms.
        name: Of the space, for messages.
        space: Where the rows are points.

    Attributes:
        inputs: The utterances, ``(batch, positions, ...)`` in single precision at least, 0 in the padding.
        lengths: Positions of each utterance, as numbers.

    Raises:
        UserError: The module does not run, runs more than once, or has fewer positions than there must be; or a layer
            runs before it.
    """

    is_of_waveforms = False

    def __init__(self, base: Evaluator, name: str, space: Space) -> None:
        if base.grid.hop == 1:
            raise UserError(f'`space` is {name!r}, which has frames and no samples; expected "{WAVEFORM}" for these')
        vars(self).update(vars(base))  # all that is not said here is as it is there
        self._base = base
        self._name = name
        self._space = space
        self._means: dict[int, Tensor] = {}
        self.own_layer = next((own for own, layer in base.layers.items() if layer is space.module), None)
        self.layers = {own: layer for own, layer in base.layers.items() if own != self.own_layer}
        with caught_outputs(self.layers, as_computed=True) as earlier:
            first = self._record(base.waveform(0))
        if earlier:
            raise UserError(
                f"`layers`: {', '.join(earlier)} runs before {name}, which is the `space`, so that nothing changes "
                "there along the path; expected layers that run after it"
            )
        recorded = [first, *(self._record(base.waveform(utterance)) for utterance in range(1, len(base)))]
        longest = max(range(len(base)), key=base.lengths.__getitem__)
        self._unheard = {module: recorded[longest][module] for module in space.skipped if module is not space.module}
        self._dtype = recorded[0][space.module].dtype
        self._hold_features([self._points(own) for own in recorded])

    def _hold_features(self, features: Sequence[Tensor]) -> None:
        """Take the points ``(positions, ...)`` of each utterance."""
        grid = self._space.grid or self.grid
        self.lengths = [self._num_positions(length) for length in self._base.lengths]
        if self._space.covers_padding:
            self.lengths = [len(own) for own in features]
        owners = torch.zeros(len(features), max(self.lengths), dtype=torch.int64)
        for row, length, own in zip(owners, self.lengths, features, strict=True):
            if len(own) != length:
                raise UserError(
                    f"`space`: the output of {self._name} has {len(own)} positions in dimension {self._space.time_dim} "
                    f"for an utterance that has {length}"
                )
            row[:length] = torch.arange(length)
        if self._space.grid is not None:
            for row, samples in zip(owners, self._base.lengths, strict=True):
                centers = (grid.first_center + grid.hop * torch.arange(len(row))).contiguous()
                row[:] = torch.bucketize(centers, self.grid.edges(samples)[1:-1].to(centers.dtype), right=True)
        self._owners = owners.clamp_max(self.frame_lengths.cpu()[:, None] - 1).to(self._base.device)
        inputs = features[0].new_zeros(len(features), max(self.lengths), *features[0].shape[1:])
        for row, length, own in zip(inputs, self.lengths, features, strict=True):
            row[:length] = own[:length]
        self._hold(inputs)

    @property
    def outputs(self) -> Outputs:
        """Logits ``(batch, classes)`` and layer outputs ``(batch, ...)`` for the utterances."""
        logits, layers = self._base.outputs
        return Outputs(logits, {name: layers[name] for name in self.layers})

    @property
    def neuron_shapes(self) -> dict[str, Sequence[int]]:
        """Shapes of the outputs of all layers for an utterance; the space itself may be one."""
        own = {} if self.own_layer is None else {self.own_layer: self.inputs.shape[1:]}
        return {**own, **super().neuron_shapes}

    def draw_reference(self, baseline: Baseline, utterance: int, generator: torch.Generator) -> Tensor:
        """Draw a reference for an utterance, ``(positions, ...)``; errors as for :meth:`Evaluator.reference`."""
        if isinstance(baseline, MeanReference):
            reference = self.inputs[utterance, : self.lengths[utterance]].clone()
            # What a model puts after the sound is the same in both.
            reference[: self._num_positions(self._base.lengths[utterance])] = self._mean(baseline, utterance)
            return reference
        waveform = self._base.draw_reference(baseline, utterance, generator)
        return self._features(waveform.to(self.device))[: self.lengths[utterance]]

    def sum_frames(self, left: Tensor, right: Tensor, utterances: Sequence[int]) -> Tensor:
        """Sum products of features ``(R, positions, ...)`` over the frames that own them, to ``(R, frames)``."""
        products = (left * right).flatten(2).sum(2, dtype=sum_dtype(self.device))
        owners = self._owners[self.indices(utterances), : products.shape[1]]
        return products.new_zeros(len(products), self.num_frames).scatter_add_(1, owners, products)

    def band_shape(self, spectrum: SpectralGrid | None) -> tuple[int, int] | None:
        """Bands and columns of time-frequency attributions, where the features are bands."""
        return None if self._space.bands is None else (self.inputs.shape[2], self.inputs.shape[1])

    def bands(
        self, differences: Tensor, gradients: Tensor, utterances: Sequence[int], spectrum: SpectralGrid | None
    ) -> Tensor | None:
        """Attributions of rows by band and column, ``(R, bands, columns)``, where the features are bands."""
        return None if self._space.bands is None else (differences * gradients).transpose(1, 2)

    def _forward_of(self, utterances: Sequence[int]) -> Forward:
        index = self.indices(utterances)
        lengths = self._base.lengths_of(utterances)
        unheard = {module: given.expand(len(index), *given.shape[1:]) for module, given in self._unheard.items()}

        def forward(points: Tensor, _: Tensor) -> Tensor:
            # As wide as the points, which may be those of a chunk with longer utterances.
            samples = zip(self._base.lengths, self.lengths, strict=True)
            width = max(length for length, positions in samples if positions <= points.shape[1])
            waveforms = self._base.inputs[index, :width]
            with replaced_output(self._space, points.to(self._dtype), unheard):
                return self._base.forward(waveforms, lengths)

        return forward

    def _features(self, waveform: Tensor) -> Tensor:
        """Points ``(positions, ...)`` of a waveform ``(time,)``."""
        return self._points(self._record(waveform.to(self._base.device)))

    def _points(self, recorded: Mapping[nn.Module, Tensor]) -> Tensor:
        output = recorded[self._space.module]
        return output.movedim(self._space.time_dim, 1)[0].to(torch.promote_types(output.dtype, torch.float32))

    @torch.inference_mode(False)
    @torch.no_grad()
    def _record(self, waveform: Tensor) -> dict[nn.Module, Tensor]:
        """Outputs ``(1, ...)`` of the space's modules for a waveform ``(time,)``; what follows them does not run."""
        modules = {self._name: self._space.module}
        modules |= {f"{self._name}, skipped {number}": module for number, module in enumerate(self._space.skipped)}
        length = torch.tensor([len(waveform)], device=waveform.device)
        caught = outputs_until(self._name, modules, lambda: self._base.forward(waveform.clone()[None], length))
        if caught[self._name].ndim <= self._space.time_dim:
            raise UserError(
                f"`space`: the output of {self._name} has shape {tuple(caught[self._name].shape)}; expected a "
                f"dimension {self._space.time_dim} for the time"
            )
        return {module: caught[name] for name, module in modules.items()}

    def _mean(self, mean: MeanReference, utterance: int) -> Tensor:
        """The mean feature ``(...)`` that an utterance is compared with, the same for all seeds."""
        if mean.clips is not None:
            return self._mean_of_clips(mean, mean.clips)
        if utterance not in self._means:
            if mean.baseline is None:
                drawn = [self.inputs[utterance]]
            else:
                generators = [draw_generator(0, self.ids[utterance], number) for number in range(_MEAN_DRAWS)]
                drawn = [self.draw_reference(mean.baseline, utterance, generator) for generator in generators]
            count = self._num_positions(self._base.lengths[utterance])
            self._means[utterance] = torch.cat([own[:count] for own in drawn]).mean(0)
        return self._means[utterance]

    def _mean_of_clips(self, mean: MeanReference, clips: Tensor) -> Tensor:
        """The mean feature of clips ``(references, time)``, which other batches have as well."""
        first = self._mean_of_clip(clips[0])
        # The first clip tells whether it is that of this space, and of these weights.
        if mean.of_clips is None or not torch.equal(mean.of_clips[0], first):
            others = [self._mean_of_clip(clip) for clip in clips[1:]]
            mean.of_clips = first, torch.stack([first, *others]).mean(0)
        return mean.of_clips[1]

    def _mean_of_clip(self, clip: Tensor) -> Tensor:
        """The mean feature ``(...)`` of a clip ``(time,)``; of one that is not heard at once, piece by piece."""
        count, features = self._num_positions(len(clip)), self._features(clip)
        if len(features) >= count:
            return features[:count].mean(0)
        pieces = [piece for piece in clip.split(_PIECE) if len(piece) == _PIECE]
        return torch.cat([self._features(piece)[: self._num_positions(_PIECE)] for piece in pieces]).mean(0)

    def _num_positions(self, samples: int) -> int:
        """Positions of a sound, without those of the padding after it."""
        return max(1, (self._space.grid or self.grid).num_frames(samples))
