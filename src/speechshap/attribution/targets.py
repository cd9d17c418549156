"""What is explained of the logits: a class, or the contrast of two, as logit, log-odds or probability."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from speechshap.errors import UserError

Output = Literal["logit", "log_odds", "probability"]
OUTPUTS: tuple[str, ...] = get_args(Output)

NO_CLASS = -1
"""In ``against``: nothing is subtracted."""


class Target(NamedTuple):
    """A class to explain, by its name.

    Attributes:
        label: The class.
        against: The class whose output is subtracted; None for none.

    Example:
        >>> print(Target("happy"), Target("happy", "sad"), Target("happy - sad"), sep=", ")
        happy, happy - sad, "happy - sad"
    """

    label: str
    against: str | None = None

    def __str__(self) -> str:
        """As people read it, different for every target: a name that looks like a contrast is quoted."""
        return _quoted(self.label) if self.against is None else f"{_quoted(self.label)} - {_quoted(self.against)}"


def _quoted(label: str) -> str:
    """A label, in quotation marks if it has any, or a hyphen beside a space."""
    is_ambiguous = any(part in label for part in (" -", "- ", '"'))
    return json.dumps(label, ensure_ascii=False) if is_ambiguous else label


@dataclass(frozen=True, slots=True)
class Targets:
    r"""Outputs to explain, for each utterance of a batch.

    Attributes:
        classes: ``(batch, targets)`` int64.
        against: ``(batch, targets)`` int64, the classes whose output is subtracted; -1 where none is.
        output: What the logits are turned into first; log-odds are
            :math:`\log \frac{p_c}{1 - p_c} = l_c - \log \sum_{j \ne c} e^{l_j}`.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> Targets(torch.tensor([[0, 0]]), torch.tensor([[-1, 2]]))(logits)
        tensor([[2., 1.]])
        >>> Targets(torch.tensor([[0]]), torch.tensor([[-1]]), "probability")(logits)
        tensor([[0.6652]])
    """

    classes: Tensor
    against: Tensor
    output: Output = "logit"

    @classmethod
    def from_names(
        cls, targets: Sequence[Sequence[Target]], classes: Sequence[str], output: Output = "logit"
    ) -> "Targets":
        """Targets of each utterance, equally many for all, as indices into the classes.

        Raises:
            UserError: Two classes have the same name.

        Example:
            >>> Targets.from_names([[Target("b", "a")]], ["a", "b"])
            Targets(classes=tensor([[1]]), against=tensor([[0]]), output='logit')
        """
        twice = sorted(label for label, count in Counter(classes).items() if count > 1)
        if twice:
            raise UserError(f"`classes` have {', '.join(map(repr, twice))} more than once; expected different names")
        index = {label: number for number, label in enumerate(classes)}
        own = [[index[target.label] for target in row] for row in targets]
        against = [[NO_CLASS if t.against is None else index[t.against] for t in row] for row in targets]
        return cls(torch.tensor(own), torch.tensor(against), output)

    @classmethod
    def from_classes(
        cls,
        batch: int,
        classes: int | Sequence[Any] | Tensor,
        against: int | Sequence[Any] | Tensor | None = None,
        output: Output = "logit",
    ) -> "Targets":
        """Targets of a batch from numbers of classes, in any unambiguous shape.

        Args:
            batch: Utterances.
            classes: One for all, one for each ``(batch,)``, or several for each ``(batch, targets)``.
            against: Classes that are subtracted, likewise; -1 where none is.
            output: What the logits are turned into first.

        Raises:
            ValueError: They are no integers, or of another shape.

        Example:
            >>> Targets.from_classes(2, 1)
            Targets(classes=tensor([[1], [1]]), against=tensor([[-1], [-1]]), output='logit')
        """
        own = _classes("targets", classes, (batch, 1), least=0)
        subtracted = _classes("against", NO_CLASS if against is None else against, tuple(own.shape), least=NO_CLASS)
        if own.shape != subtracted.shape:
            raise ValueError(
                f"`against` has shape {tuple(subtracted.shape)}; expected that of `targets`, {tuple(own.shape)}"
            )
        return cls(own, subtracted, output)

    def for_classes(self, num_classes: int, device: torch.device) -> "Targets":
        """Copies on a device, after a look at whether a model with so many classes has them.

        Raises:
            ValueError: It does not.
        """
        if self.output != "logit" and num_classes < 2:
            raise ValueError(f"the model has one output; `output={self.output!r}` needs two classes at least")
        for name, value, least in (("targets", self.classes, 0), ("against", self.against, NO_CLASS)):
            if int(value.min()) < least or int(value.max()) >= num_classes:
                raise ValueError(
                    f"`{name}` are {value.unique().tolist()}; the model has the classes 0 to {num_classes - 1}"
                )
        if bool((self.classes == self.against).any()):
            raise ValueError("a target is contrasted with itself")
        return Targets(self.classes.to(device).clone(), self.against.to(device).clone(), self.output)

    def __call__(self, logits: Tensor, utterances: Tensor | None = None) -> Tensor:
        """Explained outputs ``(R, targets)`` of logits ``(R, classes)``.

        Args:
            logits: Of rows.
            utterances: ``(R,)`` utterance of each row; None where the rows are the utterances.
        """
        classes = self.classes if utterances is None else self.classes[utterances]
        against = self.against if utterances is None else self.against[utterances]
        if self.output == "probability":
            logits = logits.softmax(1)
        elif self.output == "log_odds":
            own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
            logits = logits - logits[:, None].masked_fill(own, -torch.inf).logsumexp(2)
        subtracted = torch.where(against == NO_CLASS, 0, logits.gather(1, against.clamp_min(0)))
        return logits.gather(1, classes) - subtracted


def _classes(name: str, value: int | Sequence[Any] | Tensor, shape: tuple[int, ...], least: int) -> Tensor:
    """Numbers of classes as ``(batch, targets)`` int64; a single one fills the shape."""
    try:
        classes = torch.as_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` is {value!r}; expected numbers of classes, int64 ({shape[0]}, K)") from error
    if classes.dtype not in (torch.int64, torch.int32) or classes.numel() == 0:
        raise ValueError(
            f"`{name}` have shape {tuple(classes.shape)} and {classes.dtype}; expected int64 ({shape[0]}, K)"
        )
    if classes.ndim == 0:
        classes = classes.expand(shape)
    elif classes.ndim == 1:
        classes = classes[:, None]
    if classes.ndim != 2 or len(classes) != shape[0]:
        raise ValueError(
            f"`{name}` have shape {tuple(torch.as_tensor(value).shape)}; expected one class, ({shape[0]},) or "
            f"({shape[0]}, K)"
        )
    if int(classes.min()) < least:
        raise ValueError(f"`{name}` are {classes.unique().tolist()}; expected {least} at least")
    return classes.long()
