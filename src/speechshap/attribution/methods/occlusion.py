"""Occlusion: how far an output drops when a stretch of the sound is replaced."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.features import stretch_bounds
from speechshap.attribution.methods import Method
from speechshap.attribution.settings import ReferenceSettings
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError, require_at_least


@dataclass(frozen=True, kw_only=True)
class OcclusionSettings(ReferenceSettings):
    """Settings of occlusion.

    Attributes:
        stretch_frames: Frames of the stretches that are replaced, one stretch at a time (5 frames of WavLM are
            100 ms); where they do not divide an utterance, its stretches are a little longer or shorter.
        step_frames: Frames from the start of a stretch to that of the next one, so that stretches overlap; left out,
            they lie side by side.
        n_draws: References that each stretch is replaced by; from two on there are standard errors.

    Raises:
        UserError: A value is not legal.
    """

    stretch_frames: int = 5
    step_frames: int | None = None
    n_draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, stretch_frames=self.stretch_frames, step_frames=self.step_frames, n_draws=self.n_draws)
        if self.step_frames is not None and self.step_frames > self.stretch_frames:
            raise UserError(
                f"`step_frames` is {self.step_frames}, which skips frames between stretches of {self.stretch_frames}; "
                "expected as many at most"
            )


def explain(evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: OcclusionSettings) -> Attribution:
    r"""Attribute a batch by occlusion (Zeiler & Fergus 2014, section 4.2), with forward passes alone.

    The frames of an utterance are divided into stretches of nearly equal length. A stretch's attribution is the
    drop :math:`E_b[f_c(x) - f_c(x \text{ with the stretch of } b \text{ in its place})]`, spread evenly over its
    frames, so that these sum to the drop. Where stretches overlap, those at the ends reach beyond the utterance, and a
    frame has the mean of what the stretches over it give it. The drops of all stretches have no sum that they must
    come to: the completeness gap is not a number. Samples have no attributions of their own.

    Args:
        evaluator: Has the batch and the model, which need not be differentiable.
        targets: What is explained.
        baseline: Draws the references.
        settings: Of the method.

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        NonFiniteOutputError: An output of the model is not finite; the error names the utterance.

    Example:
        >>> from speechshap.frames import FrameGrid
        >>> evaluator = Evaluator(lambda waveforms: waveforms[:, :2], torch.ones(1, 4), grid=FrameGrid(1, 1))
        >>> silence = lambda waveform, generator: torch.zeros_like(waveform)
        >>> explain(evaluator, Targets.from_classes(1, 1), silence, OcclusionSettings(stretch_frames=2)).frames
        tensor([[[0.5000, 0.5000, 0.0000, 0.0000]]])
    """
    targets = evaluator.targets(targets)
    lengths = evaluator.frame_lengths.tolist()
    stretches = [_stretches(frames, settings.stretch_frames, settings.step_frames) for frames in lengths]
    rows = [
        (utterance, draw, stretch)
        for utterance in range(len(evaluator))
        for draw in range(settings.n_draws)
        for stretch in stretches[utterance]
    ]
    references = {
        (utterance, draw): evaluator.reference(baseline, utterance, settings.seed, draw)
        for utterance in range(len(evaluator))
        for draw in range(settings.n_draws)
    }

    def occluded(row: int) -> Tensor:
        """The utterance with one stretch replaced."""
        utterance, draw, (first, last) = rows[row]
        waveform = evaluator.waveform(utterance).clone()
        edges = evaluator.grid.edges(len(waveform)).tolist()
        samples = slice(edges[first], edges[last])
        waveform[samples] = references[utterance, draw][samples].to(waveform)
        return waveform

    utterances = [utterance for utterance, _, _ in rows]
    occluded_logits = evaluator.evaluate(utterances, occluded)
    index = evaluator.indices(utterances)
    outputs = targets(evaluator.logits)
    drops = outputs[index] - targets(occluded_logits, index)  # (rows, targets)
    evaluator.check_finite(drops, utterances)

    frames = outputs.new_zeros(*outputs.shape, evaluator.num_frames)
    errors = torch.zeros_like(frames)
    segment_errors = frames.new_zeros(*outputs.shape, evaluator.num_segments)
    start = 0
    for utterance, (own_stretches, length) in enumerate(zip(stretches, lengths, strict=True)):
        count = len(own_stretches)
        own = drops[start : start + settings.n_draws * count].unflatten(0, (settings.n_draws, count))
        start += settings.n_draws * count
        draws = own.transpose(1, 2) @ _shares(own_stretches, length).to(own)  # (draws, targets, frames)
        frames[utterance, :, :length] = draws.mean(0)
        if settings.n_draws > 1:
            errors[utterance, :, :length] = draws.std(0) / math.sqrt(settings.n_draws)
            if evaluator.num_segments:
                sums = evaluator.sum_segments(draws, [utterance] * settings.n_draws)
                segment_errors[utterance] = sums.std(0) / math.sqrt(settings.n_draws)
    counts = torch.tensor([len(own_stretches) for own_stretches in stretches], device=evaluator.device)
    return Attribution(
        frames=frames,
        frames_standard_error=errors if settings.n_draws > 1 else None,
        segments_standard_error=segment_errors if settings.n_draws > 1 and evaluator.num_segments else None,
        frame_lengths=evaluator.frame_lengths,
        targets=targets,
        logits=evaluator.logits,
        outputs=outputs,
        completeness_gap=torch.full_like(outputs, torch.nan),
        n_samples=counts * settings.n_draws,
        n_replicates=torch.full_like(counts, settings.n_draws),
    )


def _stretches(num_frames: int, size: int, step: int | None) -> list[tuple[int, int]]:
    """First frame of each stretch, and the frame behind its last one."""
    if step is None:
        return list(pairwise(stretch_bounds(num_frames, size)))
    starts = range(step - size, num_frames, step)
    return [(max(0, start), min(num_frames, start + size)) for start in starts]


def _shares(stretches: Sequence[tuple[int, int]], num_frames: int) -> Tensor:
    """What each frame gets of the drop of each stretch, ``(stretches, frames)``."""
    frames, bounds = torch.arange(num_frames), torch.tensor(stretches)
    inside = ((frames >= bounds[:, :1]) & (frames < bounds[:, 1:])).double()
    return inside / inside.sum(1, keepdim=True) / inside.sum(0)


METHOD = Method(OcclusionSettings, explain)
