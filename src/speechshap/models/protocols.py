"""What is asked of a classifier that is to be explained."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from speechshap.frames import FrameGrid
from speechshap.spaces import Space


@runtime_checkable
class SpeechClassifier(Protocol):
    """What can be explained: a model that gives outputs for waveforms and lengths.

    Attributes:
        classes: Names of the outputs; None where they have none.
        is_regression: Whether the outputs are values (arousal, valence) and not logits of classes.
        grid: Where the frames lie on the waveform.
        layers: Layers whose neurons can be explained, by name (``layer_1``); they have the frames of the grid.
        spaces: Where paths may run other than between waveforms, by name.
        window: Samples within which each layer runs once: neurons of longer recordings cannot be explained. None: any.
        shortest: Samples that the shortest utterance must have.
        longest: Samples that the longest utterance may have; None: any.
        one_by_one: Whether utterances of unequal length must not share a batch, since the model does not mask padding.
        identity: Beside the weights, all that decides the outputs, their names and frames, in plain values. With equal
            weights and an equal identity two models are the same, however and wherever they run.
        gradient_checkpointing: Whether activations are computed again in the backward pass instead of being kept; can
            be set. None: the model cannot do so, and there is nothing to set.
    """

    gradient_checkpointing: bool | None

    @property
    def classes(self) -> Sequence[str] | None: ...  # noqa: D102 - documented above

    @property
    def is_regression(self) -> bool: ...  # noqa: D102

    @property
    def grid(self) -> FrameGrid: ...  # noqa: D102

    @property
    def layers(self) -> dict[str, nn.Module]: ...  # noqa: D102

    @property
    def spaces(self) -> Mapping[str, Space]: ...  # noqa: D102

    @property
    def window(self) -> int | None: ...  # noqa: D102

    @property
    def shortest(self) -> int: ...  # noqa: D102

    @property
    def longest(self) -> int | None: ...  # noqa: D102

    @property
    def one_by_one(self) -> bool: ...  # noqa: D102

    @property
    def identity(self) -> Mapping[str, Any]: ...  # noqa: D102

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Outputs ``(batch, outputs)`` for waveforms ``(batch, time)`` of ``lengths`` ``(batch,)`` samples."""

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor | None:
        """One vector for each utterance, ``(batch, features)``, arguments as for a call; None where there is none."""
