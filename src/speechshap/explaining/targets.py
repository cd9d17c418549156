"""What a user asks to be explained, read from the words of a configuration."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from speechshap.attribution.targets import NO_CLASS
from speechshap.errors import UserError
from speechshap.results.explanation import target_name

PREDICTED, RUNNER_UP = "predicted", "runner-up"
"""Words for classes that each utterance has of its own: those of the greatest and of the second greatest logit."""


class Question(NamedTuple):
    """A target by its name: the class, and the one that is subtracted (-1 for none)."""

    name: str
    target: int
    against: int = NO_CLASS


class Targets:
    """What is asked about each utterance.

    Args:
        text: ``predicted``, ``runner-up``, ``all``, class names, or contrasts of two, with commas between them.
        classes: Names of the classes.

    Raises:
        UserError: A class does not exist.

    Example:
        >>> import torch
        >>> Targets("sad, happy - sad", ["happy", "sad"]).of(torch.tensor([2.0, 1.0]))
        [Question(name='sad', target=1, against=-1), Question(name='happy - sad', target=0, against=1)]
        >>> Targets("predicted, predicted - runner-up", ["happy", "sad"]).of(torch.tensor([2.0, 1.0]))
        [Question(name='happy', target=0, against=-1), Question(name='happy - sad', target=0, against=1)]
    """

    def __init__(self, text: str, classes: Sequence[str]) -> None:
        self.classes = classes
        names = list(classes) if text == "all" else [name.strip() for name in text.split(",")]
        self.pairs = list(dict.fromkeys(_parse_target(name, classes) for name in names))
        if len(classes) < 2 and any(RUNNER_UP in pair for pair in self.pairs):
            raise UserError(f"--explain.targets: no runner-up; the model has one class, {classes[0]!r}")

    def of(self, logits: Tensor) -> list[Question]:
        """Questions about an utterance of which the model has these logits ``(classes,)``.

        As many for every utterance; two are the same where its predicted class was asked for by name as well.
        """
        order = logits.argsort(descending=True, stable=True).tolist()
        own = {PREDICTED: order[0], RUNNER_UP: order[min(1, len(order) - 1)]}
        numbers = own | {name: number for number, name in enumerate(self.classes)}
        return [self._question(*(numbers[name] for name in pair)) for pair in self.pairs]

    def _question(self, target: int, against: int = NO_CLASS) -> Question:
        subtracted = None if against == NO_CLASS else self.classes[against]
        return Question(target_name(self.classes[target], subtracted), target, against)


def _parse_target(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """A class or a word, or two of the same kind."""
    words = (PREDICTED, RUNNER_UP)
    if name in (*classes, *words):
        return (name,)
    # A class may have a hyphen in its name.
    for position in (index for index, character in enumerate(name) if character == "-"):
        pair = name[:position].strip(), name[position + 1 :].strip()
        if pair[0] != pair[1] and any(set(pair) <= set(known) for known in (classes, words)):
            return pair
    raise UserError(
        f"--explain.targets: no class {name!r}; expected predicted, runner-up, all, some of {', '.join(classes)}, or "
        "the contrast of two ('happy - sad', 'predicted - runner-up')"
    )


def choose_layers(text: str, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Pick the layers that ``layers`` asks for.

    Raises:
        UserError: A layer does not exist.
    """
    if text in ("none", "all"):
        return layers if text == "all" else {}
    chosen = {f"layer_{number.strip()}": number for number in text.split(",")}
    if unknown := [number for name, number in chosen.items() if name not in layers]:
        raise UserError(f"--explain.layers: no layer {unknown[0]!r}; expected none, all, or some of 1 to {len(layers)}")
    return {name: layers[name] for name in chosen}
