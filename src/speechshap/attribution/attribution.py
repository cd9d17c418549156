"""The result of an explanation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechshap.attribution.intervals import interval_reach
from speechshap.attribution.targets import Targets


@dataclass(frozen=True, slots=True)
class Attribution:
    """What made a classifier decide as it did, with standard errors where the method has them.

    Attributes:
        frames: Attribution of each frame, ``(batch, targets, frames)``; 0 beyond the end of an utterance.
        frame_lengths: Frames of each utterance, ``(batch,)``.
        targets: What was explained.
        logits: Output of the model for the utterances, ``(batch, classes)``.
        outputs: Explained outputs for the utterances, ``(batch, targets)``.
        completeness_gap: ``sum(values) - (f(x) - E[f(baseline)])``, ``(batch, targets)``: 0 but for the error of
            sampling or quadrature when the explanation is right. Not a number where the method has no such sum.
        n_samples: Points on the paths of each utterance, or other evaluations of the model, ``(batch,)``.
        n_replicates: Independent replicates that these make, ``(batch,)``.
        values: Attribution of each sample of the waveform, ``(batch, targets, time)``, whose sums are the frames; 0
            in the padding. None where the method attributes whole frames.
        values_standard_error: Standard error of each; None, like every standard error, where there are fewer than two
            replicates.
        frames_standard_error: Standard error of each frame.
        segments_standard_error: Standard error of the sum over each segment of frames, ``(batch, targets, segments)``,
            where the evaluator has any.
        completeness_gap_standard_error: Standard error of the gap.
        path_second_moments: Second moment of the frame attributions in bins of alpha, relative to that of the base
            density, ``(batch, bins)``: where on the path the variance is (:meth:`PathDensity.learnt`). None where
            alphas are not drawn.
        converged: Whether each utterance's relative error met the tolerance for every target, ``(batch,)``; None
            where no tolerance was asked for.
        layers: Attribution of each neuron, by layer: ``(batch, targets, frames, hidden size)`` for a transformer.
        layers_standard_error: Standard error of each; empty where there are none.
        layer_frames_standard_error: Standard error of the sum over the neurons of each frame, by layer, ``(batch,
            targets, frames)``, where a layer's outputs are those of frames.
        time_frequency: Attribution of each band and frame, ``(batch, targets, bands, frames)``, where asked for.
        time_frequency_standard_error: Standard error of each.
        sample_frames: Frame attributions of every draw, ``(draws, targets, frames)`` for each utterance, with the
            weights that make their mean :attr:`frames`; where asked for.
    """

    frames: Tensor
    frame_lengths: Tensor
    targets: Targets
    logits: Tensor
    outputs: Tensor
    completeness_gap: Tensor
    n_samples: Tensor
    n_replicates: Tensor
    values: Tensor | None = None
    values_standard_error: Tensor | None = None
    frames_standard_error: Tensor | None = None
    segments_standard_error: Tensor | None = None
    completeness_gap_standard_error: Tensor | None = None
    path_second_moments: Tensor | None = None
    converged: Tensor | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    layers_standard_error: Mapping[str, Tensor] = field(default_factory=dict)
    layer_frames_standard_error: Mapping[str, Tensor] = field(default_factory=dict)
    time_frequency: Tensor | None = None
    time_frequency_standard_error: Tensor | None = None
    sample_frames: list[Tensor] | None = None

    @property
    def relative_error(self) -> Tensor | None:
        """Root-mean-square standard error of the frames relative to the frames, ``(batch, targets)``.

        0.1 is a sharp picture; from about 1 on most of it is Monte Carlo noise. Infinite where all frames are 0 but
        their errors are not, and 0 where both are. None where there are no standard errors.
        """
        if self.frames_standard_error is None:
            return None
        return relative_error(self.frames, self.frames_standard_error)

    def frames_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Confidence interval of the frames: lower and upper bounds, ``(batch, targets, frames)`` each.

        Student's t with a degree of freedom for each replicate but one; the replicates of an utterance are
        independent, or uncorrelated where the scheme is adaptive.

        Args:
            level: Probability with which an interval holds the truth.

        Raises:
            ValueError: There are no standard errors.

        Example:
            >>> from speechshap.attribution import gradient_shap
            >>> result = gradient_shap(lambda waveforms: waveforms[:, :2] ** 2, torch.randn(1, 800), n_samples=8)
            >>> lower, upper = result.frames_interval(0.9)
            >>> lower.shape, bool((lower <= upper).all())
            (torch.Size([1, 1, 2]), True)
        """
        if self.frames_standard_error is None:
            raise ValueError("one replicate has no standard error, and so no interval; draw two at least")
        quantiles = [interval_reach(count - 1, level) for count in self.n_replicates.tolist()]
        factors = torch.tensor(quantiles, dtype=self.frames.dtype, device=self.frames.device)
        reach = factors[:, None, None] * self.frames_standard_error
        return self.frames - reach, self.frames + reach

    def strongest_neurons(self, layer: str, count: int = 10) -> tuple[Tensor, Tensor]:
        """Neurons of a layer whose attribution, summed over the frames, is greatest in absolute value.

        Args:
            layer: Name of a layer whose outputs are ``(batch, frames, hidden size)``.
            count: How many; all where the layer has fewer.

        Returns:
            Indices and signed sums, ``(batch, targets, count)`` each, the strongest first.

        Raises:
            KeyError: The layer was not explained.
        """
        sums = self.layers[layer].sum(2)
        indices = sums.abs().topk(min(count, sums.shape[-1]), dim=-1).indices
        return indices, sums.gather(-1, indices)


def relative_error(values: Tensor, standard_error: Tensor) -> Tensor:
    """Norm of the standard errors relative to that of the values, over the last dimension.

    Example:
        >>> relative_error(torch.tensor([[3.0, -4.0], [0.0, 0.0]]), torch.tensor([[0.3, 0.4], [0.0, 0.0]]))
        tensor([0.1000, 0.0000])
    """
    error, size = standard_error.norm(dim=-1), values.norm(dim=-1)
    return (error / size).masked_fill(error == 0, 0.0)
