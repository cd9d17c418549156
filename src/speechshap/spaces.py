"""Places within a model where paths from references to utterances can run."""

from dataclasses import dataclass

from torch import Tensor, nn

from speechshap.frames import FrameGrid


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Space:
    """The output of a module, as a space that utterances and references are points of.

    Attributes:
        module: Gives the points, a tensor with the utterances in its first dimension, or a tuple that begins with one.
        time_dim: Dimension of that tensor that is the time.
        grid: Where its positions lie on the waveform; None: where the frames of the model do.
        covers_padding: Whether it has positions for the silence that a model puts after each utterance; they count as
            those of the last frame.
        skipped: Modules that need not run where the points are given: nothing but this space hears what they give. The
            module itself may be one of them.
        frequencies: Centres in Hz of the bands that its features are; None where they are no bands.
    """

    module: nn.Module
    time_dim: int = 1
    grid: FrameGrid | None = None
    covers_padding: bool = False
    skipped: tuple[nn.Module, ...] = ()
    frequencies: Tensor | None = None
