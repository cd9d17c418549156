"""What a user asks to be explained, read from the words of a configuration."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from speechshap.attribution.targets import NO_CLASS
from speechshap.errors import UserError


class Question(NamedTuple):
    """A target by its name: the class, and the one that is subtracted (-1 for none)."""

    name: str
    target: int
    against: int = NO_CLASS


def parse_targets(text: str, classes: Sequence[str]) -> list[Question] | None:
    """Read what ``targets`` asks for; None stands for the predicted class.

    Raises:
        UserError: A class does not exist.

    Example:
        >>> parse_targets("sad, happy - sad", ["happy", "sad"])
        [Question(name='sad', target=1, against=-1), Question(name='happy - sad', target=0, against=1)]
    """
    if text == "predicted":
        return None
    names = list(classes) if text == "all" else [name.strip() for name in text.split(",")]
    return list(dict.fromkeys(_parse_target(name, classes) for name in names))


def _parse_target(name: str, classes: Sequence[str]) -> Question:
    if name in classes:
        return Question(name, classes.index(name))
    # A class may have a hyphen in its name.
    for position in (index for index, character in enumerate(name) if character == "-"):
        target, against = name[:position].strip(), name[position + 1 :].strip()
        if target in classes and against in classes and target != against:
            return Question(f"{target} - {against}", classes.index(target), classes.index(against))
    raise UserError(
        f"--explain.targets: no class {name!r}; expected predicted, all, some of {', '.join(classes)}, or the "
        "contrast of two ('happy - sad')"
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
