"""The result of an explanation."""

from dataclasses import dataclass

from torch import Tensor


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
        targets: Explained classes, ``(batch, targets)``.
        logits: Output of the model for the utterances, ``(batch, classes)``.
        completeness_gap: ``sum(values) - (f(x) - E[f(baseline)])`` of the mean, ``(batch, targets)``; 0 but for
            sampling error when the explanation is right.
        completeness_gap_standard_error: Standard error of that, ``(batch, targets)``.
        n_samples: Monte Carlo samples of each utterance.
    """

    values: Tensor
    values_standard_error: Tensor
    frames: Tensor
    frames_standard_error: Tensor
    frame_lengths: Tensor
    targets: Tensor
    logits: Tensor
    completeness_gap: Tensor
    completeness_gap_standard_error: Tensor
    n_samples: int

    @property
    def relative_error(self) -> Tensor:
        """Root-mean-square standard error of the frames relative to the frames, ``(batch, targets)``.

        0.1 is a sharp picture; from about 1 on most of it is Monte Carlo noise. Infinite where all frames are 0 but
        their errors are not, and 0 where both are.
        """
        error, size = self.frames_standard_error.norm(dim=-1), self.frames.norm(dim=-1)
        return (error / size).masked_fill(error == 0, 0.0)
