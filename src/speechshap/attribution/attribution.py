"""The result of an explanation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechshap.attribution.targets import Targets


@dataclass(frozen=True, slots=True)
class Attribution:
    """What made a classifier decide as it did, with standard errors.

    Attributes:
        values: Attribution of each sample of the waveform, ``(batch, targets, time)``; 0 in the padding.
        values_standard_error: Standard error of each, ``(batch, targets, time)``.
        frames: Attribution of each frame, the sum over the samples it owns, ``(batch, targets, frames)``; 0 beyond
            the end of an utterance.
        frames_standard_error: Standard error of each, ``(batch, targets, frames)``.
        frame_lengths: Frames of each utterance, ``(batch,)``.
        targets: What was explained.
        logits: Output of the model for the utterances, ``(batch, classes)``.
        outputs: Explained outputs for the utterances, ``(batch, targets)``.
        completeness_gap: ``sum(values) - (f(x) - E[f(baseline)])`` of the mean, ``(batch, targets)``; 0 but for
            sampling error when the explanation is right.
        completeness_gap_standard_error: Standard error of that, ``(batch, targets)``.
        n_samples: Points on the paths of each utterance, ``(batch,)``.
        n_replicates: Independent replicates that these make, ``(batch,)``.
        path_second_moments: Second moment of the frame attributions in bins of alpha, relative to that of the base
            density, ``(batch, bins)``: where on the path the variance is (:meth:`PathDensity.learnt`).
        converged: Whether each utterance's relative error met the tolerance for every target, ``(batch,)``; None
            where no tolerance was asked for.
        layers: Attribution of each neuron, by layer: ``(batch, targets, frames, hidden size)`` for a transformer.
        layers_standard_error: Standard error of each.
        time_frequency: Attribution of each band and frame, ``(batch, targets, bands, frames)``, where asked for.
        time_frequency_standard_error: Standard error of each.
        sample_frames: Frame attributions of every sample, ``(samples, targets, frames)`` for each utterance, with
            the weights that make their mean :attr:`frames`; where asked for.
    """

    values: Tensor
    values_standard_error: Tensor
    frames: Tensor
    frames_standard_error: Tensor
    frame_lengths: Tensor
    targets: Targets
    logits: Tensor
    outputs: Tensor
    completeness_gap: Tensor
    completeness_gap_standard_error: Tensor
    n_samples: Tensor
    n_replicates: Tensor
    path_second_moments: Tensor
    converged: Tensor | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    layers_standard_error: Mapping[str, Tensor] = field(default_factory=dict)
    time_frequency: Tensor | None = None
    time_frequency_standard_error: Tensor | None = None
    sample_frames: list[Tensor] | None = None

    @property
    def relative_error(self) -> Tensor:
        """Root-mean-square standard error of the frames relative to the frames, ``(batch, targets)``.

        0.1 is a sharp picture; from about 1 on most of it is Monte Carlo noise. Infinite where all frames are 0 but
        their errors are not, and 0 where both are.
        """
        return relative_error(self.frames, self.frames_standard_error)

    def frames_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Confidence interval of the frames: lower and upper bounds, ``(batch, targets, frames)`` each.

        Student's t with a degree of freedom for each replicate but one; the replicates of an utterance are
        independent, or uncorrelated where the scheme is adaptive.
        """
        from scipy.stats import t

        quantiles = t.ppf((1 + level) / 2, (self.n_replicates - 1).cpu().numpy())
        reach = torch.from_numpy(quantiles).to(self.frames)[:, None, None] * self.frames_standard_error
        return self.frames - reach, self.frames + reach

    def layer_mass(self) -> Tensor:
        """Sum of the absolute attributions of each layer's neurons, ``(batch, targets, layers)``."""
        return torch.stack([values.abs().flatten(2).sum(2) for values in self.layers.values()], dim=2)

    def layer_frame_mass(self) -> Tensor:
        """Sum of the absolute attributions over the neurons of a frame, ``(batch, targets, layers, frames)``."""
        return torch.stack([values.abs().sum(-1) for values in self.layers.values()], dim=2)

    def layer_frames(self) -> Tensor:
        """Sum of the attributions over the neurons of a frame, ``(batch, targets, layers, frames)``."""
        return torch.stack([values.sum(-1) for values in self.layers.values()], dim=2)

    def strongest_neurons(self, layer: str, count: int = 10) -> tuple[Tensor, Tensor]:
        """Neurons of a layer whose attribution, summed over the frames, is greatest in absolute value.

        Returns:
            Indices and signed sums, ``(batch, targets, count)`` each, the strongest first.
        """
        sums = self.layers[layer].sum(2)
        indices = sums.abs().topk(min(count, sums.shape[-1]), dim=-1).indices
        return indices, sums.gather(-1, indices)


def relative_error(values: Tensor, standard_error: Tensor) -> Tensor:
    """Norm of the standard errors relative to that of the values, over the last dimension."""
    error, size = standard_error.norm(dim=-1), values.norm(dim=-1)
    return (error / size).masked_fill(error == 0, 0.0)
