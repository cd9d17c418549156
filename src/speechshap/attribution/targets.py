"""What is explained of the logits: a class, or the contrast of two, as logit, log-odds or probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

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
        >>> str(Target("happy")), str(Target("happy", "sad"))
        ('happy', 'happy - sad')
    """

    label: str
    against: str | None = None

    def __str__(self) -> str:
        """As people read it; a name may have a hyphen, so that this is never parsed again."""
        return self.label if self.against is None else f"{self.label} - {self.against}"


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

        Example:
            >>> Targets.from_names([[Target("b", "a")]], ["a", "b"])
            Targets(classes=tensor([[1]]), against=tensor([[0]]), output='logit')
        """
        index = {label: number for number, label in enumerate(classes)}
        own = [[index[target.label] for target in row] for row in targets]
        against = [[NO_CLASS if t.against is None else index[t.against] for t in row] for row in targets]
        return cls(torch.tensor(own), torch.tensor(against), output)

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
