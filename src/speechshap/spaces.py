"""Where an explanation looks: places within a model where paths can run, and bands of frequency."""

from dataclasses import dataclass

from torch import Tensor, nn

from speechshap.frames import FrameGrid


@dataclass(frozen=True, eq=False, slots=True)
class Bands:
    """Bands and columns of a time-frequency attribution.

    Attributes:
        frequencies: Centres of the bands in Hz, ``(bands,)``.
        columns: Where the columns lie on the waveform; the first is centred on its start.
    """

    frequencies: Tensor
    columns: FrameGrid


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Space:
    """The output of a module, as a space that utterances and references are points of.

    Attributes:
        module: Gives the points, a tensor with the utterances in its first dimension, or a tuple that begins with one.
            It runs once, and has as many positions as the grid has frames. Hooks of others work on the points.
        time_dim: Dimension of that tensor that is the time.
        grid: Where its positions lie on the waveform; None: where the frames of the model do.
        covers_padding: Whether it has positions for the silence that a model puts after each utterance; they count as
            those of the last frame.
        skipped: Modules that need not run where the points are given: nothing but this space hears what they give, and
            it takes a tensor where they give a tuple. The module itself may be one of them.
        bands: Those that its features are, with its positions as columns; None where they are no bands.
    """

    module: nn.Module
    time_dim: int = 1
    grid: FrameGrid | None = None
    covers_padding: bool = False
    skipped: tuple[nn.Module, ...] = ()
    bands: Bands | None = None
