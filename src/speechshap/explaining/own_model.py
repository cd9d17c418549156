"""Adapter that makes any module that classifies waveforms a SpeechClassifier."""

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechshap.errors import UserError
from speechshap.frames import STRETCHES, FrameGrid
from speechshap.spaces import Space


class OwnModel(nn.Module):
    """Any module that classifies waveforms, as a :class:`speechshap.models.SpeechClassifier`.

    Args:
        module: Its ``forward`` takes waveforms ``(batch, time)``, and lengths ``(batch,)`` or an attention mask
            ``(batch, time)`` if it has a second parameter for them. A model without one gets utterances of different
            lengths one at a time, because padding would change its output.
        logits: From what the model returns to its logits ``(batch, classes)``; None takes a tensor as it is, and
            ``.logits`` of an object.
        classes: Names of the classes; None takes ``module.classes``, or numbers.
        is_regression: Whether the outputs are values and no classes.
        grid: Where the frames of the model lie; None takes stretches of 20 ms.

    Example:
        >>> model = OwnModel(nn.Sequential(nn.Linear(640, 2)))
        >>> model(torch.zeros(1, 640), torch.tensor([640])).shape, model.grid.num_frames(640)
        (torch.Size([1, 2]), 2)
    """

    window = None
    shortest = 1
    longest = None
    gradient_checkpointing: bool | None = None

    def __init__(
        self,
        module: nn.Module,
        logits: Callable[[Any], Tensor] | None = None,
        classes: Sequence[str] | None = None,
        is_regression: bool = False,
        grid: FrameGrid | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.logits = logits
        self.is_regression = is_regression
        self.grid = grid or STRETCHES
        self.classes = _class_names(getattr(module, "classes", None) if classes is None else classes)
        self.second_argument = _second_argument(module)
        self.layers: dict[str, nn.Module] = {}
        self.spaces: dict[str, Space] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the explanations beside the weights; the code of the model and of ``logits`` is not known."""
        return {
            "class": type(self.module).__qualname__,
            "classes": self.classes,
            "grid": self.grid,
            "is_regression": self.is_regression,
        }

    @property
    def takes_lengths(self) -> bool:
        """Whether the model is told which part of a waveform is padding."""
        return self.second_argument is not None

    @property
    def one_by_one(self) -> bool:
        """Whether utterances of different lengths must not share a batch."""
        return not self.takes_lengths

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of waveforms ``(batch, time)``.

        Raises:
            UserError: The model returns something else.
        """
        if self.second_argument == "lengths":
            output = self.module(waveforms, lengths)
        elif self.second_argument == "mask":
            output = self.module(waveforms, torch.arange(waveforms.shape[1], device=lengths.device) < lengths[:, None])
        else:
            output = self.module(waveforms)
        found = self.logits(output) if self.logits is not None else getattr(output, "logits", output)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(waveforms):
            told = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            count = len(waveforms)
            raise UserError(
                f"the model returns {told} for a batch of {count}; expected logits ({count}, classes) or an object "
                "with them as `.logits`; give `logits`, a function from what it returns to its logits"
            )
        if found.shape[1] < 2 and not self.is_regression:
            raise UserError(
                "the model has one output; give `is_regression=True` if it is a value, and two outputs if there are "
                "two classes"
            )
        return found

    def embed(self, waveforms: Tensor, lengths: Tensor) -> None:
        """Nothing: where the head of the model begins is not known."""


def _second_argument(module: nn.Module) -> Literal["lengths", "mask"] | None:
    """What ``forward`` takes beside the waveforms."""
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [part for part in signature(module.forward).parameters.values() if part.kind in positional]
    if len(parameters) < 2:
        return None
    name = parameters[1].name
    if "mask" in name:
        return "mask"
    is_required = parameters[1].default is Parameter.empty
    return "lengths" if is_required or "len" in name else None


def _class_names(classes: Any) -> tuple[str, ...] | None:
    """Names, where these are names."""
    if isinstance(classes, Sequence) and classes and all(isinstance(label, str) for label in classes):
        return tuple(classes)
    return None
